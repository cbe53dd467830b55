/* SPDX-License-Identifier: MIT
 *
 * Planted bugs, brought into the unchanged sources of mm/ by a forced include: each kind of read-modify-write
 * can be torn into a load and a store, between which others may run.
 */
#ifndef TORN_H
#define TORN_H

#include <mm/atomic.h>

enum torn { TORN_NONE, TORN_COMPARE_EXCHANGE, TORN_EXCHANGE, TORN_ADD, TORN_OR, TORN_AND };

/* The kind that is torn now, and how many accesses were so far. */
extern enum torn torn_kind;
extern unsigned long torn_accesses;

/* update: an expression of before_, what the object held. */
#define TORN(p, update)                                                                                      \
    __extension__({                                                                                          \
        __auto_type object_ = (p);                                                                           \
        __auto_type before_ = load_relaxed(object_);                                                         \
        torn_accesses++;                                                                                     \
        store_relaxed(object_, (update));                                                                    \
        before_;                                                                                             \
    })

#define TORN_COMPARE(p, expected, desired)                                                                   \
    __extension__({                                                                                          \
        __auto_type object_ = (p);                                                                           \
        __auto_type expected_ = (expected);                                                                  \
        __auto_type before_ = load_relaxed(object_);                                                         \
        bool equal_ = before_ == *expected_;                                                                 \
        torn_accesses++;                                                                                     \
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
    (torn_kind == TORN_ADD ? TORN(p, before_ + (value)) : atomic_fetch_add(p, ATOMIC_LAST(value)))
#define fetch_or(p, value)                                                                                   \
    (torn_kind == TORN_OR ? TORN(p, before_ | (value)) : atomic_fetch_or(p, ATOMIC_LAST(value)))
#define fetch_and(p, value)                                                                                  \
    (torn_kind == TORN_AND ? TORN(p, before_ & (value)) : atomic_fetch_and(p, ATOMIC_LAST(value)))
#define exchange(p, value)                                                                                   \
    (torn_kind == TORN_EXCHANGE ? TORN(p, (value)) : atomic_exchange(p, ATOMIC_LAST(value)))
#define compare_exchange(p, expected, desired)                                                               \
    (torn_kind == TORN_COMPARE_EXCHANGE ? TORN_COMPARE(p, expected, desired)                                 \
                                        : atomic_compare_exchange_strong(p, expected, ATOMIC_LAST(desired)))

#endif
