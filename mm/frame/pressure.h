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

#include "zone.h"

/* Gives all zones their marks and protection; again when memory has been added. */
void pressure_settle(void);

/* Whether a request whose highest zone on the node is `top` may take `count` frames of a zone. */
bool pressure_allows(const struct zone *zone, zone_kind_t top, uint64_t count, uint32_t flags);

/* After frames were taken from a zone: refills reserves if the zone can afford it, sets the level, and reclaims
 * below critical if the caller may. */
void pressure_taken(struct zone *zone, bool may_reclaim);

/* After frames were given back to a zone: refills reserves, sets the level. */
void pressure_given(struct zone *zone);

/* Calls the reclaimer once on behalf of a request that is about to fail. Returns the frames it freed; 0 also if there
 * is no reclaimer or this CPU is inside it. */
uint64_t pressure_reclaim(uint16_t node, uint64_t wanted);

#endif
