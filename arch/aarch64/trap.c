/* SPDX-License-Identifier: MIT
 *
 * From an exception to words: what trap.S hands over is dispatched (interrupts), or named by its syndrome
 * (Arm ARM DDI 0487, D17.2.37 ESR_EL1) and passed to kernel_trap.
 *
 * The kernel runs at EL1 on SP_EL1 throughout, so of the four groups of vectors only "current EL, SPx" is
 * ever expected; the others are reported like SError and FIQ: as fatal.
 */
#include <arch/hal.h>
#include <drivers/irqchip/irqchip.h>
#include <kernel/address_space.h>
#include <kernel/percpu.h>

struct hal_regs {
    uint64_t x[31];
    uint64_t sp, pc, pstate, esr, far;
};
_Static_assert(offsetof(struct hal_regs, sp) == 248, "trap.S");
_Static_assert(offsetof(struct hal_regs, pc) == 256, "trap.S");
_Static_assert(offsetof(struct hal_regs, esr) == 272, "trap.S");
_Static_assert(sizeof(struct hal_regs) == 288, "trap.S; sp stays 16-byte aligned");

const char *const hal_reg_names[] = {
    "x0",  "x1",  "x2",  "x3",  "x4",  "x5",  "x6",  "x7",  "x8",  "x9",  "x10", "x11",    "x12", "x13",
    "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25",    "x26", "x27",
    "x28", "x29", "x30", "sp",  "pc",  "pstate", "esr", "far", NULL,
};
_Static_assert((ARRAY_LEN(hal_reg_names) - 1) * 8 == sizeof(struct hal_regs), "one name per register");

/* ---- Syndromes ---------------------------------------------------------------------------------------- */

#define ESR_CLASS(esr) ((unsigned)((esr) >> 26) & 63)
#define ESR_STATUS(esr) ((unsigned)(esr) & 63)
#define ESR_WRITE (1u << 6)
#define ESR_FAR_INVALID (1u << 10)

enum {
    CLASS_UNKNOWN = 0x00,
    CLASS_ILLEGAL_STATE = 0x0e,
    CLASS_SYSREG = 0x18,
    CLASS_FETCH_LOWER = 0x20,
    CLASS_FETCH = 0x21,
    CLASS_PC_ALIGNMENT = 0x22,
    CLASS_DATA_LOWER = 0x24,
    CLASS_DATA = 0x25,
    CLASS_SP_ALIGNMENT = 0x26,
    CLASS_SERROR = 0x2f,
    CLASS_BRK = 0x3c,
};

static const struct {
    const char *name;
    trap_kind_t kind;
} class_info[64] = {
    [CLASS_UNKNOWN] = {"undefined instruction", TRAP_ILLEGAL},
    [0x01] = {"trapped WFI or WFE", TRAP_OTHER},
    [0x03] = {"trapped MCR or MRC (CP15)", TRAP_ILLEGAL},
    [0x04] = {"trapped MCRR or MRRC (CP15)", TRAP_ILLEGAL},
    [0x05] = {"trapped MCR or MRC (CP14)", TRAP_ILLEGAL},
    [0x06] = {"trapped LDC or STC", TRAP_ILLEGAL},
    [0x07] = {"trapped SIMD, FP or SVE access", TRAP_ILLEGAL},
    [0x08] = {"trapped VMRS", TRAP_ILLEGAL},
    [0x09] = {"trapped pointer authentication", TRAP_ILLEGAL},
    [0x0a] = {"trapped LD64B or ST64B", TRAP_ILLEGAL},
    [0x0c] = {"trapped MRRC (CP14)", TRAP_ILLEGAL},
    [0x0d] = {"branch target exception", TRAP_ILLEGAL},
    [CLASS_ILLEGAL_STATE] = {"illegal execution state", TRAP_ILLEGAL},
    [0x11] = {"SVC (AArch32)", TRAP_OTHER},
    [0x12] = {"HVC (AArch32)", TRAP_OTHER},
    [0x13] = {"SMC (AArch32)", TRAP_OTHER},
    [0x15] = {"SVC", TRAP_OTHER},
    [0x16] = {"HVC", TRAP_OTHER},
    [0x17] = {"SMC", TRAP_OTHER},
    [CLASS_SYSREG] = {"trapped system register access", TRAP_ILLEGAL},
    [0x19] = {"trapped SVE access", TRAP_ILLEGAL},
    [0x1a] = {"trapped ERET", TRAP_ILLEGAL},
    [0x1c] = {"pointer authentication failure", TRAP_ILLEGAL},
    [0x1d] = {"trapped SME access", TRAP_ILLEGAL},
    [CLASS_PC_ALIGNMENT] = {"pc alignment fault", TRAP_ALIGNMENT},
    [CLASS_SP_ALIGNMENT] = {"sp alignment fault", TRAP_ALIGNMENT},
    [0x27] = {"memory operation exception", TRAP_OTHER},
    [0x28] = {"floating-point exception (AArch32)", TRAP_OTHER},
    [0x2c] = {"floating-point exception", TRAP_OTHER},
    [CLASS_SERROR] = {"SError", TRAP_ACCESS},
    [0x30] = {"hardware breakpoint, lower EL", TRAP_OTHER},
    [0x31] = {"hardware breakpoint", TRAP_OTHER},
    [0x32] = {"software step, lower EL", TRAP_OTHER},
    [0x33] = {"software step", TRAP_OTHER},
    [0x34] = {"watchpoint, lower EL", TRAP_OTHER},
    [0x35] = {"watchpoint", TRAP_OTHER},
    [0x38] = {"BKPT (AArch32)", TRAP_OTHER},
    [0x3a] = {"vector catch (AArch32)", TRAP_OTHER},
    [CLASS_BRK] = {"BRK", TRAP_BREAKPOINT},
};

