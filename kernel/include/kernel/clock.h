/* SPDX-License-Identifier: MIT
 *
 * From a counter's ticks to nanoseconds and back, by 32.32 fixed-point factors: for counters of up to 4 GHz
 * their relative error stays below 2^-29.
 */
#ifndef KERNEL_CLOCK_H
#define KERNEL_CLOCK_H

#include <mm/types.h>

#define NS_PER_S UINT64_C(1000000000)

struct clock {
    uint64_t start; /* the counter's value at time 0 */
    uint64_t ns_per_tick, ticks_per_ns;
};

static inline uint64_t clock_scale(uint64_t value, uint64_t factor)
{
    return (uint64_t)((unsigned __int128)value * factor >> 32);
}

/* frequency: in Hz, 1 … 2^32 - 1. */
static inline struct clock clock_make(uint64_t frequency, uint64_t now)
{
    return (struct clock){now, (NS_PER_S << 32) / frequency, (frequency << 32) / NS_PER_S};
}

static inline uint64_t clock_ns(const struct clock *clock, uint64_t now)
{
    return clock_scale(now - clock->start, clock->ns_per_tick);
}

static inline uint64_t clock_ticks(const struct clock *clock, uint64_t ns)
{
    return clock_scale(ns, clock->ticks_per_ns);
}

#endif
