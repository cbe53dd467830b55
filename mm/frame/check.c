/* SPDX-License-Identifier: MIT
 *
 * Walks over a whole zone: the statistics that nobody keeps, and the proof that what is kept is true. Cost:
 * every chunk once, every bit of partly used ones.
 */
#include "zone.h"

/* ---- Statistics ---------------------------------------------------------------------------------------- */

/* Counts the aligned, set blocks of each order in words that lie side by side; count[k] += blocks of 2^k. */
static void count_blocks(uint64_t word, uint64_t count[GROUP_CLASSES])
{
    for (unsigned order = 0; order < GROUP_CLASSES; order++) {
        count[order] += bit_count(word);
        if (order + 1 < GROUP_CLASSES)
            word = bit_blocks_above(word, order);
    }
}

static void count_row(const struct row *row, uint64_t count[CHUNK_SHIFT])
{
    uint64_t full = 0, above[GROUP_CLASSES] = {0};

    for (unsigned i = 0; i < ROW_WORDS; i++) {
        count_blocks(row->word[i], count);
        full |= (uint64_t)(row->word[i] == ~UINT64_C(0)) << i;
    }
    count_blocks(full, above);
    count[7] += above[1];
    count[8] += above[2];
}

/* Blocks of whole chunks, orders 9 … 20. Above a group they are runs of full groups, aligned as addresses. */
static void count_groups(const struct zone *zone, uint64_t count[FRAME_ORDERS])
{
    for (uint32_t i = 0; i < zone->span_count; i++) {
        const struct span *span = &zone->span[i];
        uint64_t full = 0;

        for (uint32_t j = 0; j < span->groups; j++) {
            uint64_t word = zone->whole[span->dense + j], next = span->group + j + 1;

            count_blocks(word, count + CHUNK_SHIFT);
            full = word == ~UINT64_C(0) ? full + 1 : 0;
            for (unsigned order = 1; GROUP_ORDER + order < FRAME_ORDERS; order++)
                count[GROUP_ORDER + order] += full >> order != 0 && is_aligned(next, UINT64_C(1) << order);
        }
    }
}

/* Carries a run of free frames through a row; *longest grows with it. Returns the run at the row's end. */
static uint64_t run_through(const struct row *row, uint64_t run, uint64_t *longest)
{
    for (unsigned i = 0; i < ROW_WORDS; i++) {
        uint64_t word = row->word[i];
        unsigned left = WORD_BITS;

        while (left > 0) { /* a stretch of equal bits each time: at most 64 rounds */
            bool set = word & 1;
            uint64_t other = set ? ~word : word;
            unsigned length = other != 0 ? bit_lowest(other) : WORD_BITS;

            length = length < left ? length : left;
            run = set ? run + length : 0;
            *longest = max_u64(*longest, run);
            left -= length;
            word = length < WORD_BITS ? word >> length : 0;
        }
    }
    return run;
}

static uint64_t largest_run(const struct zone *zone)
{
    uint64_t longest = 0;

    for (uint32_t i = 0; i < zone->span_count; i++) {
        uint64_t first = zone->span[i].dense * GROUP_CHUNKS, run = 0;

        for (uint64_t slot = first; slot < first + zone->span[i].groups * GROUP_CHUNKS; slot++) {
            if (zone->chunk[slot].state == CHUNK_BUDDY)
                run += CHUNK_FRAMES;
            else if (zone->chunk[slot].free > 0)
                run = run_through(&zone->row[slot], run, &longest);
            else
                run = 0;
            longest = max_u64(longest, run);
        }
    }
    return longest;
}

void zone_stats(struct zone *zone, struct frame_zone_stats *stats)
{
    uint64_t small[CHUNK_SHIFT] = {0}, large[FRAME_ORDERS] = {0};
    uint64_t irq = spin_lock(&zone->lock);

    for (uint64_t slot = 0; slot < zone->groups * GROUP_CHUNKS; slot++) {
        if (chunk_has_row(zone->chunk[slot]) && zone->chunk[slot].free > 0)
            count_row(&zone->row[slot], small);
    }
    count_groups(zone, large);
    *stats = (struct frame_zone_stats){
        .managed = stat_get(&zone->managed),
        .free = stat_get(&zone->free),
        .chunks = stat_get(&zone->chunks),
        .whole_chunks = stat_get(&zone->whole_chunks),
        .largest_run = largest_run(zone),
        .allocs = stat_get(&zone->allocs),
        .frees = stat_get(&zone->frees),
        .failures = stat_get(&zone->failures),
    };
    spin_unlock(&zone->lock, irq);

    /* A block is maximal unless it is one of the two halves of a larger one. */
    for (unsigned order = 0; order < FRAME_ORDERS; order++) {
        bool is_small = order < CHUNK_SHIFT, last = order == CHUNK_SHIFT - 1 || order == FRAME_ORDERS - 1;
        const uint64_t *count = is_small ? small : large;

        stats->free_blocks[order] = count[order] - (last ? 0 : 2 * count[order + 1]);
    }
}

