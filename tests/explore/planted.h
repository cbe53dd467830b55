/* SPDX-License-Identifier: MIT
 *
 * Planted bugs, brought into the unchanged sources of mm/ by a forced include, one at a time:
 *   - each kind of read-modify-write can be torn into a load and a store, between which others may run;
 *   - whoever drains a CPU's cache does not wait until its owner has left (`busy`, mm/frame/cache.h);
 *   - the owner of a cache goes in although it is being drained (`attention`);
 * and in mm/slab and the calls that it inlines into its scenarios:
 *   - whoever uses a cache's slabs and depot takes no lock;
 *   - all CPUs use CPU 0's magazines;
 *   - interrupt handlers use the magazines of the CPU that they struck;
 *   - a CPU never sees that its magazines are wanted back;
 *   - a CPU that has given its magazines back goes on with the loaded one.
 */
#ifndef PLANTED_H
#define PLANTED_H

#include <mm/atomic.h>

enum planted {
    PLANTED_NONE,
    TORN_COMPARE_EXCHANGE,
    TORN_EXCHANGE,
    TORN_ADD,
    TORN_OR,
    TORN_AND,
    HASTY_DRAINER,
    DEAF_OWNER,
    FORGOTTEN_LOCK,
    SHARED_MAGAZINES,
    RECKLESS_HANDLER,
    DEAF_CPU,
    KEPT_MAGAZINE,
};

/* What is planted now, and how often it was met so far. */
extern enum planted planted;
extern unsigned long planted_met;

#define TORN(p, update)                                                                                      \
    __extension__({                                                                                          \
        __auto_type object_ = (p);                                                                           \
        __auto_type before_ = load_relaxed(object_);                                                         \
        planted_met++;                                                                                     \
        store_relaxed(object_, (update));                                                                    \
        before_;                                                                                             \
    })

#define TORN_COMPARE(p, expected, desired)                                                                   \
    __extension__({                                                                                          \
        __auto_type object_ = (p);                                                                           \
        __auto_type expected_ = (expected);                                                                  \
        __auto_type before_ = load_relaxed(object_);                                                         \
        bool equal_ = before_ == *expected_;                                                                 \
        planted_met++;                                                                                     \
        if (equal_)                                                                                          \
            store_relaxed(object_, (desired));                                                               \
        *expected_ = before_;                                                                                \
        equal_;                                                                                              \
    })

#undef fetch_add
#undef fetch_or
#undef fetch_and
#undef exchange
#undef compare_exchange
#define fetch_add(p, value)                                                                                  \
    (planted == TORN_ADD ? TORN(p, before_ + (value)) : atomic_fetch_add(p, ATOMIC_LAST(value)))
#define fetch_or(p, value)                                                                                   \
    (planted == TORN_OR ? TORN(p, before_ | (value)) : atomic_fetch_or(p, ATOMIC_LAST(value)))
#define fetch_and(p, value)                                                                                  \
    (planted == TORN_AND ? TORN(p, before_ & (value)) : atomic_fetch_and(p, ATOMIC_LAST(value)))
#define exchange(p, value)                                                                                   \
    (planted == TORN_EXCHANGE ? TORN(p, (value)) : atomic_exchange(p, ATOMIC_LAST(value)))
#define compare_exchange(p, expected, desired)                                                               \
    (planted == TORN_COMPARE_EXCHANGE ? TORN_COMPARE(p, expected, desired)                                 \
                                        : atomic_compare_exchange_strong(p, expected, ATOMIC_LAST(desired)))

/* The drainer's look at `busy`, known by how cache.c writes it: the answer is no. */
#undef load_acquire
#define load_acquire(p)                                                                                      \
    (planted == HASTY_DRAINER && __builtin_strcmp(#p, "&cpu->busy") == 0                                     \
         ? (planted_met++, (__typeof__(((void)0, *(p))))0)                                                  \
         : atomic_load_explicit(ATOMIC_LAST(p), memory_order_acquire))

/* ---- mm/slab ----------------------------------------------------------------------------------------------- */

#include <mm/spinlock.h>

#define IN_SLAB (__builtin_strstr(__FILE__, "slab") != NULL)

/* Neither taken nor given back. */
#define NO_LOCK(lock) (planted == FORGOTTEN_LOCK && __builtin_strcmp(#lock, "&cache->lock") == 0)
#define spin_lock(lock) (NO_LOCK(lock) ? (uint64_t)planted_met++ : (spin_lock)(lock))
#define spin_unlock(lock, irq) (NO_LOCK(lock) ? (void)planted_met++ : (spin_unlock)(lock, irq))

static inline unsigned planted_cache(unsigned index)
{
    enum planted bug = index == PORT_NO_CACHE ? RECKLESS_HANDLER : SHARED_MAGAZINES;

    planted_met += planted == bug;
    return planted != bug ? index : bug == SHARED_MAGAZINES ? 0 : port_cpu();
}
#define port_cache() (IN_SLAB ? planted_cache((port_cache)()) : (port_cache)())

/* The CPU's look at `epoch`. */
#undef load_relaxed
#define load_relaxed(p)                                                                                      \
    __extension__({                                                                                          \
        __auto_type found_ = atomic_load_explicit(ATOMIC_LAST(p), memory_order_relaxed);                     \
        planted == DEAF_CPU && __builtin_strcmp(#p, "&cache->epoch") == 0                                    \
            ? (planted_met++, (__typeof__(found_))0)                                                         \
            : found_;                                                                                        \
    })

/* What unload() does last. */
#undef store_relaxed
#define store_relaxed(p, value)                                                                              \
    ((void)(planted == KEPT_MAGAZINE && __builtin_strcmp(#value, "NULL") == 0                                \
                ? (void)planted_met++                                                                        \
                : (void)(*(volatile __typeof__(((void)0, *(p))) *)(uintptr_t)(p) = ATOMIC_LAST(value))))

/* The owner's look at `attention`, the only use of this kind of load. */
#undef load_fenced
#define load_fenced(p)                                                                                       \
    __extension__({                                                                                          \
        __auto_type attention_ = load_relaxed(p);                                                            \
        planted == DEAF_OWNER && attention_ == CACHE_DRAINING ? (planted_met++, CACHE_OPEN) : attention_;    \
    })

#endif
