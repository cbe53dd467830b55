/* SPDX-License-Identifier: MIT
 *
 * Frames inside chunks. A chunk has a meaningful row only while it is partly used; entering that state from
 * the buddy or from a larger run writes the row anew, so a row costs nothing until its chunk is broken.
 *
 * Every change ends in chunk_store, which keeps the three descriptions of a chunk (row, count and
 * order, set) in step.
 */
#include "zone.h"

static void chunk_leave(struct zone *zone, uint64_t slot)
{
    struct chunk chunk = zone->chunk[slot];

    if (chunk_has_row(chunk) && chunk.free > 0) {
        unsigned index = chunk_class(chunk);

        if (summary_remove(&zone->chunk_shape, chunk_set(zone, index), slot))
            zone->chunk_classes &= ~(UINT64_C(1) << index);
    }
}

static void chunk_enter(struct zone *zone, uint64_t slot)
{
    struct chunk chunk = zone->chunk[slot];

    if (chunk_has_row(chunk) && chunk.free > 0) {
        unsigned index = chunk_class(chunk);

        summary_add(&zone->chunk_shape, chunk_set(zone, index), slot);
        zone->chunk_classes |= UINT64_C(1) << index;
    }
}

/* Stores the new state of a chunk whose row is up to date; a full row makes it whole. */
static void chunk_store(struct zone *zone, uint64_t slot, enum chunk_state state, unsigned free)
{
    struct chunk now = {.free = (uint16_t)free, .state = (uint8_t)state};
    struct chunk before = zone->chunk[slot];

    if (free == CHUNK_FRAMES)
        now.state = CHUNK_BUDDY;
    else if (free > 0)
        now.order = (uint8_t)row_largest_block(&zone->row[slot]);

    if (chunk_has_row(before) && before.free > 0 && chunk_has_row(now) && free > 0 &&
        chunk_class(before) == chunk_class(now)) {
        zone->chunk[slot] = now;
        return;
    }
    chunk_leave(zone, slot);
    zone->chunk[slot] = now;
    chunk_enter(zone, slot);
    if (now.state == CHUNK_BUDDY)
        buddy_put(zone, slot, 1);
}

void bitmap_take(struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    struct chunk chunk = zone->chunk[slot];

    if (chunk.state == CHUNK_BUDDY) {
        buddy_take(zone, slot, 1);
        row_fill(&zone->row[slot], true);
        chunk.state = CHUNK_BITS;
    }
    row_clear(&zone->row[slot], at, count);
    chunk_store(zone, slot, chunk.state, chunk.free - count);
}

void bitmap_put(struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    struct chunk chunk = zone->chunk[slot];

    if (!chunk_has_row(chunk)) {
        row_fill(&zone->row[slot], false);
        chunk.state = chunk.state == CHUNK_OFFLINE ? CHUNK_RAGGED : CHUNK_BITS;
    }
    row_set(&zone->row[slot], at, count);
    chunk_store(zone, slot, chunk.state, chunk.free + count);
}

bool bitmap_all_free(const struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    struct chunk chunk = zone->chunk[slot];

    if (chunk_has_row(chunk))
        return chunk.free >= count && row_count(&zone->row[slot], at, count) == count;
    return chunk.state == CHUNK_BUDDY;
}

bool bitmap_none_free(const struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    struct chunk chunk = zone->chunk[slot];

    if (chunk_has_row(chunk))
        return chunk.free == 0 || row_count(&zone->row[slot], at, count) == 0;
    return chunk.state != CHUNK_BUDDY;
}

/* The wanted run in one chunk. */
static bool probe(const struct zone *zone, const struct want *want, uint64_t slot, uint64_t *frame)
{
    uint64_t base = zone_frame(zone, slot);
    unsigned at;

    if (base >= want->end || !is_aligned(base, max_u64(want->align, CHUNK_FRAMES)))
        return false;
    at = row_find(&zone->row[slot], (unsigned)want->count, min_u64(want->align, CHUNK_FRAMES), want->boundary,
                  (unsigned)min_u64(want->end - base, CHUNK_FRAMES));
    *frame = base + at;
    return at != ROW_NONE;
}

/* The classes whose order is in [low, high), of all occupancies. low < high ≤ CHUNK_SHIFT. */
static uint64_t classes_of(unsigned low, unsigned high)
{
    uint64_t classes = 0;

    for (unsigned occupancy = 0; occupancy < OCCUPANCIES; occupancy++)
        classes |= bit_range(low, high) << occupancy * CHUNK_SHIFT;
    return classes;
}

bool bitmap_find(const struct zone *zone, const struct want *want, uint64_t probes, uint64_t *frame)
{
    /* An aligned block of this order holds the run; a run contains an aligned block of at least `least`. */
    unsigned sure = log2_ceil(max_u64(want->count, want->align));
    unsigned least = log2_floor((want->count + 1) / 2);
    uint64_t classes;

    if (sure < CHUNK_SHIFT) {
        /* Only the limit can refuse a chunk, and it admits no later one of the class: one probe per class. */
        classes = zone->chunk_classes & classes_of(sure, CHUNK_SHIFT);
        for (; classes != 0; classes &= classes - 1) {
            unsigned index = bit_lowest(classes);

            if (probe(zone, want, summary_next(&zone->chunk_shape, chunk_set(zone, index), 0), frame))
                return true;
        }
    }
    if (least >= sure)
        return false;
    classes = zone->chunk_classes & classes_of(least, (unsigned)min_u64(sure, CHUNK_SHIFT));
    for (; classes != 0; classes &= classes - 1) {
        const uint64_t *set = chunk_set(zone, bit_lowest(classes));
        uint64_t slot = summary_next(&zone->chunk_shape, set, 0);

        for (; slot != SUMMARY_NONE; slot = summary_next(&zone->chunk_shape, set, slot + 1)) {
            if (probes-- == 0)
                return false;
            if (probe(zone, want, slot, frame))
                return true;
        }
    }
    return false;
}
