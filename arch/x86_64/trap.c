/* SPDX-License-Identifier: MIT
 *
 * Descriptor tables, and from a trap to words: what trap.S hands over is dispatched (interrupts), or named by
 * vector and error code (Intel SDM volume 3, chapter 6) and passed to kernel_trap.
 *
 * Each CPU has its own segment table, because a task-state segment is busy while a CPU uses it, and in that
 * segment the stack for the faults that cannot trust the current one: double fault, NMI, machine check.
 */
#include <arch/hal.h>
#include <drivers/irqchip/lapic.h>
#include <kernel/address_space.h>
#include <kernel/percpu.h>
#include <string.h>

enum {
    VECTOR_DEBUG = 1,
    VECTOR_NMI = 2,
    VECTOR_BREAKPOINT = 3,
    VECTOR_DOUBLE_FAULT = 8,
    VECTOR_PAGE_FAULT = 14,
    VECTOR_MACHINE_CHECK = 18,
    VECTOR_EXCEPTIONS = 32,
    VECTOR_COUNT = 256,
};

/* ---- Tables ------------------------------------------------------------------------------------------- */

struct tss {
    uint32_t reserved;
    uint64_t rsp[3];
    uint64_t reserved2;
    uint64_t ist[7]; /* IST n is ist[n - 1] */
    uint64_t reserved3;
    uint16_t reserved4, io_map;
} __attribute__((packed));
_Static_assert(sizeof(struct tss) == 104, "SDM 8.7");

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "SDM 6.14.1");

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));
_Static_assert(sizeof(struct table_pointer) == 10, "lgdt, lidt");

#define GDT_ENTRIES 6

struct trap_tables {
    uint64_t gdt[GDT_ENTRIES];
    struct tss tss;
};
_Static_assert(sizeof(struct trap_tables) <= FRAME_SIZE, "percpu.port[PORT_TABLES]");
_Static_assert(GDT_TSS / 8 + 2 == GDT_ENTRIES, "a TSS descriptor takes two entries");

/* Accessed already, as in start.S. */
#define SEGMENT_CODE64 UINT64_C(0x00af9b000000ffff)
#define SEGMENT_DATA UINT64_C(0x00cf93000000ffff)
#define SEGMENT_CODE32 UINT64_C(0x00cf9b000000ffff)
#define SEGMENT_TSS UINT64_C(0x0000890000000000) /* present, available; base and limit come to it */

#define GATE_INTERRUPT 0x8e /* present, ring 0, masks interrupts */
#define IST_EMERGENCY 1

extern const char trap_stubs[];
extern char boot_guard[], boot_stack[], boot_stack_top[];

static struct gate idt[VECTOR_COUNT] __attribute__((aligned(16)));
static struct trap_tables boot_tables;

static bool needs_own_stack(unsigned vector)
{
    return vector == VECTOR_DOUBLE_FAULT || vector == VECTOR_NMI || vector == VECTOR_MACHINE_CHECK;
}

static void fill_idt(void)
{
    for (unsigned vector = 0; vector < VECTOR_COUNT; vector++) {
        uint64_t stub = (uintptr_t)trap_stubs + 16 * vector;
        idt[vector] = (struct gate){
            .offset_low = (uint16_t)stub,
            .offset_middle = (uint16_t)(stub >> 16),
            .offset_high = (uint32_t)(stub >> 32),
            .selector = GDT_CODE64,
            .ist = needs_own_stack(vector) ? IST_EMERGENCY : 0,
            .type = GATE_INTERRUPT,
        };
    }
}

static void fill_gdt(struct trap_tables *tables)
{
    uint64_t base = (uintptr_t)&tables->tss;
    tables->gdt[GDT_CODE64 / 8] = SEGMENT_CODE64;
    tables->gdt[GDT_DATA / 8] = SEGMENT_DATA;
    tables->gdt[GDT_CODE32 / 8] = SEGMENT_CODE32;
    tables->gdt[GDT_TSS / 8] =
        SEGMENT_TSS | (sizeof(struct tss) - 1) | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
    tables->gdt[GDT_TSS / 8 + 1] = base >> 32;
}