/* An abort's status in three variants: fetch, read, write. */
#define FAULT(kind_, text)                                                                                   \
    {                                                                                                        \
        {"instruction abort, " text, "data abort, read, " text, "data abort, write, " text}, kind_           \
    }

static const struct {
    const char *name[3];
    trap_kind_t kind;
} fault_info[64] = {
    [0x00] = FAULT(TRAP_ACCESS, "address size fault level 0"),
    [0x01] = FAULT(TRAP_ACCESS, "address size fault level 1"),
    [0x02] = FAULT(TRAP_ACCESS, "address size fault level 2"),
    [0x03] = FAULT(TRAP_ACCESS, "address size fault level 3"),
    [0x04] = FAULT(TRAP_PAGE_FAULT, "translation fault level 0"),
    [0x05] = FAULT(TRAP_PAGE_FAULT, "translation fault level 1"),
    [0x06] = FAULT(TRAP_PAGE_FAULT, "translation fault level 2"),
    [0x07] = FAULT(TRAP_PAGE_FAULT, "translation fault level 3"),
    [0x08] = FAULT(TRAP_PAGE_FAULT, "access flag fault level 0"),
    [0x09] = FAULT(TRAP_PAGE_FAULT, "access flag fault level 1"),
    [0x0a] = FAULT(TRAP_PAGE_FAULT, "access flag fault level 2"),
    [0x0b] = FAULT(TRAP_PAGE_FAULT, "access flag fault level 3"),
    [0x0c] = FAULT(TRAP_PAGE_FAULT, "permission fault level 0"),
    [0x0d] = FAULT(TRAP_PAGE_FAULT, "permission fault level 1"),
    [0x0e] = FAULT(TRAP_PAGE_FAULT, "permission fault level 2"),
    [0x0f] = FAULT(TRAP_PAGE_FAULT, "permission fault level 3"),
    [0x10] = FAULT(TRAP_ACCESS, "external abort"),
    [0x11] = FAULT(TRAP_ACCESS, "tag check fault"),
    [0x13] = FAULT(TRAP_ACCESS, "external abort on walk level -1"),
    [0x14] = FAULT(TRAP_ACCESS, "external abort on walk level 0"),
    [0x15] = FAULT(TRAP_ACCESS, "external abort on walk level 1"),
    [0x16] = FAULT(TRAP_ACCESS, "external abort on walk level 2"),
    [0x17] = FAULT(TRAP_ACCESS, "external abort on walk level 3"),
    [0x18] = FAULT(TRAP_ACCESS, "parity or ECC error"),
    [0x1b] = FAULT(TRAP_ACCESS, "parity or ECC error on walk level -1"),
    [0x1c] = FAULT(TRAP_ACCESS, "parity or ECC error on walk level 0"),
    [0x1d] = FAULT(TRAP_ACCESS, "parity or ECC error on walk level 1"),
    [0x1e] = FAULT(TRAP_ACCESS, "parity or ECC error on walk level 2"),
    [0x1f] = FAULT(TRAP_ACCESS, "parity or ECC error on walk level 3"),
    [0x21] = FAULT(TRAP_ALIGNMENT, "alignment fault"),
    [0x29] = FAULT(TRAP_ACCESS, "address size fault level -1"),
    [0x2b] = FAULT(TRAP_PAGE_FAULT, "translation fault level -1"),
    [0x30] = FAULT(TRAP_ACCESS, "TLB conflict"),
    [0x31] = FAULT(TRAP_ACCESS, "unsupported hardware update"),
    [0x34] = FAULT(TRAP_ACCESS, "implementation-defined lockdown fault"),
    [0x35] = FAULT(TRAP_ACCESS, "unsupported exclusive or atomic access"),
};

