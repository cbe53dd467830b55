/* SPDX-License-Identifier: MIT
 *
 * What the counters of a cache say, and whether its structures agree with them.
 */
#include "slab.h"

void slab_cache_stats(struct slab_cache *cache, struct slab_stats *stats)
{
    uint64_t irq = spin_lock(&cache->lock);

    *stats = (struct slab_stats){.objects = cache->slabs * cache->per_slab,
                                 .in_slabs = cache->free_objects,
                                 .in_depot = cache->magazines_full * cache->rounds,
                                 .slabs = cache->slabs,
                                 .frames = cache->slabs << cache->order};
    spin_unlock(&cache->lock, irq);
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

static bool magazines_good(const struct magazine *magazine, uint64_t number, uint32_t count)
{
    for (; magazine != NULL; magazine = magazine->next, number--) {
        if (number == 0 || magazine->count != count)
            return false;
    }
    return number == 0;
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
    return NULL;
}
