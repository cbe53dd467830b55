/* SPDX-License-Identifier: MIT
 *
 * Inside mm/frame: watermarks, protection and reclaim, see mm/frame_pressure.h.
 *
 * Calls that reached a zone end in pressure_taken or pressure_given. Both ask first what costs a load: a zone
 * whose whole chunks alone are above high is under no pressure. Only near the marks the free frames are counted,
 * which costs O(CPUs).
 */
#ifndef MM_FRAME_PRESSURE_INTERNAL_H
#define MM_FRAME_PRESSURE_INTERNAL_H

#include <mm/frame_pressure.h>

#include "reserve.h"

/* Gives all zones their marks and protection; again when memory has been added. */
void pressure_settle(void);

/* Whether a zone surely has so many free frames. */
static inline bool pressure_plenty(const struct zone *zone, uint64_t frames)
{
    int64_t whole = (int64_t)load_relaxed(&zone->whole_chunks); /* less what was deducted ahead: may be negative */

    return whole > 0 && (uint64_t)whole * CHUNK_FRAMES >= frames;
}

bool pressure_leaves(const struct zone *zone, zone_kind_t top, uint64_t count, uint32_t flags);
bool pressure_after_taking(struct zone *zone);
void pressure_after_giving(struct zone *zone);

/* Whether a request whose highest zone on the node is `top` may take `count` frames of a zone. */
static inline bool pressure_allows(const struct zone *zone, zone_kind_t top, uint64_t count, uint32_t flags)
{
    return (top == zone->kind && (flags & FRAME_SPECULATIVE) == 0) || pressure_leaves(zone, top, count, flags);
}

/* After frames were taken from a zone: refills reserves if the zone can afford it, and sets the level. Whether the
 * zone is below critical, so that the caller is to reclaim if it may. */
static inline bool pressure_taken(struct zone *zone)
{
    return (reserve_short(zone->node) || load_relaxed(&zone->pressure.level) != FRAME_PRESSURE_NONE ||
            !pressure_plenty(zone, load_relaxed(&zone->pressure.low))) &&
           pressure_after_taking(zone);
}

/* One call of the reclaimer for the sake of a zone. */
void pressure_relieve(struct zone *zone);

/* After frames were given back to a zone: refills reserves, sets the level. */
static inline void pressure_given(struct zone *zone)
{
    if (reserve_short(zone->node) || load_relaxed(&zone->pressure.level) != FRAME_PRESSURE_NONE)
        pressure_after_giving(zone);
}

bool pressure_has_reclaimer(void);

/* Calls the reclaimer once on behalf of a request that is about to fail. Returns the frames it freed; 0 also if there
 * is no reclaimer or this CPU is inside it. */
uint64_t pressure_reclaim(uint16_t node, uint64_t wanted);

#endif
