/* SPDX-License-Identifier: MIT
 *
 * The CPUs: bringing them up, running things on several of them at once, stopping them.
 */
#ifndef KERNEL_CPUS_H
#define KERNEL_CPUS_H

#include <kernel/percpu.h>

/* Gives each enabled CPU of the machine its percpu and stacks and starts it; at most `limit` CPUs (0: all). A
 * CPU that does not come is said and left alone. Boot CPU, after vm_init and hal_irq_init. */
void cpus_start(unsigned limit);

/* Moves the boot CPU from the boot stack to a guarded one and continues there. */
_Noreturn void cpus_leave_boot_stack(void (*next)(void));

unsigned cpus_online(void);

/* CPUs that run or should: all that count, but for those that there is no means to start. */
unsigned cpus_startable(void);

/* Timer interrupts so far, on all CPUs. */
extern _Atomic uint64_t timer_ticks;

/* Runs body(context, i) for i = 0 … n-1 at once, one on each of the first n online CPUs (the calling CPU is
 * one of them); returns when all have. n ≤ cpus_online(). Not from interrupt context, not nested. */
void cpus_run(unsigned n, void (*body)(void *context, unsigned index), void *context);

/* Waits for any interrupt, at most about ns. Interrupts are enabled afterwards. */
void cpu_sleep(uint64_t ns);

/* Stops all other CPUs (panic). Does not wait. */
void cpus_stop_others(void);

#endif
