/* SPDX-License-Identifier: MIT
 *
 * Inside mm/frame: what a zone is made of.
 *
 *   chunk   512 frames. A 32-bit word {free count, state, order} and a row of 512 bits.
 *   group   64 chunks (128 MiB): one word of `whole`, a bit per chunk that the buddy owns.
 *   spans   stretches of groups. Address space without RAM between them has no metadata at all. Chunks and
 *           groups are numbered through all spans of the zone in address order: a chunk's number is its slot,
 *           and slot / 64 is its group.
 *
 * Both layers are searched in the same way. A chunk that is partly free is in one of CHUNK_CLASSES sets, by
 * how full it is and by the order of its largest aligned free block; a group with whole chunks is in one of
 * GROUP_CLASSES sets, by the order of its largest aligned block of whole chunks. A word says which sets have
 * members, so "the fullest chunk with a block of 2^k frames" is one mask and one bit scan, then one step per
 * level of the set. Merging is implicit: there are no lists, and a block exists when its bits are set.
 *
 * Frames that a zone's chunk covers but that are not the zone's (holes, other nodes, the tail) are born
 * allocated. All frame numbers here are plain integers; the boxed ones end at frame.c.
 */
#ifndef MM_FRAME_ZONE_H
#define MM_FRAME_ZONE_H

#include <stdatomic.h>

#include <mm/bits.h>
#include <mm/frame.h>
#include <mm/spinlock.h>

#include "row.h"
#include "summary.h"

#define GROUP_CHUNKS UINT64_C(64)
#define GROUP_ORDER  (CHUNK_SHIFT + 6)
#define GROUP_FRAMES (GROUP_CHUNKS * CHUNK_FRAMES)

enum chunk_state {
    CHUNK_OFFLINE, /* no frame of it is managed */
    CHUNK_RAGGED,  /* as BITS, but some frames may not be managed: whoever frees must ask */
    CHUNK_BITS,    /* the row says which frames are free; not all are */
    CHUNK_BUDDY,   /* all free, its bit in `whole` is set; the row means nothing */
    CHUNK_TAKEN,   /* all allocated as part of a larger run; the row means nothing */
};

struct chunk {
    uint16_t free;
    uint8_t state; /* enum chunk_state */
    uint8_t order; /* RAGGED, BITS with free > 0: of the largest aligned free block */
};

_Static_assert(sizeof(struct chunk) == 4, "one compare-and-swap covers it");

/* Chunk index = occupancy × CHUNK_SHIFT + order; occupancy 0 has the fewest free frames. */
#define OCCUPANCIES   4
#define CHUNK_CLASSES (OCCUPANCIES * CHUNK_SHIFT)
#define GROUP_CLASSES 7 /* orders 9 … 15 */

_Static_assert(CHUNK_CLASSES <= WORD_BITS, "one word says which have members");

struct span {
    uint64_t group; /* number of the first group, as addresses count */
    uint32_t dense; /* as the zone counts */
    uint32_t groups;
};

/* Frames [start, end) of one zone; tables of these are sorted and adjoining equal ones merged. */
struct frame_range {
    uint64_t start, end;
    uint32_t zone;
};

struct zone {
    /* Fixed after frame_init. */
    uint16_t node;
    zone_kind_t kind;
    uint64_t start, end; /* frames */
    uint32_t span_count;
    uint32_t groups;
    struct span *span;
    struct summary_shape chunk_shape, group_shape;

    spinlock_t lock; /* covers all that follows, and what it points to */
    struct row *row;
    struct chunk *chunk;
    uint64_t *chunk_set;    /* CHUNK_CLASSES sets of slots */
    uint64_t *group_set;    /* GROUP_CLASSES sets of groups */
    uint64_t *whole;        /* a word per group */
    uint64_t chunk_classes; /* which sets have members */
    uint64_t group_classes;

    /* Changed under the lock, read without it too. */
    _Atomic uint64_t managed, free, chunks, whole_chunks, allocs, frees, failures;
};

/* A request in frame numbers, with nothing left out. */
struct want {
    uint64_t count, align;
    uint64_t boundary; /* the run crosses no multiple of it */
    uint64_t end;      /* the run ends here or before */
};

