/* SPDX-License-Identifier: MIT
 *
 * A zone: bitmaps below, buddy above, one lock around both.
 *
 * A run is handled as a head inside one chunk, whole chunks, and a tail inside another. Whole free chunks are
 * always the buddy's: a chunk whose last frame comes back goes there at once, so no call has to look for
 * memory in a second place. Every change is validated before the first bit moves.
 */
#include "zone.h"

/* Partly used chunks that may or may not hold an odd run are tried this often before a chunk is broken. */
#define PROBES_BEFORE_BREAKING 16

/* The part of [first, first + count) in the chunk of `first`. */
static unsigned piece_length(uint64_t first, uint64_t count)
{
    return (unsigned)min_u64(count, CHUNK_FRAMES - first % CHUNK_FRAMES);
}

/* All pieces of a run meet a condition. At most one round per chunk of the run. */
static bool all_pieces(const struct zone *zone, uint64_t first, uint64_t count,
                       bool (*holds)(const struct zone *zone, uint64_t slot, unsigned at, unsigned count))
{
    uint64_t slot = zone_slot(zone, first);

    for (unsigned length; count > 0; first += length, count -= length, slot++) {
        length = piece_length(first, count);
        if (!holds(zone, slot, (unsigned)(first % CHUNK_FRAMES), length))
            return false;
    }
    return true;
}

/* Takes a run that is known to be free. */
static void take(struct zone *zone, uint64_t first, uint64_t count)
{
    uint64_t slot = zone_slot(zone, first), whole;

    stat_add(&zone->free, -count);
    stat_add(&zone->allocs, 1);
    if (first % CHUNK_FRAMES != 0 || count < CHUNK_FRAMES) {
        unsigned head = piece_length(first, count);

        bitmap_take(zone, slot++, (unsigned)(first % CHUNK_FRAMES), head);
        count -= head;
    }
    whole = count / CHUNK_FRAMES;
    if (whole > 0)
        buddy_take(zone, slot, whole);
    for (uint64_t i = 0; i < whole; i++)
        zone->chunk[slot + i] = (struct chunk){.state = CHUNK_TAKEN};
    if (count % CHUNK_FRAMES != 0)
        bitmap_take(zone, slot + whole, 0, (unsigned)(count % CHUNK_FRAMES));
}

/* Gives back a run of which nothing is free. */
static void put(struct zone *zone, uint64_t first, uint64_t count)
{
    uint64_t slot = zone_slot(zone, first), whole;

    stat_add(&zone->free, count);
    if (first % CHUNK_FRAMES != 0 || count < CHUNK_FRAMES) {
        unsigned head = piece_length(first, count);

        bitmap_put(zone, slot++, (unsigned)(first % CHUNK_FRAMES), head);
        count -= head;
    }
    whole = count / CHUNK_FRAMES;
    for (uint64_t i = 0; i < whole; i++)
        zone->chunk[slot + i] = (struct chunk){.free = CHUNK_FRAMES, .state = CHUNK_BUDDY};
    if (whole > 0)
        buddy_put(zone, slot, whole);
    if (count % CHUNK_FRAMES != 0)
        bitmap_put(zone, slot + whole, 0, (unsigned)(count % CHUNK_FRAMES));
}

static bool find(const struct zone *zone, const struct want *want, uint64_t *first)
{
    uint64_t slot;

    if (want->count > stat_get(&zone->free))
        return false;
    if (want->count < CHUNK_FRAMES && bitmap_find(zone, want, PROBES_BEFORE_BREAKING, first))
        return true;
    if (buddy_find(zone, want, &slot)) {
        *first = zone_frame(zone, slot);
        return true;
    }
    /* Bound: every chunk of the zone. */
    return want->count < CHUNK_FRAMES && bitmap_find(zone, want, UINT64_MAX, first);
}

bool zone_alloc(struct zone *zone, const struct want *want, uint64_t *first)
{
    uint64_t irq = spin_lock(&zone->lock);
    bool found = find(zone, want, first);

    if (found)
        take(zone, *first, want->count);
    else
        stat_add(&zone->failures, 1);
    spin_unlock(&zone->lock, irq);
    return found;
}

bool zone_alloc_at(struct zone *zone, uint64_t first, uint64_t count)
{
    uint64_t irq = spin_lock(&zone->lock);
    bool found = all_pieces(zone, first, count, bitmap_all_free);

    if (found)
        take(zone, first, count);
    else
        stat_add(&zone->failures, 1);
    spin_unlock(&zone->lock, irq);
    return found;
}

/* Whether a piece lies in a chunk of which every frame is managed. */
static bool chunk_managed(const struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    (void)at, (void)count;
    return zone->chunk[slot].state > CHUNK_RAGGED;
}

status_t zone_free(struct zone *zone, uint64_t first, uint64_t count)
{
    uint64_t irq = spin_lock(&zone->lock);
    status_t status = OK;

    if (!all_pieces(zone, first, count, chunk_managed) && !managed_contains(first, count))
        status = ERR_INVALID;
    else if (!all_pieces(zone, first, count, bitmap_none_free))
        status = ERR_BUSY;
    if (status == OK) {
        put(zone, first, count);
        stat_add(&zone->frees, 1);
    }
    spin_unlock(&zone->lock, irq);
    return status;
}

void zone_manage(struct zone *zone, uint64_t first, uint64_t count)
{
    uint64_t irq = spin_lock(&zone->lock);
    uint64_t slot = zone_slot(zone, first), last = slot + (first % CHUNK_FRAMES + count - 1) / CHUNK_FRAMES;

    for (; slot <= last; slot++)
        stat_add(&zone->chunks, zone->chunk[slot].state == CHUNK_OFFLINE);
    stat_add(&zone->managed, count);
    put(zone, first, count);
    spin_unlock(&zone->lock, irq);
}

frame_state_t zone_query(struct zone *zone, uint64_t frame)
{
    uint64_t irq = spin_lock(&zone->lock);
    uint64_t slot = zone_slot(zone, frame);
    frame_state_t state = FRAME_ALLOCATED;

    if (bitmap_all_free(zone, slot, (unsigned)(frame % CHUNK_FRAMES), 1))
        state = FRAME_FREE;
    else if (zone->chunk[slot].state <= CHUNK_RAGGED && !managed_contains(frame, 1))
        state = FRAME_UNMANAGED;
    spin_unlock(&zone->lock, irq);
    return state;
}
