/* SPDX-License-Identifier: MIT
 *
 * Reading the live structures. A walk passes over each zone once, from low addresses to high: a group whose chunks
 * are all whole costs one word, a whole chunk one bit, and only partly used chunks have a row to look at. Each word
 * is read once and a row as one copy, so that what is counted in it agrees with itself whatever other CPUs do: all
 * sums come from what was read, and none can turn negative.
 */
#include "cache.h"
#include "metrics.h"

/* ---- The walk ------------------------------------------------------------------------------------------ */

/* Sets count[k] to the aligned, set blocks of 2^k bits in words that lie side by side. */
static void count_blocks(uint64_t word, uint64_t count[GROUP_PLACES])
{
    for (unsigned order = 0; order < GROUP_PLACES; order++) {
        count[order] += bit_count(word);
        if (order + 1 < GROUP_PLACES)
            word = bit_blocks_above(word, order);
    }
}

static void count_row(const struct row_copy *row, uint64_t count[CHUNK_SHIFT])
{
    uint64_t full = 0, above[GROUP_PLACES] = {0};

    for (unsigned i = 0; i < ROW_WORDS; i++) {
        count_blocks(row->word[i], count);
        full |= (uint64_t)(row->word[i] == ~UINT64_C(0)) << i;
    }
    count_blocks(full, above);
    count[7] += above[1];
    count[8] += above[2];
}

/* A run of free frames has come to its end. */
static uint64_t end_run(struct zone_walk *walk, uint64_t run)
{
    walk->runs += run > 0;
    walk->longest = max_u64(walk->longest, run);
    return 0;
}

/* Carries a run of free frames through a row. Returns the run at its end. */
static uint64_t run_through(const struct row_copy *row, uint64_t run, struct zone_walk *walk)
{
    for (unsigned i = 0; i < ROW_WORDS; i++) {
        uint64_t word = row->word[i];
        unsigned left = WORD_BITS;

        while (left > 0) { /* a stretch of equal bits each time: at most 64 rounds */
            bool set = word & 1;
            uint64_t other = set ? ~word : word;
            unsigned length = other != 0 ? bit_lowest(other) : WORD_BITS;

            length = length < left ? length : left;
            run = set ? run + length : end_run(walk, run);
            left -= length;
            word = length < WORD_BITS ? word >> length : 0;
        }
    }
    return run;
}

/* The chunks of one group, whose word of whole chunks was read as `whole`. Returns the run at its end. */
static uint64_t walk_group(const struct zone *zone, uint64_t group, uint64_t whole, uint64_t run,
                           uint64_t small[CHUNK_SHIFT], struct zone_walk *walk)
{
    if (whole == ~UINT64_C(0))
        return run + GROUP_FRAMES;
    for (unsigned i = 0; i < GROUP_CHUNKS; i++) {
        uint64_t slot = group * GROUP_CHUNKS + i;
        uint32_t word = chunk_word(zone, slot);

        if ((whole >> i & 1) != 0) {
            run += CHUNK_FRAMES;
        } else if (chunk_has_row(word)) {
            struct row_copy row = row_copy(&zone->row[slot]);

            count_row(&row, small);
            run = run_through(&row, run, walk);
        } else {
            run = end_run(walk, run);
        }
    }
    return run;
}

/* Blocks larger than a group are runs of full groups, aligned as addresses. */
static void walk_span(const struct zone *zone, const struct span *span, uint64_t small[CHUNK_SHIFT],
                      uint64_t large[FRAME_ORDERS], struct zone_walk *walk)
{
    uint64_t full = 0, run = 0;

    for (uint32_t i = 0; i < span->groups; i++) {
        uint64_t word = whole_word(zone, span->dense + i), next = span->group + i + 1;

        count_blocks(word, large + CHUNK_SHIFT);
        full = word == ~UINT64_C(0) ? full + 1 : 0;
        for (unsigned order = 1; GROUP_ORDER + order < FRAME_ORDERS; order++)
            large[GROUP_ORDER + order] += full >> order != 0 && is_aligned(next, UINT64_C(1) << order);
        run = walk_group(zone, span->dense + i, word, run, small, walk);
    }
    end_run(walk, run);
}

void zone_walk(const struct zone *zone, struct zone_walk *walk)
{
    uint64_t small[CHUNK_SHIFT] = {0}, large[FRAME_ORDERS] = {0};

    *walk = (struct zone_walk){.free = 0};
    for (uint32_t i = 0; i < zone->span_count; i++)
        walk_span(zone, &zone->span[i], small, large, walk);

    /* A block counts unless it is one of the two halves of a larger one. */
    for (unsigned order = 0; order < FRAME_ORDERS; order++) {
        bool is_small = order < CHUNK_SHIFT, last = order == CHUNK_SHIFT - 1 || order == FRAME_ORDERS - 1;
        const uint64_t *count = is_small ? small : large;

        walk->blocks[order] = count[order] - (last ? 0 : 2 * count[order + 1]);
        walk->free += walk->blocks[order] << order;
    }
}

