/* SPDX-License-Identifier: MIT
 *
 * The inline part of the port: control and model-specific registers, interrupt masking, counters, ports.
 * Included by arch/hal.h, which declares the hooks.
 */
#ifndef ARCH_CPU_H
#define ARCH_CPU_H

/* Selectors of the early and of every CPU's own descriptor table. */
#define GDT_CODE64 0x08
#define GDT_DATA 0x10
#define GDT_CODE32 0x18
#define GDT_TSS 0x20

#define CR0_PE (1 << 0)
#define CR0_MP (1 << 1)
#define CR0_TS (1 << 3)
#define CR0_ET (1 << 4)
#define CR0_NE (1 << 5)
#define CR0_WP (1 << 16)
#define CR0_PG 0x80000000

#define CR4_PAE (1 << 5)
#define CR4_MCE (1 << 6)
#define CR4_PGE (1 << 7)
#define CR4_UMIP (1 << 11)
#define CR4_LA57 (1 << 12)
#define CR4_SMEP (1 << 20)
#define CR4_SMAP (1 << 21)

#define MSR_APIC_BASE 0x1b
#define MSR_PAT 0x277
#define MSR_EFER 0xc0000080
#define MSR_GS_BASE 0xc0000101
#define EFER_LME (1 << 8)
#define EFER_NXE (1 << 11)

#ifndef __ASSEMBLER__

/* Interrupt vectors. The legacy controllers' are masked, but a spurious one can still come. */
#define VECTOR_LEGACY 0x20
#define VECTOR_LEGACY_COUNT 16
#define VECTOR_IPI 0xf0
#define VECTOR_TIMER 0xf1
#define VECTOR_SPURIOUS 0xff

/* What the port keeps in percpu.port. */
enum {
    PORT_TABLES,   /* a zeroed frame for its descriptor tables; 0: the boot CPU, which has static ones */
    PORT_DEADLINE, /* hal_time_ns at which the timer is due */
};

/* Loads this CPU's descriptor tables, with cpu's emergency stack (the boot stack's top while it has none). */
void trap_init_cpu(struct percpu *cpu);

/* The timer's interrupt. */
void timer_interrupt(void);

/* This CPU's local APIC id by CPUID, as firmware tables name it. In start.S, like what follows. */
uint32_t cpu_apic_id(void);

/* Goes from four to five levels of tables, with the early tables loaded before and after; image is where the
 * image lies. Only on the boot stack; descriptor tables and gs are to be loaded anew. */
void early_enter_la57(uint64_t image);

/* What a started CPU executes first, in real mode: to be copied to a frame below 1 MiB, with the parameters
 * at their place in it filled in. Goes on in the image, which claims secondary_cpu for itself. */
extern const char secondary_trampoline[], secondary_trampoline_end[], secondary_parameters[];
struct secondary_parameters {
    uint32_t root, cr4;
};
extern struct percpu *secondary_cpu;

/* The root and depth that hal_mmu_activate loaded last, for CPUs that start later. */
extern uint64_t mmu_root;
extern unsigned mmu_levels;

#define control_read(name)                                                                                   \
    ({                                                                                                       \
        uint64_t value_;                                                                                     \
        __asm__ volatile("movq %%" #name ", %0" : "=r"(value_)::"memory");                                   \
        value_;                                                                                              \
    })

#define control_write(name, value) __asm__ volatile("movq %0, %%" #name ::"r"((uint64_t)(value)) : "memory")

static inline uint64_t msr_read(uint32_t msr)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
    return (uint64_t)high << 32 | low;
}

static inline void msr_write(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid_raw(uint32_t leaf)
{
    struct cpuid id;
    __asm__ volatile("cpuid" : "=a"(id.eax), "=b"(id.ebx), "=c"(id.ecx), "=d"(id.edx) : "a"(leaf), "c"(0));
    return id;
}

/* Zeroes for a leaf that the CPU does not have: the first leaf of a range names the last. */
static inline struct cpuid cpuid(uint32_t leaf)
{
    if (cpuid_raw(leaf & 0x80000000).eax < leaf)
        return (struct cpuid){0, 0, 0, 0};
    return cpuid_raw(leaf);
}

static inline struct percpu *hal_percpu(void)
{
    struct percpu *cpu;
    __asm__ volatile("movq %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

#define RFLAGS_IF 0x200

static inline uint64_t hal_irq_save(void)
{
    uint64_t flags;
    __asm__ volatile("pushfq\n"
                     "popq %0\n"
                     "cli"
                     : "=r"(flags)::"memory");
    return flags & RFLAGS_IF;
}

static inline void hal_irq_enable(void)
{
    __asm__ volatile("sti" ::: "memory");
}

static inline void hal_irq_restore(uint64_t state)
{
    if (state != 0)
        hal_irq_enable();
    else
        __asm__ volatile("cli" ::: "memory");
}

static inline bool hal_irq_enabled(void)
{
    uint64_t flags;
    __asm__ volatile("pushfq\n"
                     "popq %0"
                     : "=r"(flags)::"memory");
    return (flags & RFLAGS_IF) != 0;
}

static inline void hal_cpu_relax(void)
{
    __asm__ volatile("pause" ::: "memory");
}

/* No interrupt is taken between sti and the instruction after it. */
static inline void hal_idle(void)
{
    __asm__ volatile("sti\n"
                     "hlt" ::: "memory");
}

static inline uint64_t hal_cycles(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

static inline uint64_t hal_ticks(void)
{
    return hal_cycles();
}

/* Exact under -icount, where the time-stamp counter counts instructions. */
static inline uint64_t hal_instructions(void)
{
    return hal_cycles();
}

static inline void hal_illegal_instruction(void)
{
    __asm__ volatile("ud2" ::: "memory");
}

static inline void hal_breakpoint(void)
{
    __asm__ volatile("int3" ::: "memory");
}

/* Page walks see stores in program order, and a not-present entry is never cached. */
static inline void hal_pte_sync(void)
{
    __asm__ volatile("" ::: "memory");
}

#endif
#endif
