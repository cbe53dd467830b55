/* SPDX-License-Identifier: MIT
 *
 * A test-and-test-and-set lock that masks interrupts while it is held. Not fair; holders are short. A zeroed
 * lock is unlocked. Locks nest; the last taken is released first, because interrupt states pair up so.
 */
#ifndef MM_SPINLOCK_H
#define MM_SPINLOCK_H

#include <mm/atomic.h>
#include <mm/port.h>

typedef struct spinlock {
    _Atomic uint32_t held;
} spinlock_t;

/* Returns what spin_unlock needs. Not from a context that may have interrupted a holder on the same CPU with
 * interrupts enabled: there is none, since holders mask them. */
static inline uint64_t spin_lock(spinlock_t *lock)
{
    uint64_t irq = port_irq_save();

    /* Bound: ends when the holders before us have left. */
    while (exchange(&lock->held, 1) != 0) {
        while (load_relaxed(&lock->held) != 0)
            port_cpu_relax();
    }
    return irq;
}

static inline void spin_unlock(spinlock_t *lock, uint64_t irq)
{
    store_release(&lock->held, 0);
    port_irq_restore(irq);
}

#endif