/* ---- Fragmentation ------------------------------------------------------------------------------------- */

static void add_zone(const struct zone *zone, struct frame_metrics *metrics)
{
    struct zone_walk walk;

    zone_walk(zone, &walk);
    metrics->free += walk.free;
    metrics->cached += cache_sums(zone).cached;
    metrics->runs += walk.runs;
    metrics->largest_run = max_u64(metrics->largest_run, walk.longest);
    for (unsigned order = 0; order < FRAME_ORDERS; order++)
        metrics->blocks[order] += walk.blocks[order];
}

/* What follows from the sums. Fewer than 2^44 frames exist, so that a thousand times as many can be counted. */
static void finish(struct frame_metrics *metrics)
{
    uint64_t unusable = 0;

    metrics->mean_run = metrics->runs > 0 ? metrics->free * 1000 / metrics->runs : 0;
    for (unsigned order = 0; order < FRAME_ORDERS; order++) {
        metrics->unusable[order] = metrics->free > 0 ? (uint32_t)(unusable * 1000 / metrics->free) : 1000;
        unusable += metrics->blocks[order] << order;
    }
}

void frame_zone_metrics(unsigned index, struct frame_metrics *metrics)
{
    *metrics = (struct frame_metrics){.free = 0};
    add_zone(&frame_system.zone[index], metrics);
    finish(metrics);
}

void frame_node_metrics(uint16_t node, struct frame_metrics *metrics)
{
    *metrics = (struct frame_metrics){.free = 0};
    for (uint32_t i = 0; i < frame_system.zone_count; i++) {
        if (node == FRAME_NODE_ANY || node == frame_system.zone[i].node)
            add_zone(&frame_system.zone[i], metrics);
    }
    finish(metrics);
}

uint32_t frame_chunk_free(unsigned index, pfn_t frame)
{
    const struct zone *zone = &frame_system.zone[index];

    for (uint32_t i = 0; i < zone->span_count; i++) {
        const struct span *span = &zone->span[i];
        uint64_t group = frame.v / GROUP_FRAMES;

        if (group >= span->group && group - span->group < span->groups) {
            uint32_t word = chunk_word(zone, zone_slot(zone, frame.v));

            return CHUNK_STATE(word) == CHUNK_OFFLINE ? FRAME_NO_CHUNK : chunk_free(zone, zone_slot(zone, frame.v));
        }
    }
    return FRAME_NO_CHUNK;
}

/* ---- Where the frames are ------------------------------------------------------------------------------ */

void frame_totals(uint16_t node, struct frame_totals *totals)
{
    *totals = (struct frame_totals){.managed = 0};
    for (uint32_t i = 0; i < frame_system.zone_count; i++) {
        const struct zone *zone = &frame_system.zone[i];
        struct cache_sums caches;
        uint64_t managed, cached, free;

        if (node != FRAME_NODE_ANY && node != zone->node)
            continue;
        caches = cache_sums(zone);
        managed = load_relaxed(&zone->managed);
        cached = min_u64(caches.cached, managed);
        free = load_relaxed(&zone->free) - caches.taken;
        /* Counters of other CPUs, read one after the other, may make a sum that never was: 2^63 and more are less
         * than nothing. */
        free = free >> 63 != 0 ? 0 : min_u64(free, managed - cached);
        totals->managed += managed;
        totals->free += free;
        totals->cached += cached;
    }
    totals->used = totals->managed - totals->free - totals->cached;
}

/* ---- CPUs ---------------------------------------------------------------------------------------------- */

/* The number of bits that a duration needs, as far as there are buckets. Half as long as log2_floor(). */
static unsigned bucket_of(uint64_t ticks)
{
    uint64_t rest = min_u64(ticks, (UINT64_C(1) << (FRAME_LATENCY_BUCKETS - 1)) - 1);
    unsigned bits = 0;

    for (unsigned half = 16; half > 0; half /= 2) {
        if (rest >> half != 0) {
            rest >>= half;
            bits += half;
        }
    }
    return bits + (unsigned)rest;
}

_Static_assert(FRAME_LATENCY_BUCKETS <= 33, "durations are looked at as 32 bits");

/* Changed by the CPU that it belongs to, so plain loads and stores do. */
struct meter {
    _Alignas(64) _Atomic uint64_t bucket[FRAME_PATHS][FRAME_LATENCY_BUCKETS];
    _Atomic uint64_t ticks[FRAME_PATHS], longest[FRAME_PATHS];
};

struct meter *_Atomic frame_meters;

/* What frame_meters was; NULL: there was never a measurement. */
static struct meter *_Atomic meters_kept;

void metrics_reset(void)
{
    store_quiet(&frame_meters, NULL);
    store_quiet(&meters_kept, NULL);
}

static void clear_meter(struct meter *meter)
{
    for (unsigned path = 0; path < FRAME_PATHS; path++) {
        for (unsigned i = 0; i < FRAME_LATENCY_BUCKETS; i++)
            store_quiet(&meter->bucket[path][i], 0);
        store_quiet(&meter->ticks[path], 0);
        store_quiet(&meter->longest[path], 0);
    }
}

