/* SPDX-License-Identifier: MIT
 *
 * The inline part of the port: system registers, interrupt masking, barriers, counters. Included by
 * arch/hal.h, which declares the hooks.
 */
#ifndef ARCH_CPU_H
#define ARCH_CPU_H

/* Never moved or merged: many system registers have effects. */
#define sysreg_read(name)                                                                                    \
    ({                                                                                                       \
        uint64_t value_;                                                                                     \
        __asm__ volatile("mrs %0, " #name : "=r"(value_)::"memory");                                         \
        value_;                                                                                              \
    })

#define sysreg_write(name, value) __asm__ volatile("msr " #name ", %x0" ::"rZ"((uint64_t)(value)) : "memory")

static inline void cpu_isb(void)
{
    __asm__ volatile("isb" ::: "memory");
}

/* Earlier stores reach every observer, devices included, before anything that follows. */
static inline void cpu_dsb(void)
{
    __asm__ volatile("dsb sy" ::: "memory");
}

/* The affinity fields of MPIDR_EL1, which name a CPU in firmware tables, PSCI and the GIC. */
#define MPIDR_AFFINITY UINT64_C(0xff00ffffff)

/* What the port keeps in percpu.port. */
enum {
    PORT_GIC_PRIVATE,  /* registers of the CPU's private interrupts */
    PORT_GIC_TARGET,   /* GICv2: the CPU's bit in target lists */
    PORT_INSTRUCTIONS, /* 64-bit extension of the 32-bit event counter */
};

/* In start.S and trap.S. */
extern char early_root[];
extern char secondary_start[];
extern char secondary_released[];
extern char vectors[];

/* The root that hal_mmu_activate loaded last: physical, for CPUs that start later. */
extern uint64_t mmu_root;

/* Set by hal_cpu_init: this machine's CPUs have a cycle counter. */
extern bool cpu_has_cycles;

/* hal_instructions, out of line. */
uint64_t cpu_instructions(void);

/* Cleans [start, start + size) to the point of coherency, where a CPU without caches reads. */
void cpu_dcache_clean(const volatile void *start, uint64_t size);

/* The machine's interrupt controller, from hal_irq_init on. */
extern const struct irqchip *irqchip;

/* The virtual timer's interrupt, and what makes its line fall. */
extern uint32_t timer_intid;
void timer_interrupt(void);

/* A PSCI call through the platform's conduit; PSCI_NOT_SUPPORTED if it has none. */
int64_t psci_call(uint32_t function, uint64_t a, uint64_t b, uint64_t c);
#define PSCI_SYSTEM_OFF 0x84000008u
#define PSCI_CPU_ON 0xc4000003u
#define PSCI_NOT_SUPPORTED (-1)

static inline struct percpu *hal_percpu(void)
{
    struct percpu *cpu;
    __asm__ volatile("mrs %0, tpidr_el1" : "=r"(cpu));
    return cpu;
}

/* DAIF.I alone: SError and FIQ stay unmasked, as their arrival is always an error. */
static inline uint64_t hal_irq_save(void)
{
    uint64_t state = sysreg_read(daif);
    __asm__ volatile("msr daifset, #2" ::: "memory");
    return state;
}

static inline void hal_irq_restore(uint64_t state)
{
    sysreg_write(daif, state);
}

static inline void hal_irq_enable(void)
{
    __asm__ volatile("msr daifclr, #2" ::: "memory");
}

static inline bool hal_irq_enabled(void)
{
    return (sysreg_read(daif) & 0x80) == 0;
}

static inline void hal_cpu_relax(void)
{
    __asm__ volatile("yield" ::: "memory");
}

/* WFI ends when an interrupt is pending, masked or not; it is taken right after the unmasking. */
static inline void hal_idle(void)
{
    __asm__ volatile("msr daifset, #2\n"
                     "dsb sy\n"
                     "wfi\n"
                     "msr daifclr, #2\n"
                     "isb" ::: "memory");
}

static inline uint64_t hal_cycles(void)
{
    return cpu_has_cycles ? sysreg_read(pmccntr_el0) : sysreg_read(cntvct_el0);
}

/* Without a barrier: it may be read a few instructions early. */
static inline uint64_t hal_ticks(void)
{
    return sysreg_read(cntvct_el0);
}

static inline uint64_t hal_instructions(void)
{
    return cpu_instructions();
}

/* UDF: permanently undefined. */
static inline void hal_illegal_instruction(void)
{
    __asm__ volatile(".inst 0" ::: "memory");
}

static inline void hal_breakpoint(void)
{
    __asm__ volatile("brk #0" ::: "memory");
}

static inline void hal_pte_sync(void)
{
    __asm__ volatile("dsb ishst\n"
                     "isb" ::: "memory");
}

#endif
