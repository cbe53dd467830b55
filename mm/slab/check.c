/* SPDX-License-Identifier: MIT
 *
 * What the counters of a cache say, and whether its structures agree with them.
 */
#include <mm/port.h>

#include "slab.h"

static uint64_t loaded_count(const struct slab_cpu *cpu)
{
    return (uintptr_t)load_quiet(&cpu->top) % SLAB_MAGAZINE / sizeof(void *);
}

void slab_cache_stats(struct slab_cache *cache, struct slab_stats *stats)
{
    uint64_t irq = spin_lock(&cache->lock);

    *stats = (struct slab_stats){.objects = cache->slabs * cache->per_slab,
                                 .in_slabs = cache->free_objects,
                                 .in_depot = cache->magazines_full * cache->rounds,
                                 .slabs = cache->slabs,
                                 .frames = cache->slabs << cache->order};
    spin_unlock(&cache->lock, irq);
    for (uint64_t i = 0; i < cache->cpus; i++)
        stats->in_cpus += loaded_count(&cache->cpu[i]) + load_quiet(&cache->cpu[i].spare);
}

/* One list: each slab is the cache's, its map and its count agree, and it has `least` to `most` free objects. */
static bool list_good(const struct slab_cache *cache, const struct slab *slab, uint32_t least, uint32_t most,
                      uint64_t *slabs, uint64_t *objects)
{
    const struct slab *previous = NULL;

    for (; slab != NULL; previous = slab, slab = slab->next) {
        uint32_t free = 0;

        for (uint32_t i = 0; i < SLAB_OBJECTS / WORD_BITS; i++)
            free += bit_count(slab->map[i]);
        if (slab->cache != cache || slab->previous != previous || slab->free != free || free < least || free > most)
            return false;
        *objects += free;
        (*slabs)++;
    }
    return true;
}

/* Flips the bits of objects in a magazine. While all that are in magazines are flipped, one that is in two magazines, or
 * in one and in its slab, is found. False: there is one; those before it were flipped, and *count says how many. */
static bool flip(const struct slab_cache *cache, void *const *objects, uint64_t *count, bool back)
{
    for (uint64_t i = 0; i < *count; i++) {
        struct slab *slab = NULL;
        uint32_t index = 0;
        const char *what = slab_find(cache, objects[i], &slab, &index);

        if ((what != NULL) != back) {
            *count = i;
            return false;
        }
        slab->map[index / WORD_BITS] ^= UINT64_C(1) << index % WORD_BITS;
    }
    return true;
}

/* Each magazine of a cache in turn, by number; NULL: that was the last. *objects and *count are what it has. */
static const void *magazine_at(const struct slab_cache *cache, uint64_t number, void *const **objects, uint64_t *count)
{
    const struct magazine *magazine = cache->full_magazines;

    if (number < 2 * cache->cpus) {
        const struct slab_cpu *cpu = &cache->cpu[number / 2];

        magazine = number % 2 == 0 ? cpu->previous : NULL;
        *objects = number % 2 == 0 ? NULL : cpu->base;
        *count = number % 2 == 0 ? load_quiet(&cpu->spare) : loaded_count(cpu);
        if (magazine != NULL)
            *objects = magazine->object;
        return cache;
    }
    for (number -= 2 * cache->cpus; magazine != NULL && number > 0; number--)
        magazine = magazine->next;
    if (magazine == NULL)
        return NULL;
    *objects = magazine->object;
    *count = magazine->count;
    return cache;
}

/* Whether all objects in magazines are different ones that are not in slabs. O(magazines²) for the depot's. */
static bool objects_good(const struct slab_cache *cache)
{
    void *const *objects = NULL;
    uint64_t number = 0, count = 0;
    bool good = true;

    for (; good && magazine_at(cache, number, &objects, &count) != NULL; number += good)
        good = flip(cache, objects, &count, false);
    if (!good)
        (void)flip(cache, objects, &count, true);
    while (number-- > 0 && magazine_at(cache, number, &objects, &count) != NULL)
        (void)flip(cache, objects, &count, true);
    return good;
}

static bool magazines_good(const struct magazine *magazine, uint64_t number, uint32_t count)
{
    for (; magazine != NULL; magazine = magazine->next, number--) {
        if (number == 0 || magazine->count != count)
            return false;
    }
    return number == 0;
}

static bool cpu_good(const struct slab_cache *cache, const struct slab_cpu *cpu)
{
    uint64_t spare = cpu->previous != NULL ? cpu->previous->count : 0;

    return spare == load_quiet(&cpu->spare) && (spare == 0 || spare == cache->rounds) &&
           (cpu->base == NULL ? load_quiet(&cpu->top) == NULL && cpu->end == NULL
                              : cpu->end == cpu->base + cache->rounds && loaded_count(cpu) <= cache->rounds);
}

const char *slab_check(struct slab_cache *cache)
{
    uint64_t partial = 0, empty = 0, objects = 0;

    if (!list_good(cache, cache->partial, 1, cache->per_slab - 1, &partial, &objects) ||
        !list_good(cache, cache->empty, cache->per_slab, cache->per_slab, &empty, &objects))
        return "a slab is in the wrong list, or its map and its count disagree";
    if (objects != cache->free_objects || empty != cache->empty_slabs || partial + empty > cache->slabs)
        return "the counts of slabs and free objects are wrong";
    if (!magazines_good(cache->full_magazines, cache->magazines_full, cache->rounds) ||
        !magazines_good(cache->empty_magazines, cache->magazines_empty, 0))
        return "a magazine of the depot is neither full nor empty, or they are miscounted";
    for (uint64_t i = 0; i < cache->cpus; i++) {
        if (!cpu_good(cache, &cache->cpu[i]))
            return "a CPU's magazines are not as they say, or the previous one is neither full nor empty";
    }
    return objects_good(cache) ? NULL : "an object is in two places";
}