void trap_init_cpu(struct percpu *cpu)
{
    struct trap_tables *tables = &boot_tables;
    if (cpu->port[PORT_TABLES] != 0)
        tables = (struct trap_tables *)cpu->port[PORT_TABLES];
    if (tables == &boot_tables)
        fill_idt();
    uint64_t emergency = cpu->emergency_top != 0 ? cpu->emergency_top : (uintptr_t)boot_stack_top;
    tables->tss.ist[IST_EMERGENCY - 1] = emergency;
    tables->tss.io_map = sizeof(struct tss);
    fill_gdt(tables);

    struct table_pointer gdtr = {sizeof(tables->gdt) - 1, (uintptr_t)tables->gdt};
    struct table_pointer idtr = {sizeof(idt) - 1, (uintptr_t)idt};
    __asm__ volatile("lgdt %0\n"
                     "lidt %1\n"
                     "ltr %w2" ::"m"(gdtr), "m"(idtr), "r"(GDT_TSS) : "memory");
}

/* ---- Registers ---------------------------------------------------------------------------------------- */

struct hal_regs {
    uint64_t cr0, cr2, cr3, cr4; /* for exceptions only */
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t vector, code;
    uint64_t rip, cs, rflags, rsp, ss;
};
_Static_assert(offsetof(struct hal_regs, rax) == 32, "trap.S");
_Static_assert(offsetof(struct hal_regs, vector) == 152, "trap.S");
_Static_assert(sizeof(struct hal_regs) == 208, "trap.S; rsp stays 16-byte aligned");

const char *const hal_reg_names[] = {
    "cr0", "cr2", "cr3", "cr4", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
    "vector", "code", "rip", "cs", "rflags", "rsp", "ss", NULL,
};
_Static_assert((ARRAY_LEN(hal_reg_names) - 1) * 8 == sizeof(struct hal_regs), "one name per register");

/* ---- Exceptions --------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    trap_kind_t kind;
} exceptions[VECTOR_EXCEPTIONS] = {
    [0] = {"#DE divide error", TRAP_OTHER},
    [VECTOR_DEBUG] = {"#DB debug exception", TRAP_OTHER},
    [VECTOR_NMI] = {"NMI", TRAP_OTHER},
    [VECTOR_BREAKPOINT] = {"#BP breakpoint", TRAP_BREAKPOINT},
    [4] = {"#OF overflow", TRAP_OTHER},
    [5] = {"#BR bound range exceeded", TRAP_OTHER},
    [6] = {"#UD invalid opcode", TRAP_ILLEGAL},
    [7] = {"#NM floating-point or SIMD instruction", TRAP_ILLEGAL},
    [VECTOR_DOUBLE_FAULT] = {"#DF double fault", TRAP_OTHER},
    [9] = {"coprocessor segment overrun", TRAP_OTHER},
    [10] = {"#TS invalid task-state segment", TRAP_ACCESS},
    [11] = {"#NP segment not present", TRAP_ACCESS},
    [12] = {"#SS stack fault", TRAP_ACCESS},
    [13] = {"#GP general protection", TRAP_ACCESS},
    [VECTOR_PAGE_FAULT] = {"#PF page fault", TRAP_PAGE_FAULT},
    [15] = {"reserved exception 15", TRAP_OTHER},
    [16] = {"#MF x87 floating-point error", TRAP_OTHER},
    [17] = {"#AC alignment check", TRAP_ALIGNMENT},
    [VECTOR_MACHINE_CHECK] = {"#MC machine check", TRAP_ACCESS},
    [19] = {"#XM SIMD floating-point exception", TRAP_OTHER},
    [20] = {"#VE virtualization exception", TRAP_OTHER},
    [21] = {"#CP control protection exception", TRAP_ACCESS},
    [22] = {"reserved exception 22", TRAP_OTHER},
    [23] = {"reserved exception 23", TRAP_OTHER},
    [24] = {"reserved exception 24", TRAP_OTHER},
    [25] = {"reserved exception 25", TRAP_OTHER},
    [26] = {"reserved exception 26", TRAP_OTHER},
    [27] = {"reserved exception 27", TRAP_OTHER},
    [28] = {"#HV hypervisor injection", TRAP_OTHER},
    [29] = {"#VC VMM communication", TRAP_OTHER},
    [30] = {"#SX security exception", TRAP_OTHER},
    [31] = {"reserved exception 31", TRAP_OTHER},
};

/* Error code of a page fault. */
#define FAULT_PRESENT (1u << 0)
#define FAULT_WRITE (1u << 1)
#define FAULT_USER (1u << 2)
#define FAULT_RESERVED (1u << 3)
#define FAULT_FETCH (1u << 4)
#define FAULT_KEY (1u << 5)

