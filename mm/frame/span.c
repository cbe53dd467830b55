/* SPDX-License-Identifier: MIT
 *
 * From addresses to a zone's own numbers and back, by binary search in sorted tables. Nearly every zone has
 * one span, which the searches meet at once.
 */
#include "zone.h"

uint64_t zone_slot(const struct zone *zone, uint64_t frame)
{
    uint64_t group = frame / GROUP_FRAMES;
    uint32_t low = 0, high = zone->span_count;

    while (high - low > 1) { /* at most log2(span_count) + 1 rounds */
        uint32_t middle = low + (high - low) / 2;

        if (zone->span[middle].group <= group)
            low = middle;
        else
            high = middle;
    }
    return (zone->span[low].dense + (group - zone->span[low].group)) * GROUP_CHUNKS +
           frame / CHUNK_FRAMES % GROUP_CHUNKS;
}

uint64_t zone_frame(const struct zone *zone, uint64_t slot)
{
    uint64_t group = slot / GROUP_CHUNKS;
    uint32_t low = 0, high = zone->span_count;

    while (high - low > 1) { /* at most log2(span_count) + 1 rounds */
        uint32_t middle = low + (high - low) / 2;

        if (zone->span[middle].dense <= group)
            low = middle;
        else
            high = middle;
    }
    return (zone->span[low].group + (group - zone->span[low].dense)) * GROUP_FRAMES +
           slot % GROUP_CHUNKS * CHUNK_FRAMES;
}

const struct frame_range *range_find(const struct frame_range *range, uint32_t count, uint64_t frame)
{
    uint32_t low = 0, high = count;

    while (low < high) { /* at most log2(count) + 1 rounds */
        uint32_t middle = low + (high - low) / 2;

        if (range[middle].end <= frame)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && range[low].start <= frame ? &range[low] : NULL;
}
