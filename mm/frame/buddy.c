/* SPDX-License-Identifier: MIT
 *
 * The buddy: whole chunks, a bit each, and no lists. A block of order 9 + k is a run of 2^k set bits aligned
 * to its length, so splitting and merging are nothing but clearing and setting bits.
 *
 * Blocks up to a group (order 15) are found through the group sets, smallest sufficient block first, in a
 * constant number of steps. What remains (larger blocks, lengths that no aligned block fits, limits) is found
 * by passing over `whole` once, from low addresses to high.
 */
#include "zone.h"

/* Moves a group to the set that its word belongs in. */
static void group_update(struct zone *zone, uint64_t group, uint64_t word)
{
    uint64_t before = zone->whole[group];
    unsigned from = before != 0 ? bit_largest_block(before) : GROUP_CLASSES;
    unsigned to = word != 0 ? bit_largest_block(word) : GROUP_CLASSES;

    zone->whole[group] = word;
    if (from == to)
        return;
    if (from < GROUP_CLASSES && summary_remove(&zone->group_shape, group_set(zone, from), group))
        zone->group_classes &= ~(UINT64_C(1) << from);
    if (to < GROUP_CLASSES) {
        summary_add(&zone->group_shape, group_set(zone, to), group);
        zone->group_classes |= UINT64_C(1) << to;
    }
}

/* The bits of a group's word that [slot, end) covers. */
static uint64_t group_mask(uint64_t group, uint64_t slot, uint64_t end)
{
    uint64_t first = group * GROUP_CHUNKS;

    return bit_range((unsigned)(max_u64(slot, first) - first), (unsigned)min_u64(end - first, GROUP_CHUNKS));
}

void buddy_put(struct zone *zone, uint64_t slot, uint64_t count)
{
    uint64_t end = slot + count;

    for (uint64_t group = slot / GROUP_CHUNKS; group * GROUP_CHUNKS < end; group++)
        group_update(zone, group, zone->whole[group] | group_mask(group, slot, end));
    stat_add(&zone->whole_chunks, count);
}

void buddy_take(struct zone *zone, uint64_t slot, uint64_t count)
{
    uint64_t end = slot + count;

    for (uint64_t group = slot / GROUP_CHUNKS; group * GROUP_CHUNKS < end; group++)
        group_update(zone, group, zone->whole[group] & ~group_mask(group, slot, end));
    stat_add(&zone->whole_chunks, -count);
}

/* An aligned block of 2^order chunks, order ≤ 6, that ends in time. The lowest block of each class is tried,
 * small classes first: at most GROUP_CLASSES rounds. */
static bool find_block(const struct zone *zone, const struct want *want, unsigned order, uint64_t *slot)
{
    uint64_t classes = zone->group_classes >> order << order;

    for (; classes != 0; classes &= classes - 1) {
        uint64_t group = summary_next(&zone->group_shape, group_set(zone, bit_lowest(classes)), 0);
        uint64_t found = group * GROUP_CHUNKS + bit_lowest(bit_blocks(zone->whole[group], order));

        if (zone_frame(zone, found) + want->count <= want->end) {
            *slot = found;
            return true;
        }
    }
    return false;
}

/* The first slot ≥ slot whose bit is set (or clear), but no further than end. At most one round per word. */
static uint64_t next_bit(const struct zone *zone, uint64_t slot, uint64_t end, bool set)
{
    while (slot < end) {
        uint64_t word = set ? zone->whole[slot / GROUP_CHUNKS] : ~zone->whole[slot / GROUP_CHUNKS];

        word &= ~UINT64_C(0) << slot % GROUP_CHUNKS;
        if (word != 0)
            return min_u64(align_down(slot, GROUP_CHUNKS) + bit_lowest(word), end);
        slot = align_down(slot, GROUP_CHUNKS) + GROUP_CHUNKS;
    }
    return end;
}

/* The wanted run inside one span: `full` whole chunks and a part of the next. Each round passes over at least
 * one chunk, so there are at most as many rounds as chunks in the span. */
static bool find_in_span(const struct zone *zone, const struct want *want, const struct span *span,
                         uint64_t *slot)
{
    uint64_t full = max_u64(want->count / CHUNK_FRAMES, 1);
    unsigned tail = want->count < CHUNK_FRAMES ? 0 : (unsigned)(want->count % CHUNK_FRAMES);
    uint64_t align = max_u64(want->align / CHUNK_FRAMES, 1);
    uint64_t first = span->dense * GROUP_CHUNKS, end = first + span->groups * GROUP_CHUNKS;
    uint64_t shift = span->group * GROUP_CHUNKS - first; /* slot + shift counts chunks as addresses do */

    for (uint64_t at = first; (at = next_bit(zone, at, end, true)) < end;) {
        uint64_t frame, crossed, after;

        at = align_up(at + shift, align) - shift;
        frame = (at + shift) * CHUNK_FRAMES;
        if (at + full + (tail != 0) > end || frame + want->count > want->end)
            return false;
        crossed = align_down(frame + want->count - 1, want->boundary);
        if (frame < crossed) {
            at = crossed / CHUNK_FRAMES - shift;
            continue;
        }
        after = next_bit(zone, at, at + full, false);
        if (after == at + full && (tail == 0 || bitmap_all_free(zone, after, 0, tail))) {
            *slot = at;
            return true;
        }
        at = after + 1; /* no run includes the chunk at `after` before its end */
    }
    return false;
}

bool buddy_find(const struct zone *zone, const struct want *want, uint64_t *slot)
{
    uint64_t chunks = (want->count + CHUNK_FRAMES - 1) / CHUNK_FRAMES;
    uint64_t block = max_u64(chunks, want->align / CHUNK_FRAMES);
    unsigned order = log2_ceil(block);

    /* An aligned block of at least the run's length crosses no boundary that the run need not cross. */
    if (order < GROUP_CLASSES && find_block(zone, want, order, slot))
        return true;
    if (order == 0) /* one chunk, any chunk: it would have been found */
        return false;
    for (uint32_t i = 0; i < zone->span_count; i++) {
        if (find_in_span(zone, want, &zone->span[i], slot))
            return true;
    }
    return false;
}
