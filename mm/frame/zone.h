/* SPDX-License-Identifier: MIT
 *
 * Inside mm/frame: what a zone is made of.
 *
 *   chunk   512 frames. A row of 512 bits, 1 = free, and a 32-bit word {state, class, hints about the row}.
 *   group   64 chunks (128 MiB): one word of `whole`, a bit per chunk that the buddy owns.
 *   spans   stretches of groups. Address space without RAM between them has no metadata at all. Chunks and
 *           groups are numbered through all spans of the zone in address order: a chunk's number is its slot,
 *           and slot / 64 is its group.
 *
 * Both layers are searched in the same way (listing.h). A chunk that is partly free is listed by mobility class, by
 * how full it is and by the order of its largest aligned free block; a group with whole chunks by the order of its
 * largest aligned block of whole chunks. So "the fullest chunk with a block of 2^k frames" is one mask and one
 * bit scan, then one step per level of the set. Merging is implicit: there are no lists, and a block exists when
 * its bits are set.
 *
 * There are no locks. What everything rests on:
 *   1. The row alone says which frames of a chunk are free. Whoever clears a set bit has the frame; whoever sets a bit
 *      looks at the row afterwards, and so does whoever puts back what it took in vain.
 *   2. Who sees a row of all ones takes its words in rising order, each with one compare-and-swap. Whoever has all
 *      eight has the chunk: it makes the chunk the buddy's (CHUNK_BUDDY), then sets the bit in `whole`. Whoever clears a
 *      bit of `whole` owns the chunk until it stores a new word. In between nobody else touches word or row.
 *   3. The row of a chunk that is whole, offline or taken whole (CHUNK_HUGE) is all zero; so a run of whole chunks is
 *      allocated and freed without touching rows. The first part of it that is freed makes its chunk an ordinary one.
 *   4. The hints in a chunk word decide where it is listed. While nobody is at work the order is that of the
 *      largest free block, the occupancy that of the free frames or of up to 24 less, and every chunk with free
 *      frames is in the set of its hints, unless a CPU owns it. Chunks without may be in the first set of their class:
 *      refills leave them there, and the search that meets too many takes them out.
 *   5. A chunk on its way between bitmap and buddy is in sight of nobody. `moves` counts such moments, so that a
 *      search that found nothing knows whether to look again.
 *
 * Frames that a zone's chunk covers but that are not the zone's (holes, other nodes, the tail) are born
 * allocated. All frame numbers here are plain integers; the boxed ones end at frame.c.
 */
#ifndef MM_FRAME_ZONE_H
#define MM_FRAME_ZONE_H

#include <mm/atomic.h>
#include <mm/bits.h>
#include <mm/frame.h>
#include <mm/frame_pressure.h>
#include <mm/spinlock.h>

#include "listing.h"
#include "row.h"

#define GROUP_CHUNKS UINT64_C(64)
#define GROUP_ORDER  (CHUNK_SHIFT + 6)
#define GROUP_FRAMES (GROUP_CHUNKS * CHUNK_FRAMES)
#define GROUP_NONE   UINT64_MAX
#define GROUP_STRIPES 8u /* words in a cache line */

/* A chunk word. The hints say what its row is like: by them it is listed. */
#define CHUNK_ORDER(word)     ((uint32_t)(word) & 0xfu)      /* of the largest aligned free block */
#define CHUNK_OCCUPANCY(word) ((uint32_t)(word) >> 4 & 0x3u) /* by how many frames are free: about */
#define CHUNK_OCCUPANCY_SHIFT 4
#define CHUNK_HINTS           0x3fu
#define CHUNK_OWNED           (1u << 6) /* a CPU fills its cache from it; not listed meanwhile */
#define CHUNK_MOBILE          (1u << 7) /* class of the runs in it */
#define CHUNK_STATE(word)     ((uint32_t)(word) & (7u << 8))
#define CHUNK_SEQUENCE        (1u << 16) /* one of 2^16; counts how often the chunk has become whole */

