/* SPDX-License-Identifier: MIT
 *
 * Caches of kernel objects of one type each. Free objects keep the state that their constructor, and later users, have
 * left them in. (Bonwick, "The Slab Allocator", USENIX Summer 1994; Bonwick and Adams, "Magazines and Vmem", USENIX 2001.)
 *
 * Objects lie in directly mapped memory. All calls but slab_cache_init may be made by all CPUs at once, with interrupts
 * masked or not, but not from interrupt handlers: what they need is allocated by whoever installs them.
 */
#ifndef MM_SLAB_H
#define MM_SLAB_H

#include <mm/spinlock.h>
#include <mm/types.h>

#define SLAB_SIZE_MAX  8192u
#define SLAB_ALIGN_MAX 4096u

struct slab_type {
    const char *name;               /* for reports; stays where it is */
    uint32_t size;                  /* bytes, 1 … SLAB_SIZE_MAX */
    uint32_t align;                 /* a power of two up to SLAB_ALIGN_MAX; 0: 8 */
    void (*construct)(void *object); /* NULL: nothing to do. Once when its memory is got, not for each allocation */
    void (*destruct)(void *object); /* NULL: nothing to do. Once before its memory goes */
};

struct slab;
struct magazine;

/* What one CPU holds. Only that CPU touches it. */
struct slab_cpu {
    _Alignas(64) uint32_t count; /* objects in `loaded` */
    uint32_t limit;              /* how many it may have; 0: there is no magazine */
    void **loaded;               /* the objects of a magazine */
    struct magazine *previous;   /* a full or an empty one, or NULL */
    uint32_t epoch;              /* cache->epoch when this CPU last gave its magazines back */
};

struct slab_cache {
    struct slab_cpu *cpu; /* of each CPU */
    struct slab_type type;
    uint32_t stride, first, per_slab, order, rounds;
    struct slab_cache *next; /* of all caches */

    spinlock_t lock; /* covers what follows */
    struct slab *partial, *empty;
    struct magazine *full_magazines, *empty_magazines;
    uint64_t slabs, empty_slabs, free_objects; /* free ones in slabs, not those in magazines */
    uint64_t magazines_full, magazines_empty;  /* in the depot */
    _Atomic uint32_t epoch;                    /* rises when CPUs are to give their magazines back */
};

/* Makes a cache. It stays for ever. ERR_INVALID: the type is out of range. ERR_NO_MEMORY. */
MUST_CHECK status_t slab_cache_init(struct slab_cache *cache, const struct slab_type *type);

MUST_CHECK status_t slab_alloc_slowly(struct slab_cache *cache, void **object);
void slab_free_slowly(struct slab_cache *cache, void *object);

/* An object as its constructor or its last user left it. ERR_NO_MEMORY. */
MUST_CHECK static inline status_t slab_alloc(struct slab_cache *cache, void **object)
{
    struct slab_cpu *cpu = &cache->cpu[port_cpu()];
    uint32_t count = cpu->count;

    if (count == 0)
        return slab_alloc_slowly(cache, object);
    cpu->count = count - 1;
    *object = cpu->loaded[count - 1];
    return OK;
}

/* Takes back an object of this cache, in a state in which the next user may have it. What is no allocated object of the
 * cache is reported (port_report) when it leaves the CPU's magazine, and otherwise ignored. */
static inline void slab_free(struct slab_cache *cache, void *object)
{
    struct slab_cpu *cpu = &cache->cpu[port_cpu()];
    uint32_t count = cpu->count;

    if (count == cpu->limit) {
        slab_free_slowly(cache, object);
        return;
    }
    cpu->loaded[count] = object;
    cpu->count = count + 1;
}

/* Gives back the memory of free objects: those in the depot at once, those in magazines of other CPUs when these next
 * have to do with the depot or call slab_rest(). Returns the frames freed now. The caller holds no lock that a destructor
 * takes. */
uint64_t slab_shrink(struct slab_cache *cache);

/* The same for all caches. What a reclaimer calls. */
uint64_t slab_shrink_all(void);

/* This CPU has nothing to do: it gives back its magazines of caches that were shrunk. O(caches). */
void slab_rest(void);

/* This CPU will not be used any more, or a test wants to count: gives back all its magazines. */
void slab_cpu_offline(void);

struct slab_stats {
    uint64_t objects;  /* that there is memory for */
    uint64_t in_slabs; /* of these, free in slabs */
    uint64_t in_depot; /* and in magazines of the depot; the rest is in use or with CPUs */
    uint64_t slabs, frames;
};

void slab_cache_stats(struct slab_cache *cache, struct slab_stats *stats);

/* All caches, one after the other: NULL gives the first, and is what follows the last. */
struct slab_cache *slab_cache_next(const struct slab_cache *cache);

/* NULL or what is broken. Nobody may use the cache meanwhile. Cost: all slabs. */
const char *slab_check(struct slab_cache *cache);

#endif
