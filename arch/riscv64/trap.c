/* SPDX-License-Identifier: MIT
 *
 * From a trap to words: what trap.S saved is dispatched (interrupts), or named by its cause (Privileged
 * Architecture, scause) and passed to kernel_trap.
 */
#include <arch/hal.h>
#include <kernel/address_space.h>
#include <kernel/percpu.h>

struct hal_regs {
    uint64_t x[31]; /* x1 – x31 */
    uint64_t sepc, sstatus, stval, scause;
    uint64_t padding; /* sp stays 16-byte aligned */
};
_Static_assert(offsetof(struct hal_regs, sepc) == 248, "trap.S");
_Static_assert(offsetof(struct hal_regs, scause) == 272, "trap.S");
_Static_assert(sizeof(struct hal_regs) == 288, "trap.S");

enum { X_RA = 0, X_SP = 1, X_FP = 7 };

const char *const hal_reg_names[] = {
    "ra", "sp",  "gp",  "tp", "t0", "t1", "t2", "s0",   "s1",      "a0",    "a1",     "a2",
    "a3", "a4",  "a5",  "a6", "a7", "s2", "s3", "s4",   "s5",      "s6",    "s7",     "s8",
    "s9", "s10", "s11", "t3", "t4", "t5", "t6", "sepc", "sstatus", "stval", "scause", NULL,
};
_Static_assert((ARRAY_LEN(hal_reg_names) - 1) * 8 == offsetof(struct hal_regs, padding), "a name per register");

/* ---- Causes ------------------------------------------------------------------------------------------- */

#define SCAUSE_INTERRUPT (UINT64_C(1) << 63)

struct cause {
    const char *name;
    trap_kind_t kind;
    unsigned access;
};

static const struct cause exceptions[] = {
    [0] = {"instruction address misaligned", TRAP_ALIGNMENT, TRAP_EXEC},
    [1] = {"instruction access fault", TRAP_ACCESS, TRAP_EXEC},
    [2] = {"illegal instruction", TRAP_ILLEGAL, 0},
    [3] = {"breakpoint", TRAP_BREAKPOINT, 0},
    [4] = {"load address misaligned", TRAP_ALIGNMENT, TRAP_READ},
    [5] = {"load access fault", TRAP_ACCESS, TRAP_READ},
    [6] = {"store or AMO address misaligned", TRAP_ALIGNMENT, TRAP_WRITE},
    [7] = {"store or AMO access fault", TRAP_ACCESS, TRAP_WRITE},
    [8] = {"environment call from U-mode", TRAP_OTHER, TRAP_USER},
    [9] = {"environment call from S-mode", TRAP_OTHER, 0},
    [10] = {"environment call from VS-mode", TRAP_OTHER, 0},
    [11] = {"environment call from M-mode", TRAP_OTHER, 0},
    [12] = {"instruction page fault", TRAP_PAGE_FAULT, TRAP_EXEC},
    [13] = {"load page fault", TRAP_PAGE_FAULT, TRAP_READ},
    [15] = {"store or AMO page fault", TRAP_PAGE_FAULT, TRAP_WRITE},
    [16] = {"double trap", TRAP_OTHER, 0},
    [18] = {"software check", TRAP_OTHER, 0},
    [19] = {"hardware error", TRAP_ACCESS, 0},
    [20] = {"instruction guest-page fault", TRAP_OTHER, TRAP_EXEC},
    [21] = {"load guest-page fault", TRAP_OTHER, TRAP_READ},
    [22] = {"virtual instruction", TRAP_ILLEGAL, 0},
    [23] = {"store or AMO guest-page fault", TRAP_OTHER, TRAP_WRITE},
};

static const char *const interrupts[] = {
    [1] = "supervisor software interrupt", [2] = "VS software interrupt",
    [5] = "supervisor timer interrupt",    [6] = "VS timer interrupt",
    [9] = "supervisor external interrupt", [10] = "VS external interrupt",
    [12] = "guest external interrupt",     [13] = "counter overflow interrupt",
};

/* 24 – 31 and 48 – 63 are for custom use, the rest of what has no name is reserved. */
static struct cause exception_cause(uint64_t code)
{
    if (code < ARRAY_LEN(exceptions) && exceptions[code].name != NULL)
        return exceptions[code];
    bool custom = (code >= 24 && code < 32) || (code >= 48 && code < 64);
    return (struct cause){custom ? "custom exception" : "reserved exception", TRAP_OTHER, 0};
}

static struct cause interrupt_cause(uint64_t code)
{
    if (code < ARRAY_LEN(interrupts) && interrupts[code] != NULL)
        return (struct cause){interrupts[code], TRAP_OTHER, 0};
    return (struct cause){code < 16 ? "reserved interrupt" : "platform interrupt", TRAP_OTHER, 0};
}

static struct trap_info describe(const struct hal_regs *regs)
{
    uint64_t code = regs->scause & ~SCAUSE_INTERRUPT;
    struct cause cause = regs->scause & SCAUSE_INTERRUPT ? interrupt_cause(code) : exception_cause(code);
    return (struct trap_info){
        .kind = cause.kind,
        .access = cause.access,
        .address = cause.access != 0 ? regs->stval : 0,
        .pc = regs->sepc,
        .sp = regs->x[X_SP],
        .fp = regs->x[X_FP],
        .ra = regs->x[X_RA],
        .cause = cause.name,
        .code = regs->scause,
    };
}

/* ---- Dispatch ----------------------------------------------------------------------------------------- */

/* Where trap.S would have put the registers. */
static vaddr_t frame_below(const struct hal_regs *regs)
{
    return regs->x[X_SP] - sizeof(*regs);
}

static bool stack_is_spent(const struct hal_regs *regs)
{
    return (frame_below(regs) >> HAL_STACK_SHIFT & 1) == 0;
}

/* The touch of the guard, if that was the cause; or else the trap's own frame would have touched it. */
static _Noreturn void overflow(struct hal_regs *regs)
{
    struct trap_info trap = describe(regs);
    if (trap.kind != TRAP_PAGE_FAULT)
        trap.address = frame_below(regs);
    trap.kind = TRAP_STACK_OVERFLOW;
    kernel_trap(&trap, regs);
    hal_cpu_halt();
}

/* An instruction's length is in its lowest two bits. */
static unsigned instruction_size(vaddr_t pc)
{
    return (*(const uint16_t *)pc & 3) == 3 ? 4 : 2;
}

static void exception(struct hal_regs *regs)
{
    struct trap_info trap = describe(regs);
    if (trap.kind == TRAP_BREAKPOINT)
        regs->sepc += instruction_size(regs->sepc);
    kernel_trap(&trap, regs);
}

/* No other interrupt is enabled in sie. */
static void interrupt(struct hal_regs *regs)
{
    switch (regs->scause & ~SCAUSE_INTERRUPT) {
    case 1:
        csr_clear(sip, INTERRUPT_SOFTWARE);
        ipi_handle();
        return;
    case 5:
        csr_clear(sie, INTERRUPT_TIMER); /* stays pending until it is set anew */
        timer_handle();
        return;
    default:
        exception(regs);
    }
}

/* From trap.S, interrupts masked. */
void trap_dispatch(struct hal_regs *regs);

void trap_dispatch(struct hal_regs *regs)
{
    if (stack_is_spent(regs))
        overflow(regs);
    else if (regs->scause & SCAUSE_INTERRUPT)
        interrupt(regs);
    else
        exception(regs);
}