#define CHUNK_BITS    (0u << 8) /* the row says which frames are free; not all are */
#define CHUNK_RAGGED  (1u << 8) /* as BITS, but some frames may not be managed: whoever frees must ask */
#define CHUNK_BUDDY   (2u << 8) /* all free, and its bit in `whole` set */
#define CHUNK_HUGE    (3u << 8) /* none free: taken as a whole */
#define CHUNK_OFFLINE (4u << 8) /* no frame of it is managed */

/* By how many frames are free: the fewer, the rather a chunk is used. In the first are those with so many at most. */
#define CHUNK_SPARSE 32
#define OCCUPANCIES  4
#define CHUNK_PLACES (2 * OCCUPANCIES * CHUNK_SHIFT)
#define GROUP_PLACES 7 /* orders 9 … 15 */

_Static_assert(OCCUPANCIES * CHUNK_SHIFT == LISTING_BLOCK, "a block of places per mobility class");

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

/* See pressure.h. Marks and protection change only when memory is added or a test sets them. */
struct pressure {
    _Alignas(64) _Atomic uint64_t high, low, min, critical;
    _Atomic uint64_t protect[ZONE_KINDS];
    _Atomic uint32_t level;
    _Atomic uint32_t by_hand; /* the marks are a test's */
    _Atomic uint64_t events[FRAME_PRESSURES];
};

struct zone {
    /* Fixed after frame_init. */
    uint16_t node;
    zone_kind_t kind;
    uint64_t start, end; /* frames */
    uint32_t span_count;
    uint32_t groups;
    struct span *span;

    _Atomic uint32_t *chunk;
    struct row *row;
    _Atomic uint64_t *whole; /* a word per group */
    _Atomic uint64_t *leased; /* a bit per group: a CPU takes chunks from it */
    _Atomic uint64_t *reserved; /* likewise: chunks of which frames may be in a reserve (reserve.h) */

    /* Changed with every batch of frames; a line of their own each. */
    _Alignas(64) _Atomic uint64_t free; /* in bitmaps and buddy; see zone_free_frames() */
    _Atomic uint64_t allocs, frees, failures;
    _Alignas(64) _Atomic uint64_t managed, chunks;
    _Atomic uint64_t whole_chunks; /* not counting what CPUs have deducted ahead (cache.h) */
    _Atomic uint64_t moves; /* low half: under way; high half: done */
    struct listing chunks_by_use, groups_by_order;

    struct pressure pressure;
};

/* A request in frame numbers, with nothing left out. */
struct want {
    uint64_t count, align;
    uint64_t boundary; /* the run crosses no multiple of it */
    uint64_t end;      /* the run ends here or before */
    bool mobile;
};

static inline uint32_t chunk_word(const struct zone *zone, uint64_t slot)
{
    return load_seq_cst(&zone->chunk[slot]);
}

static inline bool chunk_has_row(uint32_t word)
{
    return CHUNK_STATE(word) <= CHUNK_RAGGED;
}

/* Neighbouring groups, which CPUs tend to take from at the same time, lie on different cache lines. */
static inline _Atomic uint64_t *group_word(const struct zone *zone, uint64_t group)
{
    return &zone->whole[group % GROUP_STRIPES * ((zone->groups + GROUP_STRIPES - 1) / GROUP_STRIPES) + group / GROUP_STRIPES];
}

static inline uint64_t whole_word(const struct zone *zone, uint64_t group)
{
    return load_seq_cst(group_word(zone, group));
}

/* A moment in which a chunk is in sight of nobody. */
static inline void move_begin(struct zone *zone)
{
    fetch_add(&zone->moves, 1);
}

static inline void move_end(struct zone *zone)
{
    fetch_add(&zone->moves, (UINT64_C(1) << 32) - 1);
}

/* ---- span.c: frame number ↔ slot ----------------------------------------------------------------------- */

