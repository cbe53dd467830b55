/* SPDX-License-Identifier: MIT
 *
 * Statistics, and the proof that what is kept is true. Cost: every chunk once, every bit of partly used ones.
 */
#include "cache.h"
#include "reserve.h"
#include "debug.h"
#include "metrics.h"

/* ---- Statistics ---------------------------------------------------------------------------------------- */

void zone_stats(const struct zone *zone, struct frame_zone_stats *stats)
{
    struct cache_sums caches = cache_sums(zone);
    struct zone_walk walk;

    zone_walk(zone, &walk);
    *stats = (struct frame_zone_stats){
        .managed = load_relaxed(&zone->managed),
        .free = load_relaxed(&zone->free) - caches.taken + caches.cached,
        .cached = caches.cached,
        .cached_chunks = caches.cached_chunks,
        .reserved = reserve_in(zone),
        .chunks = load_relaxed(&zone->chunks),
        .whole_chunks = load_relaxed(&zone->whole_chunks) + caches.ahead + caches.cached_chunks,
        .largest_run = walk.longest,
        .allocs = load_relaxed(&zone->allocs) + caches.allocs,
        .frees = load_relaxed(&zone->frees) + caches.frees,
        .failures = load_relaxed(&zone->failures),
    };
    for (unsigned order = 0; order < FRAME_ORDERS; order++)
        stats->free_blocks[order] = walk.blocks[order];
}

/* ---- Proof --------------------------------------------------------------------------------------------- */

/* A chunk by itself: state, hints and row. */
static const char *check_chunk(const struct zone *zone, uint64_t slot)
{
    uint32_t word = chunk_word(zone, slot), free;
    bool whole = whole_word(zone, slot / GROUP_CHUNKS) >> slot % GROUP_CHUNKS & 1;
    struct row_copy row = row_copy(&zone->row[slot]);

    if (whole != (CHUNK_STATE(word) == CHUNK_BUDDY))
        return "a chunk's state and its buddy bit differ";
    if (!chunk_has_row(word))
        return row_copy_any(&row) ? "a chunk that is not in use has bits" : NULL;
    free = row_count_all(&row);
    if (free == CHUNK_FRAMES)
        return "a whole chunk is not the buddy's";
    if (free > 0 && (word & CHUNK_OWNED) == 0 && !chunk_hints_hold(word, &row))
        return "a chunk's hints differ from its bits";
    for (unsigned i = 0; CHUNK_STATE(word) == CHUNK_RAGGED && i < CHUNK_FRAMES; i++) {
        if (row_count(&row, i, 1) != 0 && !managed_contains(zone_frame(zone, slot) + i, 1))
            return "a frame is free that was never handed over";
    }
    return NULL;
}

/* One group: its chunks, and what the listings say about it and them. Adds what it counts to *sum. */
static const char *check_group(const struct zone *zone, uint64_t group, struct frame_zone_stats *sum)
{
    uint64_t expected[CHUNK_PLACES] = {0}, allowed[CHUNK_PLACES] = {0};

    for (unsigned i = 0; i < GROUP_CHUNKS; i++) {
        uint64_t slot = group * GROUP_CHUNKS + i;
        uint32_t place = chunk_place(zone, slot), stays = chunk_stays(zone, slot), word = chunk_word(zone, slot);
        const char *broken = check_chunk(zone, slot);

        if (broken != NULL)
            return broken;
        if (place != LISTING_NOWHERE)
            expected[place] |= UINT64_C(1) << i;
        if (stays != LISTING_NOWHERE)
            allowed[stays] |= UINT64_C(1) << i;
        sum->free += chunk_free(zone, slot);
        sum->chunks += CHUNK_STATE(word) != CHUNK_OFFLINE;
        sum->whole_chunks += CHUNK_STATE(word) == CHUNK_BUDDY;
    }
    for (uint32_t place = 0; place < CHUNK_PLACES; place++) {
        uint64_t set = load_relaxed(&listing_set(&zone->chunks_by_use, place)[group]);

        if ((expected[place] & ~set) != 0 || (set & ~(expected[place] | allowed[place])) != 0)
            return "a chunk is in the wrong set";
    }
    for (uint32_t place = 0; place < GROUP_PLACES; place++) {
        const set_word_t *set = listing_set(&zone->groups_by_order, place);

        if ((load_relaxed(&set[group / WORD_BITS]) >> group % WORD_BITS & 1) != (group_place(zone, group) == place))
            return "a group is in the wrong set";
    }
    return NULL;
}

const char *zone_check(const struct zone *zone)
{
    struct frame_zone_stats sum = {0};
    const char *broken = NULL;

    for (uint64_t group = 0; group < zone->groups && broken == NULL; group++)
        broken = check_group(zone, group, &sum);
    if (broken != NULL)
        return broken;
    if (!listing_check(&zone->chunks_by_use, CHUNK_PLACES) || !listing_check(&zone->groups_by_order, GROUP_PLACES))
        return "a listing's upper levels differ from its members";
    if (sum.free != zone_free_frames(zone))
        return "a zone's free count differs from its bits";
    if (sum.chunks != load_relaxed(&zone->chunks) || sum.whole_chunks != load_relaxed(&zone->whole_chunks) + cache_sums(zone).ahead)
        return "a zone's chunk counts differ from its chunks";
    if ((uint32_t)load_relaxed(&zone->moves) != 0)
        return "a chunk is still on the move";
    return sum.free + reserve_in(zone) <= load_relaxed(&zone->managed) ? NULL
                                                                       : "a zone has more free frames than it manages";
}

/* The table of managed ranges: sorted, within RAM, and the zones' sums. managed_lock is held. */
static const char *check_managed(void)
{
    const struct frame_system *system = &frame_system;
    uint64_t end = 0;

    for (uint32_t i = 0; i < system->managed_count; i++) {
        const struct frame_range *range = &system->managed[i];
        const struct frame_range *ram = range_find(system->ram, system->ram_count, range->start);

        if (range->start < end || range->start >= range->end)
            return "the managed ranges are not in order";
        if (ram == NULL || range->end > ram->end || range->zone != ram->zone)
            return "a managed range is not RAM of its zone";
        end = range->end;
    }
    for (uint32_t zone = 0; zone < system->zone_count; zone++) {
        uint64_t sum = 0;

        for (uint32_t i = 0; i < system->managed_count; i++) {
            if (system->managed[i].zone == zone)
                sum += system->managed[i].end - system->managed[i].start;
        }
        if (sum != load_relaxed(&system->zone[zone].managed))
            return "a zone's managed count differs from what was handed over";
    }
    return NULL;
}

const char *frame_check(void)
{
    const char *broken = NULL;
    uint64_t irq;

    for (uint32_t i = 0; i < frame_system.zone_count && broken == NULL; i++)
        broken = zone_check(&frame_system.zone[i]);
    for (uint32_t i = 0; i < frame_system.cpu_count && broken == NULL; i++)
        broken = cache_check(&frame_system.cpu[i]);
    broken = broken != NULL ? broken : reserve_check();
    if (broken == NULL)
        broken = debug_check();
    if (broken != NULL)
        return broken;
    irq = spin_lock(&frame_system.managed_lock);
    broken = check_managed();
    spin_unlock(&frame_system.managed_lock, irq);
    return broken;
}
