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

static void put_whole(struct zone *zone, uint64_t slot, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (!chunk_put_whole(zone, slot + i))
            freed_twice(slot + i);
    }
    buddy_put(zone, slot, count);
}

static void put_part(struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    if (bitmap_put(zone, slot, at, count) != OK)
        freed_twice(slot);
}

/* Takes a run, or nothing if another CPU has a part of it. */
static bool take(struct zone *zone, const struct pieces *run, bool mobile)
{
    uint64_t whole = run->slot + (run->head > 0);

    if (run->head > 0 && !bitmap_take(zone, run->slot, run->at, run->head, mobile))
        return false;
    if (run->whole > 0 && !buddy_take(zone, whole, run->whole))
        goto put_head;
    for (uint64_t i = 0; i < run->whole; i++)
        chunk_take_whole(zone, whole + i, mobile);
    if (run->tail == 0 || bitmap_take(zone, whole + run->whole, 0, run->tail, mobile))
        return true;
    if (run->whole > 0)
        put_whole(zone, whole, run->whole);
put_head:
    if (run->head > 0)
        put_part(zone, run->slot, run->at, run->head);
    return false;
}

/* Gives back a run of which nothing is free. One frame may turn out to be given back by another CPU at this moment
 * (ERR_BUSY); with longer runs that is beyond repair. */
static status_t put(struct zone *zone, const struct pieces *run)
{
    uint64_t slot = run->slot;

    if (run->head == 1 && run->whole == 0 && run->tail == 0)
        return bitmap_put_word(zone, slot, run->at / WORD_BITS, UINT64_C(1) << run->at % WORD_BITS) == 0 ? OK
                                                                                                        : ERR_BUSY;
    if (run->head > 0)
        put_part(zone, slot++, run->at, run->head);
    if (run->whole > 0)
        put_whole(zone, slot, run->whole);
    if (run->tail > 0)
        put_part(zone, slot + run->whole, 0, run->tail);
    return OK;
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

/* Whether a search that found nothing may be believed. It may have passed by a chunk that was on its way between bitmap
 * and buddy, or from one set to another. The former is known for sure; the latter is if any free frame would have done,
 * and a longer run may be refused for it. */
static bool believable(const struct zone *zone, const struct want *want, uint64_t moves)
{
    bool any_would_do = want->count == 1 && want->align == 1 && want->end >= zone->end;

    return (uint32_t)moves == 0 && load_seq_cst(&zone->moves) == moves &&
           !(any_would_do && zone_free_frames(zone) > 0);
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

    if (!all_pieces(zone, &run, bitmap_all_free) || !take(zone, &run, mobile)) {
        fetch_add(&zone->failures, 1);
        return false;
    }
    fetch_add(&zone->free, -count);
    fetch_add(&zone->allocs, 1);
    return true;
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

    if (status == OK)
        status = put(zone, &run);
    if (status == OK) {
        fetch_add(&zone->free, count);
        fetch_add(&zone->frees, 1);
    }
    return status;
}

void zone_manage(struct zone *zone, uint64_t first, uint64_t count)
{
    struct pieces run = pieces_of(zone, first, count);

    if (run.head > 0)
        bitmap_open(zone, run.slot);
    if (run.tail > 0)
        bitmap_open(zone, run.slot + (run.head > 0) + run.whole);
    fetch_add(&zone->managed, count);
    if (put(zone, &run) != OK)
        port_panic("a frame was free before it was handed over");
    fetch_add(&zone->free, count);
}

uint64_t zone_free_frames(const struct zone *zone)
{
    return load_relaxed(&zone->free) - cache_sums(zone).taken;
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
