/* SPDX-License-Identifier: MIT
 *
 * A zone: bitmaps below, buddy above.
 *
 * A run is handled as a head inside one chunk, whole chunks, and a tail inside another. Whole free chunks are
 * always the buddy's: a chunk whose last frame comes back goes there at once, so no call has to look for
 * memory in a second place.
 *
 * An allocation looks for a run without changing anything and then takes exactly that. If another CPU was faster, the
 * pieces taken so far go back and the search starts anew.
 */
#include <mm/port.h>

#include "cache.h"

/* Partly used chunks that may or may not hold an odd run are tried this often before a chunk is broken. */
#define PROBES_BEFORE_BREAKING 16

/* A search is repeated so often if it found nothing while chunks were on the move between bitmap and buddy, or if
 * another CPU was faster; then the request fails. */
#define SEARCHES 16

/* What of a run lies where. */
struct pieces {
    uint64_t slot; /* of the head, or of the first whole chunk */
    unsigned at, head, tail;
    uint64_t whole;
};

static struct pieces pieces_of(const struct zone *zone, uint64_t first, uint64_t count)
{
    struct pieces run = {.slot = zone_slot(zone, first), .at = (unsigned)(first % CHUNK_FRAMES)};

    if (run.at != 0 || count < CHUNK_FRAMES)
        run.head = (unsigned)min_u64(count, CHUNK_FRAMES - run.at);
    run.whole = (count - run.head) / CHUNK_FRAMES;
    run.tail = (unsigned)((count - run.head) % CHUNK_FRAMES);
    return run;
}

typedef bool (*piece_test_t)(const struct zone *zone, uint64_t slot, unsigned at, unsigned count);

/* All pieces of a run meet a condition. At most one round per chunk of the run. */
static bool all_pieces(const struct zone *zone, const struct pieces *run, piece_test_t holds)
{
    uint64_t slot = run->slot;

    if (run->head > 0 && !holds(zone, slot++, run->at, run->head))
        return false;
    for (uint64_t i = 0; i < run->whole; i++) {
        if (!holds(zone, slot++, 0, CHUNK_FRAMES))
            return false;
    }
    return run->tail == 0 || holds(zone, slot, 0, run->tail);
}

/* Returns how many frames were free already. Those are none of ours to give. */
static uint64_t put_whole(struct zone *zone, uint64_t slot, uint64_t count)
{
    uint64_t end = slot + count, from = slot, refused = 0;

    for (uint64_t at = slot; at < end; at++) {
        if (chunk_put_whole(zone, at))
            continue;
        if (at > from)
            buddy_put(zone, from, at - from);
        from = at + 1;
        refused += CHUNK_FRAMES;
    }
    if (end > from)
        buddy_put(zone, from, end - from);
    return refused;
}

void zone_drop_strays(struct zone *zone, uint64_t slot, uint64_t count)
{
    if (count == 0)
        return;
    fetch_add(&zone->free, -count);
    port_report("%llu frames from %#llx on were freed though they were free", (unsigned long long)count,
                (unsigned long long)zone_frame(zone, slot));
}

/* Takes a run, or nothing if another CPU has a part of it. */
static bool take(struct zone *zone, const struct pieces *run, bool mobile)
{
    uint64_t whole = run->slot + (run->head > 0), strays = 0;

    if (run->head > 0 && !bitmap_take(zone, run->slot, run->at, run->head, mobile))
        return false;
    if (run->whole > 0 && !buddy_take(zone, whole, run->whole))
        goto put_head;
    for (uint64_t i = 0; i < run->whole; i++)
        chunk_take_whole(zone, whole + i, mobile);
    if (run->tail == 0 || bitmap_take(zone, whole + run->whole, 0, run->tail, mobile))
        return true;
    if (run->whole > 0)
        strays += put_whole(zone, whole, run->whole);
put_head:
    if (run->head > 0)
        strays += bitmap_put(zone, run->slot, run->at, run->head);
    zone_drop_strays(zone, run->slot, strays);
    return false;
}

/* Gives back a run; returns how many of its frames were free already. */
static uint64_t put(struct zone *zone, const struct pieces *run)
{
    uint64_t slot = run->slot, refused = 0;

    if (run->head > 0)
        refused += bitmap_put(zone, slot++, run->at, run->head);
    if (run->whole > 0)
        refused += put_whole(zone, slot, run->whole);
    if (run->tail > 0)
        refused += bitmap_put(zone, slot + run->whole, 0, run->tail);
    return refused;
}

static bool find(struct zone *zone, const struct want *want, uint64_t *first)
{
    uint64_t slot;

    if (want->count < load_relaxed(&frame_system.threshold) &&
        bitmap_find(zone, want, want->mobile, PROBES_BEFORE_BREAKING, first))
        return true;
    if (buddy_find(zone, want, &slot)) {
        *first = zone_frame(zone, slot);
        return true;
    }
    /* Bound: every chunk of the zone. Last, those of the other mobility class, and those that a CPU owns. */
    return want->count < CHUNK_FRAMES && (bitmap_find(zone, want, want->mobile, UINT64_MAX, first) ||
                                          bitmap_find(zone, want, !want->mobile, UINT64_MAX, first) ||
                                          cache_find_owned(zone, want, first));
}