static bool is_fetch(unsigned class)
{
    return class == CLASS_FETCH || class == CLASS_FETCH_LOWER;
}

static bool is_abort(unsigned class)
{
    return is_fetch(class) || class == CLASS_DATA || class == CLASS_DATA_LOWER;
}

static void describe_abort(struct trap_info *trap, unsigned class, uint64_t esr)
{
    unsigned variant = is_fetch(class) ? 0 : (esr & ESR_WRITE) ? 2 : 1;
    static const unsigned access[] = {TRAP_EXEC, TRAP_READ, TRAP_WRITE};
    trap->access = access[variant];
    if (class == CLASS_FETCH_LOWER || class == CLASS_DATA_LOWER)
        trap->access |= TRAP_USER;
    trap->kind = fault_info[ESR_STATUS(esr)].kind;
    trap->cause = fault_info[ESR_STATUS(esr)].name[variant];
    if (trap->cause == NULL) {
        trap->kind = TRAP_ACCESS;
        trap->cause = "abort with a reserved status";
    }
}

static void describe(struct trap_info *trap, const struct hal_regs *regs)
{
    unsigned class = ESR_CLASS(regs->esr);
    trap->code = regs->esr;
    if (is_abort(class)) {
        describe_abort(trap, class, regs->esr);
        if (!(regs->esr & ESR_FAR_INVALID))
            trap->address = regs->far;
        return;
    }
    trap->kind = class_info[class].kind;
    trap->cause = class_info[class].name;
    if (trap->cause == NULL) {
        trap->kind = TRAP_OTHER;
        trap->cause = "reserved exception class";
    }
}

/* ---- Dispatch ----------------------------------------------------------------------------------------- */

enum { VECTOR_SYNC, VECTOR_IRQ, VECTOR_FIQ, VECTOR_SERROR };
#define VECTOR_EXPECTED 4u  /* first of the group "current EL, SPx" */
#define VECTOR_OVERFLOW 16u /* set by trap.S */

#define BRK_SIZE 4

static void synchronous(struct trap_info *trap, struct hal_regs *regs)
{
    describe(trap, regs);
    if (trap->kind == TRAP_BREAKPOINT)
        regs->pc += BRK_SIZE;
    kernel_trap(trap, regs);
}

static void fatal(struct trap_info *trap, const struct hal_regs *regs, trap_kind_t kind, const char *cause)
{
    trap->kind = kind;
    trap->cause = cause;
    kernel_trap(trap, regs);
    hal_cpu_halt();
}

static void overflow(struct trap_info *trap, const struct hal_regs *regs, unsigned vector)
{
    if (vector % 4 == VECTOR_SYNC)
        describe(trap, regs);
    else
        trap->cause = "interrupt on a spent stack";
    fatal(trap, regs, TRAP_STACK_OVERFLOW, trap->cause);
}

/* One interrupt per exception: what else is pending raises the next. */
static void interrupt(void)
{
    uint32_t acknowledged = irqchip->acknowledge();
    uint32_t number = IRQ_NUMBER(acknowledged);
    if (number == IRQ_IPI) {
        irqchip->end(acknowledged);
        ipi_handle();
    } else if (number == timer_intid) {
        timer_interrupt(); /* the line must fall before the end of interrupt */
        irqchip->end(acknowledged);
        timer_handle();
    } else if (number < IRQ_NONE) {
        irqchip->end(acknowledged);
    }
}

/* From trap.S, interrupts masked. */
void trap_dispatch(struct hal_regs *regs, unsigned vector);

void trap_dispatch(struct hal_regs *regs, unsigned vector)
{
    struct trap_info trap = {.pc = regs->pc, .sp = regs->sp, .fp = regs->x[29], .ra = regs->x[30]};
    if (vector & VECTOR_OVERFLOW)
        overflow(&trap, regs, vector);
    else if ((vector & ~3u) != VECTOR_EXPECTED)
        fatal(&trap, regs, TRAP_OTHER, "exception from an unexpected level");
    else if (vector % 4 == VECTOR_SYNC)
        synchronous(&trap, regs);
    else if (vector % 4 == VECTOR_IRQ)
        interrupt();
    else if (vector % 4 == VECTOR_FIQ)
        fatal(&trap, regs, TRAP_OTHER, "FIQ");
    else
        fatal(&trap, regs, TRAP_ACCESS, "SError");
}