/* The meters, made when they are first asked for; of two CPUs that do so at once, one gives its memory back. */
static status_t meters_make(void)
{
    struct frame_request request = {.node = FRAME_NODE_ANY, .zone = ZONE_NORMAL, .flags = FRAME_ZEROED};
    struct meter *none = NULL;
    status_t status;
    pfn_t memory;

    if (load_acquire(&meters_kept) != NULL)
        return OK;
    request.count = (frame_system.cpu_count * sizeof(struct meter) + FRAME_SIZE - 1) / FRAME_SIZE;
    status = frame_alloc(&request, &memory);
    if (status != OK)
        return status;
    if (!compare_exchange(&meters_kept, &none, (struct meter *)port_phys_to_virt(paddr_of(memory))))
        return frame_free(memory, request.count);
    return OK;
}

status_t frame_latency_measure(bool on)
{
    status_t status = on ? meters_make() : OK;
    struct meter *meters = load_acquire(&meters_kept);

    if (status != OK)
        return status;
    for (uint32_t i = 0; on && i < frame_system.cpu_count; i++)
        clear_meter(&meters[i]);
    store_release(&frame_meters, on ? meters : NULL);
    return OK;
}

bool frame_latency_measured(void)
{
    return load_quiet(&frame_meters) != NULL;
}

static __attribute__((noinline)) void measure(enum frame_path path, uint64_t ticks)
{
    struct meter *meters = load_acquire(&frame_meters);
    unsigned cpu = port_cpu();
    _Atomic uint64_t *count;

    if (meters == NULL || cpu >= frame_system.cpu_count)
        return;
    count = &meters[cpu].bucket[path][bucket_of(ticks)];
    store_quiet(count, load_quiet(count) + 1);
    store_quiet(&meters[cpu].ticks[path], load_quiet(&meters[cpu].ticks[path]) + ticks);
    if (ticks > load_quiet(&meters[cpu].longest[path]))
        store_quiet(&meters[cpu].longest[path], ticks);
}

void path_done(enum frame_path path, uint64_t begin)
{
    _Atomic uint64_t *calls = &frame_cpu_table[port_cpu()]->calls[path];

    store_quiet(calls, load_quiet(calls) + 1);
    if (begin != 0)
        measure(path, port_ticks() - begin);
}

const char *frame_path_name(enum frame_path path)
{
    static const char *const name[FRAME_PATHS] = {"refill", "spill", "alloc", "free", "drain"};

    return name[path];
}

void frame_cpu_latency(unsigned cpu, enum frame_path path, struct frame_latency *latency)
{
    const struct meter *meters = load_acquire(&meters_kept);

    *latency = (struct frame_latency){.calls = 0};
    if (meters == NULL || cpu >= frame_system.cpu_count)
        return;
    latency->ticks = load_quiet(&meters[cpu].ticks[path]);
    latency->longest = load_quiet(&meters[cpu].longest[path]);
    for (unsigned i = 0; i < FRAME_LATENCY_BUCKETS; i++) {
        latency->bucket[i] = load_quiet(&meters[cpu].bucket[path][i]);
        latency->calls += latency->bucket[i];
    }
}

_Static_assert((int)FRAME_CACHE_FIXED == (int)STACK_FIXED && (int)FRAME_CACHE_MOBILE == (int)STACK_MOBILE &&
                   (int)FRAME_CACHE_OUT == (int)STACK_OUT && (int)FRAME_CACHE_STACKS == (int)CACHE_STACKS,
               "stacks are numbered alike");

void frame_cpu_stats(unsigned index, struct frame_cpu_stats *stats)
{
    const struct frame_cpu *cpu = frame_cpu_table[index];
    uint32_t attention = load_relaxed(&cpu->attention);
    struct cache_sums sums = cache_cpu_sums(cpu);

    *stats = (struct frame_cpu_stats){
        .zone = cpu->zone != NULL ? (unsigned)(cpu->zone - frame_system.zone) : 0,
        .has_cache = attention != CACHE_NONE,
        .in_use = attention == CACHE_OPEN,
        .allocs = sums.allocs,
        .frees = sums.frees,
        .refills = load_quiet(&cpu->calls[FRAME_PATH_REFILL]),
        .filled = load_relaxed(&cpu->filled),
        .spills = load_quiet(&cpu->calls[FRAME_PATH_SPILL]),
        .spilled = load_relaxed(&cpu->filled) - sums.taken,
        .direct_allocs = load_quiet(&cpu->calls[FRAME_PATH_ALLOC]),
        .direct_frees = load_quiet(&cpu->calls[FRAME_PATH_FREE]),
        .chunks = sums.cached_chunks,
        .drains = load_relaxed(&cpu->drains),
    };
    for (unsigned i = 0; i < CACHE_STACKS; i++)
        stats->cached[i] = stack_count(&cpu->stack[i]);
}