/* The slot of the chunk that holds a frame of the zone. */
uint64_t zone_slot(const struct zone *zone, uint64_t frame);

/* The first frame of a slot. */
uint64_t zone_frame(const struct zone *zone, uint64_t slot);

/* The range that holds frame, or NULL. At most log2(count) + 1 steps. */
const struct frame_range *range_find(const struct frame_range *range, uint32_t count, uint64_t frame);

/* ---- buddy.c: whole chunks ----------------------------------------------------------------------------- */

/* Puts in `count` consecutive slots of one span, and nothing else: chunk states are the caller's. */
void buddy_put(struct zone *zone, uint64_t slot, uint64_t count);

/* Takes all of them or none; false: another CPU has one of them. */
bool buddy_take(struct zone *zone, uint64_t slot, uint64_t count);

/* Takes up to `most` (≤ 64) chunks of one group: of *lease while it has any; else of the group that least is lost
 * with among those that nobody has leased, which becomes *lease (GROUP_NONE at first); else of any. Returns their bits
 * in the group's word, 0 if there are none. whole_chunks is left to the caller. */
uint64_t buddy_take_some(struct zone *zone, unsigned most, uint64_t *lease, uint64_t *group);
void buddy_end_lease(struct zone *zone, uint64_t *lease);

/* Puts in the chunks of one group that the bits say. whole_chunks is left to the caller. */
void buddy_put_some(struct zone *zone, uint64_t group, uint64_t bits);

/* The first slot of free consecutive chunks that hold the wanted run from their first frame on; the smallest
 * aligned block that will do comes first. Of the last chunk only the run's part need be free. False: none. */
bool buddy_find(struct zone *zone, const struct want *want, uint64_t *slot);

/* Where a group belongs. */
uint32_t group_place(const void *zone, uint64_t group);

/* ---- bitmap.c: frames inside chunks -------------------------------------------------------------------- */

/* Takes [at, at + count) of one chunk, whatever its state; false, and nothing changed, if another CPU has some. A
 * whole chunk is broken, and what remains of it listed, in the mobility class asked for. */
bool bitmap_take(struct zone *zone, uint64_t slot, unsigned at, unsigned count, bool mobile);

/* Gives back [at, at + count) of one chunk. Returns how many of them were free already, and so were not given back now. */
MUST_CHECK unsigned bitmap_put(struct zone *zone, uint64_t slot, unsigned at, unsigned count);

/* Gives back the frames of one word of a chunk's row, a bit each. Returns those that were free already, and so were not
 * given back now. A frame that another CPU gives back at this very moment, and with it a whole chunk, may be reported
 * (port_report) instead. */
MUST_CHECK uint64_t bitmap_put_word(struct zone *zone, uint64_t slot, unsigned index, uint64_t bits);

/* A chunk of which no frame is managed yet takes frames from now on. Any number of CPUs may say so. */
void bitmap_open(struct zone *zone, uint64_t slot);

/* Breaks a whole chunk that the caller has taken from the buddy: all but [at, at + count) is free. flags: CHUNK_MOBILE
 * for the class that it is in from now on, CHUNK_OWNED to keep it out of sight. */
void bitmap_break(struct zone *zone, uint64_t slot, unsigned at, unsigned count, uint32_t flags);

/* A whole chunk that the caller has taken from the buddy becomes one with no free frames. */
void chunk_take_whole(struct zone *zone, uint64_t slot, bool mobile);

/* A chunk with no free frames (or offline) becomes the buddy's: the caller sets its bit. False: it is not so. */
bool chunk_put_whole(struct zone *zone, uint64_t slot);

/* Whether the hints of a listed chunk are what its row calls for; nobody changes it meanwhile. */
bool chunk_hints_hold(uint32_t word, const struct row_copy *row);

/* Free frames of a chunk: what a row says that others may change. */
unsigned chunk_free(const struct zone *zone, uint64_t slot);

