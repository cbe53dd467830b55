/* SPDX-License-Identifier: MIT
 *
 * Planted bugs, brought into the unchanged sources of mm/ by a forced include, one at a time:
 *   - each kind of read-modify-write can be torn into a load and a store, between which others may run;
 *   - whoever drains a CPU's cache does not wait until its owner has left (`busy`, mm/frame/cache.h);
 *   - the owner of a cache goes in although it is being drained (`attention`).
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

/* The owner's look at `attention`, the only use of this kind of load. */
#undef load_fenced
#define load_fenced(p)                                                                                       \
    __extension__({                                                                                          \
        __auto_type attention_ = load_relaxed(p);                                                            \
        planted == DEAF_OWNER && attention_ == CACHE_DRAINING ? (planted_met++, CACHE_OPEN) : attention_;    \
    })

#endif