static inline void stat_add(_Atomic uint64_t *stat, uint64_t n)
{
    atomic_store_explicit(stat, atomic_load_explicit(stat, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t stat_get(const _Atomic uint64_t *stat)
{
    return atomic_load_explicit(stat, memory_order_relaxed);
}

static inline uint64_t *chunk_set(const struct zone *zone, unsigned index)
{
    return zone->chunk_set + index * summary_words(&zone->chunk_shape);
}

static inline uint64_t *group_set(const struct zone *zone, unsigned index)
{
    return zone->group_set + index * summary_words(&zone->group_shape);
}

static inline unsigned chunk_class(struct chunk chunk)
{
    return chunk.free / (CHUNK_FRAMES / OCCUPANCIES) * CHUNK_SHIFT + chunk.order;
}

static inline bool chunk_has_row(struct chunk chunk)
{
    return chunk.state == CHUNK_RAGGED || chunk.state == CHUNK_BITS;
}

/* ---- span.c: frame number ↔ slot ----------------------------------------------------------------------- */

/* The slot of the chunk that holds a frame of the zone. */
uint64_t zone_slot(const struct zone *zone, uint64_t frame);

/* The first frame of a slot. */
uint64_t zone_frame(const struct zone *zone, uint64_t slot);

/* The range that holds frame, or NULL. At most log2(count) + 1 steps. */
const struct frame_range *range_find(const struct frame_range *range, uint32_t count, uint64_t frame);

/* ---- buddy.c: whole chunks. The caller holds the lock. ------------------------------------------------- */

/* Puts in or takes out `count` consecutive slots of one span, and nothing else: chunk states are the
 * caller's. */
void buddy_put(struct zone *zone, uint64_t slot, uint64_t count);
void buddy_take(struct zone *zone, uint64_t slot, uint64_t count);

/* The first slot of free consecutive chunks that hold the wanted run from their first frame on; the smallest
 * aligned block that will do comes first. Of the last chunk only the run's part need be free. False: none. */
bool buddy_find(const struct zone *zone, const struct want *want, uint64_t *slot);

/* ---- bitmap.c: frames inside chunks. The caller holds the lock. ---------------------------------------- */

/* Takes or gives back [at, at + count) of one chunk; any state that allows it. Gives a chunk that becomes
 * whole to the buddy. */
void bitmap_take(struct zone *zone, uint64_t slot, unsigned at, unsigned count);
void bitmap_put(struct zone *zone, uint64_t slot, unsigned at, unsigned count);

/* Whether all of [at, at + count) of a chunk is free; whether none is. */
bool bitmap_all_free(const struct zone *zone, uint64_t slot, unsigned at, unsigned count);
bool bitmap_none_free(const struct zone *zone, uint64_t slot, unsigned at, unsigned count);

/* The first frame of a run of < 512 frames in a partly used chunk. Chunks that surely have one are tried
 * fullest first; then up to `probes` of those that may have one. False: none found. */
bool bitmap_find(const struct zone *zone, const struct want *want, uint64_t probes, uint64_t *frame);

/* ---- zone.c: both together. Takes the lock. ------------------------------------------------------------ */

bool zone_alloc(struct zone *zone, const struct want *want, uint64_t *first);

/* Takes exactly these frames of the zone if all are free. */
bool zone_alloc_at(struct zone *zone, uint64_t first, uint64_t count);

/* Gives back frames of the zone's RAM. ERR_INVALID, ERR_BUSY as frame_free. */
MUST_CHECK status_t zone_free(struct zone *zone, uint64_t first, uint64_t count);

/* Hands over frames of the zone's RAM for the first time. */
void zone_manage(struct zone *zone, uint64_t first, uint64_t count);

/* The state of one frame of the zone's RAM. */
frame_state_t zone_query(struct zone *zone, uint64_t frame);

/* ---- managed.c: which frames were handed over. Takes managed_lock; zone locks come first. -------------- */

/* Whether [first, first + count) are managed frames of one zone. */
bool managed_contains(uint64_t first, uint64_t count);

/* Enters [start, end) as managed. ERR_INVALID: not all of it is RAM of some zone. ERR_BUSY: a part is
 * managed. ERR_FULL: no room. Nothing was changed then. */
MUST_CHECK status_t managed_add(uint64_t start, uint64_t end);

/* The first part of [start, end) that lies in one zone; false if `start` is in none. */
bool ram_piece(uint64_t start, uint64_t end, struct frame_range *piece);

/* Appends to a sorted table, merging with the last entry where they adjoin. The caller knows of room. */
void range_append(struct frame_range *table, uint32_t *count, struct frame_range range);

/* ---- check.c ------------------------------------------------------------------------------------------- */

void zone_stats(struct zone *zone, struct frame_zone_stats *stats);
const char *zone_check(struct zone *zone);

/* ---- The system ---------------------------------------------------------------------------------------- */

#define ZONE_NONE UINT16_MAX

struct frame_system {
    /* Fixed after frame_init. */
    const struct topo *topo;
    struct zone *zone;
    uint32_t zone_count;
    uint16_t zone_of[TOPO_MAX_NODES][ZONE_KINDS]; /* index or ZONE_NONE */
    struct frame_range *ram;                      /* all RAM of all zones, managed or held back */
    uint32_t ram_count;
    uint64_t metadata_bytes;

    _Atomic uint16_t cpu_node[TOPO_MAX_CPUS];

    spinlock_t managed_lock; /* covers what follows; taken inside zone locks */
    struct frame_range *managed;
    uint32_t managed_count, managed_max;
};

extern struct frame_system frame_system;

#endif
