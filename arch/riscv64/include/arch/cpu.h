/* SPDX-License-Identifier: MIT
 *
 * The inline part of the port: control and status registers, interrupt masking, counters. Included by
 * arch/hal.h, which declares the hooks.
 */
#ifndef ARCH_CPU_H
#define ARCH_CPU_H

/* Never moved or merged: many of these registers have effects. */
#define csr_read(name)                                                                                       \
    ({                                                                                                       \
        uint64_t value_;                                                                                     \
        __asm__ volatile("csrr %0, " #name : "=r"(value_)::"memory");                                        \
        value_;                                                                                              \
    })

#define csr_write(name, value) __asm__ volatile("csrw " #name ", %0" ::"rK"((uint64_t)(value)) : "memory")
#define csr_set(name, bits) __asm__ volatile("csrs " #name ", %0" ::"rK"((uint64_t)(bits)) : "memory")
#define csr_clear(name, bits) __asm__ volatile("csrc " #name ", %0" ::"rK"((uint64_t)(bits)) : "memory")

#define SSTATUS_SIE UINT64_C(0x2)

/* sie and sip */
#define INTERRUPT_SOFTWARE (UINT64_C(1) << 1)
#define INTERRUPT_TIMER (UINT64_C(1) << 5)

/* In start.S and trap.S. */
extern char secondary_start[];
extern char trap_entry[];
extern char untranslated_store[];

/* satp of the root that hal_mmu_activate loaded last, for CPUs that start later. */
extern uint64_t mmu_satp;

/* Set by hal_cpu_init: the firmware lets this mode read the counters. */
extern bool cpu_has_cycle, cpu_has_instret;

/* Whether reading the counter traps. Interrupts masked. */
bool cpu_probe_cycle(void);
bool cpu_probe_instret(void);

/* Stores value at a physical address with translation off, for good. entry: untranslated_store's. */
_Noreturn void cpu_store_untranslated(uint64_t address, uint32_t value, paddr_t entry);

static inline struct percpu *hal_percpu(void)
{
    struct percpu *cpu;
    __asm__ volatile("mv %0, tp" : "=r"(cpu));
    return cpu;
}

static inline uint64_t hal_irq_save(void)
{
    uint64_t status;
    __asm__ volatile("csrrc %0, sstatus, %1" : "=r"(status) : "K"(SSTATUS_SIE) : "memory");
    return status & SSTATUS_SIE;
}

static inline void hal_irq_restore(uint64_t state)
{
    csr_set(sstatus, state);
}

static inline void hal_irq_enable(void)
{
    csr_set(sstatus, SSTATUS_SIE);
}

static inline bool hal_irq_enabled(void)
{
    return (csr_read(sstatus) & SSTATUS_SIE) != 0;
}

/* PAUSE (Zihintpause), by number: a hint, and so legal everywhere. */
static inline void hal_cpu_relax(void)
{
    __asm__ volatile(".4byte 0x0100000f" ::: "memory");
}

/* WFI ends when an interrupt that sie enables is pending, masked by sstatus or not; it is taken right after
 * the unmasking. */
static inline void hal_idle(void)
{
    csr_clear(sstatus, SSTATUS_SIE);
    __asm__ volatile("wfi" ::: "memory");
    csr_set(sstatus, SSTATUS_SIE);
}

static inline uint64_t hal_cycles(void)
{
    return cpu_has_cycle ? csr_read(cycle) : csr_read(time);
}

static inline uint64_t hal_ticks(void)
{
    return csr_read(time);
}

static inline uint64_t hal_instructions(void)
{
    return cpu_has_instret ? csr_read(instret) : 0;
}

static inline void hal_illegal_instruction(void)
{
    __asm__ volatile("unimp" ::: "memory");
}

static inline void hal_breakpoint(void)
{
    __asm__ volatile("ebreak" ::: "memory");
}

/* Also drops what this CPU may have remembered of entries that were not present. */
static inline void hal_pte_sync(void)
{
    __asm__ volatile("sfence.vma" ::: "memory");
}

#endif
