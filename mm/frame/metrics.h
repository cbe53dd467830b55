/* SPDX-License-Identifier: MIT
 *
 * Inside mm/frame: what metrics.c keeps per CPU, and the walk that it shares with check.c.
 */
#ifndef MM_FRAME_METRICS_INTERNAL_H
#define MM_FRAME_METRICS_INTERNAL_H

#include <mm/frame_metrics.h>
#include <mm/port.h>

#include "zone.h"

struct frame_cpu;

/* Changed by the CPU that it belongs to, so plain loads and stores do. */
struct meter {
    _Atomic uint64_t bucket[FRAME_PATHS][FRAME_LATENCY_BUCKETS];
    _Atomic uint64_t ticks[FRAME_PATHS], longest[FRAME_PATHS];
};

/* Counts a call that has just ended on this CPU and began when port_ticks() was `start`. */
void meter_add(enum frame_path path, uint64_t start);

/* A passage over all free frames of a zone. */
struct zone_walk {
    uint64_t blocks[FRAME_ORDERS];
    uint64_t free, runs, longest;
};

/* Bound: every chunk of the zone once. Other CPUs may go on. */
void zone_walk(const struct zone *zone, struct zone_walk *walk);

#endif