/* Whether all of [at, at + count) of a chunk is free; whether none is. */
bool bitmap_all_free(const struct zone *zone, uint64_t slot, unsigned at, unsigned count);
bool bitmap_none_free(const struct zone *zone, uint64_t slot, unsigned at, unsigned count);

/* The first frame of a run of < 512 frames in a partly used chunk of a mobility class. Chunks that surely have one
 * are tried fullest first; then up to `probes` of those that may have one. False: none found. */
bool bitmap_find(struct zone *zone, const struct want *want, bool mobile, uint64_t probes, uint64_t *frame);

/* The first frame of a run of < 512 frames in a given chunk with a row. */
bool bitmap_find_in(const struct zone *zone, const struct want *want, uint64_t slot, uint64_t *frame);

/* Where a chunk belongs; where it may be found listed, though it is empty. */
uint32_t chunk_place(const void *zone, uint64_t slot);
uint32_t chunk_stays(const struct zone *zone, uint64_t slot);

/* ---- refill.c: frames for caches -------------------------------------------------------------------------- */

/* Where frames that are taken go: below *frame, counted from `first`, as far as there is room. */
struct batch {
    uint64_t first;
    uint32_t *frame;
    unsigned room;
    uint64_t owned; /* set to a chunk that is out of sight of other CPUs from now on */
};

/* Takes frames of a chunk, its lowest. False: it has none. */
bool bitmap_take_some(struct zone *zone, uint64_t slot, struct batch *batch);

/* Takes frames of the fullest chunks of a mobility class, looking from slot *from on and then from the start; *from is
 * where to go on. Of a chunk that is not among the fullest, and has frames left, the caller becomes the owner. False:
 * there are none, or other CPUs were faster. */
bool bitmap_take_fullest(struct zone *zone, bool mobile, uint64_t *from, struct batch *batch);

/* Puts a chunk in sight again, if it is out of it. */
void bitmap_disown(struct zone *zone, uint64_t slot);

/* ---- zone.c: both together ----------------------------------------------------------------------------- */

bool zone_alloc(struct zone *zone, const struct want *want, uint64_t *first);

/* Takes exactly these frames of the zone if all are free. */
bool zone_alloc_at(struct zone *zone, uint64_t first, uint64_t count, bool mobile);

/* Frames that we had turn out to be free: somebody freed them wrongly, and they were counted. Takes them off the account
 * and reports it. `slot`: about where. */
void zone_drop_strays(struct zone *zone, uint64_t slot, uint64_t count);

/* What zone_free would say. */
MUST_CHECK status_t zone_may_free(const struct zone *zone, uint64_t first, uint64_t count);

/* Gives back frames of the zone's RAM. ERR_INVALID, ERR_BUSY as frame_free. */
MUST_CHECK status_t zone_free(struct zone *zone, uint64_t first, uint64_t count);

/* Free frames in bitmaps and buddy: what the caches do not hold. */
uint64_t zone_free_frames(const struct zone *zone);

/* Hands over frames of the zone's RAM for the first time. */
void zone_manage(struct zone *zone, uint64_t first, uint64_t count);

/* The state of one frame of the zone's RAM. */
frame_state_t zone_query(const struct zone *zone, uint64_t frame);

/* ---- managed.c: which frames were handed over. Takes managed_lock. -------------------------------------- */

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

void zone_stats(const struct zone *zone, struct frame_zone_stats *stats);
const char *zone_check(const struct zone *zone);

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
    _Atomic uint64_t threshold; /* see frame_set_threshold */

    struct frame_cpu *cpu; /* caches of CPUs 0 … cpu_count - 1 */
    uint32_t cpu_count;
    _Atomic uint16_t cpu_node[TOPO_MAX_CPUS];

    spinlock_t managed_lock; /* covers what follows */
    struct frame_range *managed;
    uint32_t managed_count, managed_max;
};

extern struct frame_system frame_system;

#endif
