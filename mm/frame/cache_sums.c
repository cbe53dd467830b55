/* SPDX-License-Identifier: MIT
 *
 * What caches hold and have done. Owners go on meanwhile: counters are read one by one, entries as they happen to be. So
 * the answers are exact only while nobody uses the caches.
 */
#include "cache.h"

static uint64_t popped(const struct frame_cpu *cpu)
{
    return (load_relaxed(&cpu->stack[STACK_FIXED].state) >> 8) + (load_relaxed(&cpu->stack[STACK_MOBILE].state) >> 8);
}

/* Of one CPU. Frees are not counted one by one: what went through the cache and is not there was handed out. */
struct cache_sums cache_cpu_sums(const struct frame_cpu *cpu)
{
    uint64_t chunks = load_relaxed(&cpu->chunk_count), chunk_allocs = load_relaxed(&cpu->chunk_allocs);
    uint64_t chunk_frees = load_relaxed(&cpu->chunk_frees), handed_out;
    struct cache_sums sums = {.cached = chunks * CHUNK_FRAMES,
                              .cached_chunks = chunks,
                              .allocs = popped(cpu) + chunk_allocs,
                              .taken = load_relaxed(&cpu->taken),
                              .ahead = load_relaxed(&cpu->ahead)};

    for (unsigned i = 0; i < CACHE_STACKS; i++)
        sums.cached += stack_count(&cpu->stack[i]);
    handed_out = sums.taken - sums.cached - (chunk_allocs - chunk_frees) * CHUNK_FRAMES;
    sums.frees = popped(cpu) - handed_out + chunk_frees;
    return sums;
}

struct cache_sums cache_sums(const struct zone *zone)
{
    struct cache_sums sum = {0};

    for (uint32_t i = 0; i < frame_system.cpu_count; i++) {
        struct cache_sums one;

        if (frame_system.cpu[i].zone != zone)
            continue;
        one = cache_cpu_sums(&frame_system.cpu[i]);
        sum.cached += one.cached;
        sum.cached_chunks += one.cached_chunks;
        sum.allocs += one.allocs;
        sum.frees += one.frees;
        sum.taken += one.taken;
        sum.ahead += one.ahead;
    }
    return sum;
}

bool cache_holds(const struct zone *zone, uint64_t frame)
{
    for (uint32_t i = 0; i < frame_system.cpu_count; i++) {
        const struct frame_cpu *cpu = &frame_system.cpu[i];
        uint64_t offset = frame - cpu->first;

        if (cpu->zone != zone)
            continue;
        for (uint32_t j = 0; j < load_relaxed(&cpu->chunk_count); j++) {
            if (cpu->chunks[j] == offset / CHUNK_FRAMES)
                return true;
        }
        for (unsigned k = 0; k < CACHE_STACKS; k++) {
            for (uint32_t j = 0; j < stack_count(&cpu->stack[k]); j++) {
                if (cpu->stack[k].frame[j] == offset)
                    return true;
            }
        }
    }
    return false;
}

/* All entries lie in the home zone. */
const char *cache_check(const struct frame_cpu *cpu)
{
    if (load_relaxed(&cpu->chunk_count) > cpu->chunk_max)
        return "a cache holds too many chunks";
    for (unsigned i = 0; i < CACHE_STACKS; i++) {
        uint32_t count = stack_count(&cpu->stack[i]);

        if (count > CACHE_FRAMES)
            return "a cache holds too many frames";
        for (uint32_t j = 0; j < count; j++) {
            uint64_t frame = cpu->first + cpu->stack[i].frame[j];

            if (frame < cpu->zone->start || frame >= cpu->zone->end)
                return "a cache holds a frame of another zone";
            if (bitmap_all_free(cpu->zone, zone_slot(cpu->zone, frame), (unsigned)(frame % CHUNK_FRAMES), 1))
                return "a cached frame is free in its chunk, too";
        }
    }
    return NULL;
}