/* Whether a chunk was on the move since `moves` was read: then its frames may have looked taken. */
static bool moved(const struct zone *zone, uint64_t moves)
{
    return (uint32_t)moves != 0 || load_seq_cst(&zone->moves) != moves;
}

/* Whether a search that found nothing may be believed. It may have passed by a chunk that was on its way between bitmap
 * and buddy, or from one set to another. The former is known for sure; the latter is if any free frame would have done,
 * and a longer run may be refused for it. */
static bool believable(const struct zone *zone, const struct want *want, uint64_t moves)
{
    bool any_would_do = want->count == 1 && want->align == 1 && want->end >= zone->end;

    return !moved(zone, moves) && !(any_would_do && zone_free_frames(zone) > 0);
}

bool zone_alloc(struct zone *zone, const struct want *want, uint64_t *first)
{
    for (unsigned searches = 0; searches < SEARCHES; searches++) {
        uint64_t moves = load_seq_cst(&zone->moves);

        if (find(zone, want, first)) {
            struct pieces run = pieces_of(zone, *first, want->count);

            if (take(zone, &run, want->mobile)) {
                fetch_add(&zone->free, -want->count);
                fetch_add(&zone->allocs, 1);
                return true;
            }
        } else if (believable(zone, want, moves)) {
            break;
        }
        port_cpu_relax();
    }
    fetch_add(&zone->failures, 1);
    return false;
}

bool zone_alloc_at(struct zone *zone, uint64_t first, uint64_t count, bool mobile)
{
    struct pieces run = pieces_of(zone, first, count);

    for (unsigned tries = 0; tries < SEARCHES; tries++) {
        uint64_t moves = load_seq_cst(&zone->moves);

        if (all_pieces(zone, &run, bitmap_all_free) && take(zone, &run, mobile)) {
            fetch_add(&zone->free, -count);
            fetch_add(&zone->allocs, 1);
            return true;
        }
        if (!moved(zone, moves))
            break;
        port_cpu_relax();
    }
    fetch_add(&zone->failures, 1);
    return false;
}

/* Whether a piece lies in a chunk of which every frame is managed. */
static bool chunk_managed(const struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    uint32_t state = CHUNK_STATE(chunk_word(zone, slot));

    (void)at, (void)count;
    return state == CHUNK_BITS || state == CHUNK_BUDDY || state == CHUNK_HUGE;
}

static status_t may_free(const struct zone *zone, const struct pieces *run, uint64_t first, uint64_t count)
{
    if (!all_pieces(zone, run, chunk_managed) && !managed_contains(first, count))
        return ERR_INVALID;
    return all_pieces(zone, run, bitmap_none_free) ? OK : ERR_BUSY;
}

status_t zone_may_free(const struct zone *zone, uint64_t first, uint64_t count)
{
    struct pieces run = pieces_of(zone, first, count);

    return may_free(zone, &run, first, count);
}

status_t zone_free(struct zone *zone, uint64_t first, uint64_t count)
{
    struct pieces run = pieces_of(zone, first, count);
    status_t status = may_free(zone, &run, first, count);
    uint64_t refused;

    if (status != OK)
        return status;
    refused = put(zone, &run);
    fetch_add(&zone->free, count - refused);
    fetch_add(&zone->frees, refused < count);
    if (refused > 0 && refused < count)
        port_report("%llu of the %llu frames from %#llx on were freed by another CPU meanwhile",
                    (unsigned long long)refused, (unsigned long long)count, (unsigned long long)first);
    return refused == 0 ? OK : ERR_BUSY;
}

void zone_manage(struct zone *zone, uint64_t first, uint64_t count)
{
    struct pieces run = pieces_of(zone, first, count);

    if (run.head > 0)
        bitmap_open(zone, run.slot);
    if (run.tail > 0)
        bitmap_open(zone, run.slot + (run.head > 0) + run.whole);
    fetch_add(&zone->managed, count);
    if (put(zone, &run) != 0)
        port_panic("a frame was free before it was handed over");
    fetch_add(&zone->free, count);
}

/* Counters are read one by one: their sum may for a moment be less than none. */
uint64_t zone_free_frames(const struct zone *zone)
{
    int64_t free = (int64_t)(load_relaxed(&zone->free) - cache_sums(zone).taken);

    return free > 0 ? (uint64_t)free : 0;
}

frame_state_t zone_query(const struct zone *zone, uint64_t frame)
{
    uint64_t slot = zone_slot(zone, frame);

    if (bitmap_all_free(zone, slot, (unsigned)(frame % CHUNK_FRAMES), 1))
        return FRAME_FREE;
    if (!chunk_managed(zone, slot, 0, 1) && !managed_contains(frame, 1))
        return FRAME_UNMANAGED;
    return FRAME_ALLOCATED;
}