enum { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH };

static const char *page_fault_cause(uint64_t code, unsigned access)
{
    static const char *const unmapped[] = {
        "#PF read of an unmapped page", "#PF write to an unmapped page", "#PF fetch from an unmapped page"};
    static const char *const forbidden[] = {
        "#PF read of a protected page", "#PF write to a read-only page", "#PF fetch from a no-execute page"};
    if (code & FAULT_RESERVED)
        return "#PF reserved bit set in a page-table entry";
    if (code & FAULT_KEY)
        return "#PF access forbidden by a protection key";
    return code & FAULT_PRESENT ? forbidden[access] : unmapped[access];
}

static void describe_page_fault(struct trap_info *trap, const struct hal_regs *regs)
{
    static const unsigned access_bit[] = {TRAP_READ, TRAP_WRITE, TRAP_EXEC};
    unsigned access = ACCESS_READ;
    if (regs->code & FAULT_FETCH)
        access = ACCESS_FETCH;
    else if (regs->code & FAULT_WRITE)
        access = ACCESS_WRITE;
    trap->access = access_bit[access] | (regs->code & FAULT_USER ? TRAP_USER : 0);
    trap->address = regs->cr2;
    trap->cause = page_fault_cause(regs->code, access);
}

static bool in_stack_guard(vaddr_t address)
{
    return stack_guard_owner(address) >= 0 ||
           (address >= (vaddr_t)boot_guard && address < (vaddr_t)boot_stack);
}

/* The page fault that no frame could be pushed for has left its address, in a guard, in cr2. It is used up:
 * a later double fault of another origin must not find it. */
static void describe_double_fault(struct trap_info *trap, const struct hal_regs *regs)
{
    if (!in_stack_guard(regs->cr2))
        return;
    control_write(cr2, 0);
    trap->kind = TRAP_STACK_OVERFLOW;
    trap->cause = "#DF on a spent stack";
    trap->access = TRAP_WRITE;
    trap->address = regs->cr2;
}

static struct trap_info describe(const struct hal_regs *regs)
{
    struct trap_info trap = {
        .pc = regs->rip, .sp = regs->rsp, .fp = regs->rbp, .code = regs->vector << 32 | regs->code};
    if (regs->vector >= VECTOR_EXCEPTIONS) {
        trap.kind = TRAP_OTHER;
        trap.cause = "unexpected interrupt";
        return trap;
    }
    trap.kind = exceptions[regs->vector].kind;
    trap.cause = exceptions[regs->vector].name;
    if (regs->vector == VECTOR_PAGE_FAULT)
        describe_page_fault(&trap, regs);
    else if (regs->vector == VECTOR_DOUBLE_FAULT)
        describe_double_fault(&trap, regs);
    else if (regs->vector == VECTOR_BREAKPOINT)
        trap.pc = regs->rip - 1; /* the saved one is behind int3 already */
    return trap;
}

static void exception(struct hal_regs *regs)
{
    regs->cr0 = control_read(cr0);
    regs->cr2 = control_read(cr2);
    regs->cr3 = control_read(cr3);
    regs->cr4 = control_read(cr4);
    struct trap_info trap = describe(regs);
    kernel_trap(&trap, regs);
    if (trap.kind != TRAP_BREAKPOINT)
        hal_cpu_halt();
}

/* ---- Dispatch ----------------------------------------------------------------------------------------- */

/* From trap.S, interrupts masked. */
void trap_dispatch(struct hal_regs *regs);

void trap_dispatch(struct hal_regs *regs)
{
    if (regs->vector == VECTOR_IPI) {
        lapic_end();
        ipi_handle();
    } else if (regs->vector == VECTOR_TIMER) {
        lapic_end();
        timer_interrupt();
    } else if (regs->vector != VECTOR_SPURIOUS && regs->vector - VECTOR_LEGACY >= VECTOR_LEGACY_COUNT) {
        exception(regs);
    }
}
