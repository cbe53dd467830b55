/* SPDX-License-Identifier: MIT
 *
 * Inside mm/frame: what metrics.c keeps per CPU, and the walk that it shares with check.c.
 */
#ifndef MM_FRAME_METRICS_INTERNAL_H
#define MM_FRAME_METRICS_INTERNAL_H

#include <mm/frame_metrics.h>
#include <mm/port.h>

#include "zone.h"

/* One for each CPU that the topology names, or NULL: durations are not measured. */
struct meter;
extern struct meter *_Atomic frame_meters;

/* The beginning of a call on a slow path, for path_done(); 0: it is not measured. */
static inline uint64_t path_begin(void)
{
    return load_quiet(&frame_meters) != NULL ? port_ticks() : 0;
}

/* Counts a call that has just ended on this CPU. */
void path_done(enum frame_path path, uint64_t begin);

/* Forgets the meters. Boot only. */
void metrics_reset(void);

/* A passage over all free frames of a zone. */
struct zone_walk {
    uint64_t blocks[FRAME_ORDERS];
    uint64_t free, runs, longest;
};

/* Bound: every chunk of the zone once. Other CPUs may go on. */
void zone_walk(const struct zone *zone, struct zone_walk *walk);

#endif
