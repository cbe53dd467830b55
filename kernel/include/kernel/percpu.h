/* SPDX-License-Identifier: MIT
 *
 * What each CPU has for itself. The per-CPU register (gs, tp, tpidr_el1) points at it whenever the kernel
 * runs. The offsets that assembly uses are pinned here; a port's cpu.h repeats none of them.
 */
#ifndef KERNEL_PERCPU_H
#define KERNEL_PERCPU_H

#ifndef __ASSEMBLER__
#include <stdatomic.h>
#include <arch/hal.h>

struct percpu {
    struct percpu *self;          /* x86_64 reads it through gs */
    uint64_t stack_top;           /* of the CPU's own stack; HAL_STACK_SIZE below, then a guard */
    uint64_t emergency_top;       /* stack for traps whose own stack is gone */
    uint64_t scratch[2];          /* for trap.S alone */
    uint64_t hw_id;               /* hart id, MPIDR affinity, APIC id */
    uint32_t index;               /* dense; 0 booted */
    uint32_t node;                /* dense */
    uint32_t cache;               /* port_cache(): index, or PORT_NO_CACHE inside an interrupt handler */
    _Atomic uint32_t online;
    _Atomic uint32_t ipi_pending; /* ipi_request bits */
    _Atomic uint64_t fenced;      /* the last port_fence_cpus() that this CPU answered */
    uint32_t trap_depth;
    struct hal_catch *catch_point;  /* a provoked fault lands here */
    struct trap_info caught;      /* and leaves this */
    _Atomic pte_t *temp_entry;    /* of the CPU's window for temporary maps (temp_map.c) */
    _Atomic uint32_t temp_depth;  /* slots of it in use */
    uint64_t port[8];             /* for the port's C code (TSS pointer, …) */
};

_Static_assert(offsetof(struct percpu, self) == 0, "assembly");
_Static_assert(offsetof(struct percpu, stack_top) == 8, "assembly");
_Static_assert(offsetof(struct percpu, emergency_top) == 16, "assembly");
_Static_assert(offsetof(struct percpu, scratch) == 24, "assembly");
_Static_assert(offsetof(struct percpu, hw_id) == 40, "assembly");

/* What other CPUs ask of one, in ipi_pending. */
enum ipi_request { IPI_FLUSH = 1, IPI_RUN = 2, IPI_STOP = 4, IPI_FENCE = 8 };

/* Answers a port_fence_cpus() that waits for this CPU. Interrupts masked or not. */
void ipi_answer_fence(void);

extern struct percpu percpu_boot; /* the boot CPU's */

/* CPUs that were described and not disabled; those with ->online set run. index < cpu_count(). */
unsigned cpu_count(void);
struct percpu *cpu_get(unsigned index);
#endif

#define PERCPU_SELF 0
#define PERCPU_STACK_TOP 8
#define PERCPU_EMERGENCY_TOP 16
#define PERCPU_SCRATCH 24
#define PERCPU_HW_ID 40

#endif