/* ---- Proof --------------------------------------------------------------------------------------------- */

/* A chunk by itself: state, count, order and row. */
static const char *check_chunk(const struct zone *zone, uint64_t slot)
{
    struct chunk chunk = zone->chunk[slot];
    bool whole = zone->whole[slot / GROUP_CHUNKS] >> slot % GROUP_CHUNKS & 1;

    if (chunk.state > CHUNK_TAKEN)
        return "a chunk is in no known state";
    if (whole != (chunk.state == CHUNK_BUDDY))
        return "a chunk's state and its buddy bit differ";
    if (!chunk_has_row(chunk))
        return chunk.free == (whole ? CHUNK_FRAMES : 0) ? NULL : "an unbroken chunk has a wrong count";
    if (chunk.free != row_count(&zone->row[slot], 0, CHUNK_FRAMES))
        return "a chunk's count differs from its bits";
    if (chunk.free == CHUNK_FRAMES)
        return "a whole chunk is not the buddy's";
    if (chunk.free > 0 && chunk.order != row_largest_block(&zone->row[slot]))
        return "a chunk's order differs from its bits";
    if (chunk.state == CHUNK_RAGGED) {
        for (unsigned i = 0; i < CHUNK_FRAMES; i++) {
            if (row_count(&zone->row[slot], i, 1) != 0 && !managed_contains(zone_frame(zone, slot) + i, 1))
                return "a frame is free that was never handed over";
        }
    }
    return NULL;
}

/* One group: its chunks, and what the sets say about it and them. Adds what it counts to *sum. */
static const char *check_group(const struct zone *zone, uint64_t group, struct frame_zone_stats *sum)
{
    uint64_t expected[CHUNK_CLASSES] = {0}, word = zone->whole[group];

    for (unsigned i = 0; i < GROUP_CHUNKS; i++) {
        uint64_t slot = group * GROUP_CHUNKS + i;
        struct chunk chunk = zone->chunk[slot];
        const char *broken = check_chunk(zone, slot);

        if (broken != NULL)
            return broken;
        if (chunk_has_row(chunk) && chunk.free > 0)
            expected[chunk_class(chunk)] |= UINT64_C(1) << i;
        sum->free += chunk.free;
        sum->chunks += chunk.state != CHUNK_OFFLINE;
        sum->whole_chunks += chunk.state == CHUNK_BUDDY;
    }
    for (unsigned index = 0; index < CHUNK_CLASSES; index++) {
        if (chunk_set(zone, index)[group] != expected[index])
            return "a chunk is in the wrong set";
    }
    for (unsigned index = 0; index < GROUP_CLASSES; index++) {
        bool in = group_set(zone, index)[group / WORD_BITS] >> group % WORD_BITS & 1;

        if (in != (word != 0 && bit_largest_block(word) == index))
            return "a group is in the wrong set";
    }
    return NULL;
}

static const char *check_sets(const struct summary_shape *shape, const uint64_t *set, unsigned classes,
                              uint64_t nonempty)
{
    for (unsigned index = 0; index < classes; index++, set += summary_words(shape)) {
        if (!summary_check(shape, set))
            return "a set's upper levels differ from its members";
        if ((summary_next(shape, set, 0) != SUMMARY_NONE) != (nonempty >> index & 1))
            return "the word of sets with members is wrong";
    }
    return nonempty >> classes != 0 ? "the word of sets names one that does not exist" : NULL;
}

static const char *check_locked(const struct zone *zone)
{
    struct frame_zone_stats sum = {0};
    const char *broken = NULL;

    for (uint64_t group = 0; group < zone->groups && broken == NULL; group++)
        broken = check_group(zone, group, &sum);
    if (broken == NULL)
        broken = check_sets(&zone->chunk_shape, zone->chunk_set, CHUNK_CLASSES, zone->chunk_classes);
    if (broken == NULL)
        broken = check_sets(&zone->group_shape, zone->group_set, GROUP_CLASSES, zone->group_classes);
    if (broken != NULL)
        return broken;
    if (sum.free != stat_get(&zone->free))
        return "a zone's free count differs from its bits";
    if (sum.chunks != stat_get(&zone->chunks) || sum.whole_chunks != stat_get(&zone->whole_chunks))
        return "a zone's chunk counts differ from its chunks";
    return sum.free <= stat_get(&zone->managed) ? NULL : "a zone has more free frames than it manages";
}

const char *zone_check(struct zone *zone)
{
    uint64_t irq = spin_lock(&zone->lock);
    const char *broken = check_locked(zone);

    spin_unlock(&zone->lock, irq);
    return broken;
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
        if (sum != stat_get(&system->zone[zone].managed))
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
    if (broken != NULL)
        return broken;
    irq = spin_lock(&frame_system.managed_lock);
    broken = check_managed();
    spin_unlock(&frame_system.managed_lock, irq);
    return broken;
}
