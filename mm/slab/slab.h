/* SPDX-License-Identifier: MIT
 *
 * Inside mm/slab. Three layers, each a file:
 *
 *   slab.c      slabs: 2^order frames, and a header with a bit for each object (1 = free). Nothing is kept in free
 *               objects: they are constructed. The descriptors of the frames (mm/frame_info.h) name the header, so an
 *               object's slab is found whatever a slab's size, and a pointer that is no object is told from one. Headers
 *               of small objects lie in front of these; those of objects beyond SLAB_INSIDE_MAX are objects of a cache of
 *               their own, so that objects of a page waste none.
 *   magazine.c  magazines: a CPU has two, `loaded` and `previous`, and deals with nobody as long as one of them will do.
 *               Two, because with one a CPU whose allocations and frees take turns at its end would go to the depot each
 *               time. `previous` is full or empty. The depot has magazines that are full or empty, and gives and takes
 *               them whole.
 *   cache.c     how a cache comes into being.
 *
 * Locks: each cache has one, and no two are held together. No lock is held while frames, headers or magazines are
 * allocated or freed, or anything is reported: the frame allocator may call a reclaimer, and that slab_shrink() on this
 * very CPU. So whoever has called the frame allocator looks at its CPU's magazines anew.
 *
 * Bounds: a CPU holds 2 × rounds objects of a cache; the depot has DEPOT_PER_CPU full magazines for each CPU, and one more
 * for each that is adding one; a slab has SLAB_OBJECTS objects; besides there are EMPTY_SLABS slabs without any in use (and
 * what interrupt handlers left, until the next free elsewhere).
 */
#ifndef MM_SLAB_INTERNAL_H
#define MM_SLAB_INTERNAL_H

#include <mm/bits.h>
#include <mm/slab.h>

#define MAGAZINE_ROUNDS 30  /* of caches of small objects; fewer for large ones */
#define DEPOT_PER_CPU   4
#define SLAB_OBJECTS    512 /* in a slab, at most */
#define SLAB_INSIDE_MAX 512 /* bytes of an object; Bonwick's border, an eighth of a page */
#define EMPTY_SLABS     2   /* kept by a cache that was not asked to shrink */

struct slab {
    const struct slab_cache *cache;
    struct slab *next, *previous; /* in one of the cache's lists, unless full */
    uint8_t *start;               /* of its frames */
    uint32_t free;
    uint64_t map[SLAB_OBJECTS / WORD_BITS]; /* 1: free */
};

struct magazine {
    void *object[MAGAZINE_ROUNDS];
    struct magazine *next; /* in the depot */
    uint64_t count;        /* while it is not loaded */
};

_Static_assert(sizeof(struct magazine) == SLAB_MAGAZINE && offsetof(struct magazine, object) == 0, "slab_alloc");

extern struct slab_cache *_Atomic slab_caches;            /* all; only grows */
extern struct slab_cache slab_headers, slab_magazines; /* what the others need; without magazines */

/* ---- slab.c ----------------------------------------------------------------------------------------------- */

static inline uint64_t slab_bytes(const struct slab_cache *cache)
{
    return FRAME_SIZE << cache->order;
}

static inline void *slab_object(const struct slab_cache *cache, const struct slab *slab, uint32_t index)
{
    return slab->start + cache->first + (uint64_t)index * cache->stride;
}

/* Whether `object` is one of the cache that is not in its slab: then its slab and number. NULL, or what it is. Under the
 * lock. */
const char *slab_find(const struct slab_cache *cache, const void *object, struct slab **slab, uint32_t *index);

/* Up to `most` objects from slabs, new ones if there is none; 0: no memory. */
uint32_t slab_take(struct slab_cache *cache, void **objects, uint32_t most);

/* Puts objects back into their slabs, and gives slabs back that are too many. Returns the frames that went. */
uint64_t slab_put(struct slab_cache *cache, void *const *objects, uint64_t count);

/* Gives all slabs back of which no object is in use. Returns the frames. */
uint64_t slab_trim(struct slab_cache *cache);

/* ---- magazine.c ------------------------------------------------------------------------------------------- */

/* For lists of the depot. Under the lock. */
static inline void magazine_push(struct magazine **list, uint64_t *count, struct magazine *magazine)
{
    magazine->next = *list;
    *list = magazine;
    (*count)++;
}

static inline struct magazine *magazine_pop(struct magazine **list, uint64_t *count)
{
    struct magazine *magazine = *list;

    if (magazine != NULL) {
        *list = magazine->next;
        (*count)--;
    }
    return magazine;
}

static inline struct magazine *magazine_of(void **base)
{
    return (struct magazine *)(uintptr_t)base;
}

#endif
