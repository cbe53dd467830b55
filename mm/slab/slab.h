/* SPDX-License-Identifier: MIT
 *
 * Inside mm/slab.
 */
#ifndef MM_SLAB_INTERNAL_H
#define MM_SLAB_INTERNAL_H

#include <mm/bits.h>
#include <mm/slab.h>

#define MAGAZINE_ROUNDS 30  /* of caches of small objects; fewer for large ones */
#define SLAB_OBJECTS    512 /* in a slab, at most */
#define EMPTY_SLABS     2   /* kept by a cache that was not asked to shrink */

struct slab {
    const struct slab_cache *cache;
    struct slab *next, *previous; /* in one of the cache's lists, unless full */
    uint32_t free;
    uint64_t map[SLAB_OBJECTS / WORD_BITS]; /* 1: free */
};

struct magazine {
    struct magazine *next; /* in the depot */
    uint32_t count;        /* while it is not loaded */
    void *object[MAGAZINE_ROUNDS];
};

_Static_assert(sizeof(struct magazine) == 256, "four cache lines");

uint64_t slab_bytes(const struct slab_cache *cache);
void *slab_object(const struct slab_cache *cache, const struct slab *slab, uint32_t index);

#endif
