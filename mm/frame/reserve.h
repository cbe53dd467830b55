/* SPDX-License-Identifier: MIT
 *
 * Inside mm/frame: the emergency reserves of mm/frame_reserve.h.
 *
 * A pool is an array of frames, one per node and class. Taking exchanges an entry for 0, putting replaces a 0 by
 * compare-and-swap; entries do not depend on each other, so there is nothing else to agree on. `missing` counts a
 * node's empty entries, after the fact: it decides only whether to refill.
 *
 * Refilling follows every call that gave frames back to a zone of the node, and every one that took some from a zone
 * whose level is below min. It takes frames like anybody else, so a frame is never in two places.
 *
 * A frame in a pool is an allocated one for its chunk. So that it cannot be freed by mistake, each zone has a bit
 * per chunk that says whether a frame of it was ever put into a pool; only then are the pools searched.
 */
#ifndef MM_FRAME_RESERVE_INTERNAL_H
#define MM_FRAME_RESERVE_INTERNAL_H

#include <mm/frame_reserve.h>

#include "zone.h"

struct reserve_pool {
    _Atomic uint64_t *entry; /* a frame's number + 1, or 0 */
    uint32_t size;
    _Atomic uint64_t taken, filled;
};

struct reserve_node {
    _Alignas(64) _Atomic uint64_t missing;
    struct reserve_pool pool[FRAME_RESERVE_CLASSES];
};

extern struct reserve_node reserve_node[TOPO_MAX_NODES];

/* Entries that the pools of a machine need at most. */
uint64_t reserve_entries(const struct topo *topo);

/* Sizes the pools, with reserve_entries() zeroed entries, and fills them. Boot only, when all memory is there and
 * before anybody takes some. */
void reserve_init(_Atomic uint64_t *entries);

/* Takes a frame of a class: from the node, or unless `here` only from the others in fallback order. False: there is
 * none. Bound: all entries of the class. */
bool reserve_take(uint16_t node, bool here, frame_reserve_t class, uint64_t *frame);

/* Puts frames of the node's zones into its pools, at most RESERVE_BATCH of them. Bound: the node's entries. */
#define RESERVE_BATCH 32
void reserve_refill(uint16_t node);

static inline bool reserve_short(uint16_t node)
{
    return load_relaxed(&reserve_node[node].missing) != 0;
}

/* Whether a chunk may have frames in a pool. */
static inline bool reserve_near(const struct zone *zone, uint64_t slot)
{
    return (load_relaxed(&zone->reserved[slot / GROUP_CHUNKS]) >> slot % GROUP_CHUNKS & 1) != 0;
}

bool reserve_search(const struct zone *zone, uint64_t slot, uint64_t first, uint64_t count);

/* Whether one of [first, first + count), RAM of one zone, is in a pool. Bound: a word per group, and if there is a
 * mark the node's entries. */
static inline bool reserve_holds(const struct zone *zone, uint64_t first, uint64_t count)
{
    uint64_t slot = zone_slot(zone, first);

    return (first % CHUNK_FRAMES + count > CHUNK_FRAMES || reserve_near(zone, slot)) &&
           reserve_search(zone, slot, first, count);
}

/* Of up to 64 frames of one row word, a bit each, those that are in no pool; says which are. */
uint64_t reserve_strip(const struct zone *zone, uint64_t first, uint64_t bits);

/* Frames of a zone in pools. */
uint64_t reserve_in(const struct zone *zone);

/* NULL or what is broken. Nobody may allocate or free meanwhile. Cost: each pair of entries of a node. */
const char *reserve_check(void);

#endif
