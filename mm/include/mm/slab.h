/* SPDX-License-Identifier: MIT
 *
 * Caches of kernel objects of one type each. A free object keeps the state that its constructor, and its last user, have
 * left it in, so whoever allocates it has nothing to initialise. (Bonwick, "The Slab Allocator", USENIX Summer 1994;
 * Bonwick and Adams, "Magazines and Vmem", USENIX 2001.) docs/slab.md has the picture.
 *
 * Objects lie in directly mapped memory of any node. The caller does not migrate to another CPU during a call. Unless
 * a function says otherwise, all CPUs may call it at once, with interrupts masked or not, also from interrupt handlers:
 * these use no magazine (port_cache()) and give no memory back. Constructors and destructors run in the context of the
 * call that needs them, without locks; they may use other caches, not their own.
 */
#ifndef MM_SLAB_H
#define MM_SLAB_H

#include <mm/atomic.h>
#include <mm/spinlock.h>
#include <mm/types.h>

#define SLAB_MAGAZINE  256u /* bytes of a magazine, which begins with its objects and is aligned to its size */
#define SLAB_SIZE_MAX  8192u
#define SLAB_ALIGN_MAX 4096u

struct slab_type {
    const char *name;                /* for reports; stays where it is */
    uint32_t size;                   /* bytes, 1 … SLAB_SIZE_MAX */
    uint32_t align;                  /* a power of two up to SLAB_ALIGN_MAX; 0: 8 */
    void (*construct)(void *object); /* once when its memory is got, not for each allocation; NULL: contents are any */
    void (*destruct)(void *object);  /* once before its memory goes; NULL: nothing to do */
};

struct slab;
struct magazine;

/* What one CPU holds. Written by that CPU alone, outside interrupt handlers; others read the atomic fields, for
 * statistics. Without a loaded magazine top, base and end are NULL. */
struct slab_cpu {
    _Alignas(64) void **_Atomic top; /* of the loaded magazine's objects; they begin at base, and end is its room's */
    void **base, **end;
    struct magazine *previous; /* a full or an empty one, or NULL */
    _Atomic uint32_t spare;    /* objects in `previous` */
    uint32_t epoch;            /* cache->epoch when this CPU last gave its magazines back */
};

/* The caller of slab_cache_init has it; fields are mm/slab's. */
struct slab_cache {
    struct slab_cpu *cpu; /* of CPUs 0 … cpus-1 */
    uint64_t cpus;
    uint32_t rounds; /* objects in a full magazine; 0: the cache has none */
    struct slab_type type;
    uint32_t stride, first, per_slab, order; /* bytes, bytes from the slab's start, objects, log2 of frames */
    bool outside;                            /* headers are objects of a cache of their own */
    struct slab_cache *next;                 /* of all caches */
    _Atomic uint32_t epoch;                  /* rises when CPUs are to give their magazines back */

    spinlock_t lock; /* covers what follows */
    struct slab *partial, *empty; /* slabs of which some objects are free, and all */
    struct magazine *full_magazines, *empty_magazines; /* the depot */
    uint64_t slabs, empty_slabs, free_objects; /* free ones in slabs, not those in magazines */
    uint64_t magazines_full, magazines_empty;  /* in the depot */
};

/* Makes a cache. It stays for ever, where it is. After frame_init; by one caller at a time, not from interrupts. ERR_INVALID:
 * the type is out of range. ERR_NO_MEMORY: no frame. Nothing is kept then. */
MUST_CHECK status_t slab_cache_init(struct slab_cache *cache, const struct slab_type *type);

/* What the next two do when the loaded magazine will not do. */
MUST_CHECK status_t slab_alloc_slowly(struct slab_cache *cache, void **object);
void slab_free_slowly(struct slab_cache *cache, void *object);

/* The compiler is not to know how the address came about: it would compute it anew for each access. */
static inline struct slab_cpu *slab_cpu_at(struct slab_cache *cache, uint64_t index)
{
    struct slab_cpu *cpu = &cache->cpu[index];

    __asm__("" : "+r"(cpu));
    return cpu;
}

/* An object as its constructor or its last user left it. ERR_NO_MEMORY: none is free here, and no frame to be had. */
MUST_CHECK static inline status_t slab_alloc(struct slab_cache *cache, void **object)
{
    uint64_t index = port_cache();
    void *other; /* so that *object need not be in memory */
    status_t status;

    if (__builtin_expect(index < cache->cpus, 1)) {
        struct slab_cpu *cpu = slab_cpu_at(cache, index);
        void **top = load_relaxed(&cpu->top);

        if (__builtin_expect((uintptr_t)top % SLAB_MAGAZINE != 0, 1)) { /* neither at the beginning nor NULL */
            *object = top[-1];
            store_relaxed(&cpu->top, top - 1);
            return OK;
        }
    }
    status = slab_alloc_slowly(cache, &other);
    if (status == OK)
        *object = other;
    return status;
}

/* Takes back an object of this cache, in a state in which the next user may have it. What is no allocated object of the
 * cache is reported (port_report) and otherwise ignored: at once in debug modes (frame_debug), otherwise when it leaves
 * its magazine for its slab; until then it may be handed out. */
static inline void slab_free(struct slab_cache *cache, void *object)
{
    uint64_t index = port_cache();

    if (__builtin_expect(index < cache->cpus, 1)) {
        struct slab_cpu *cpu = slab_cpu_at(cache, index);
        void **top = load_relaxed(&cpu->top);

        if (__builtin_expect(top != cpu->end, 1)) {
            *top = object;
            store_relaxed(&cpu->top, top + 1);
            return;
        }
    }
    slab_free_slowly(cache, object);
}

/* Gives back the memory of free objects: those in slabs, in the depot and in this CPU's magazines at once, those of
 * other CPUs when these next have to do with the depot or call slab_rest(). Returns the frames freed now. Not from
 * interrupts; the caller holds no lock that a destructor takes. O(free objects). */
uint64_t slab_shrink(struct slab_cache *cache);

/* The same for all caches: what a reclaimer calls (mm/frame_pressure.h). Waits for no lock that is held around an
 * allocation. */
uint64_t slab_shrink_all(void);

/* This CPU has nothing to do: it gives back its magazines of caches that were shrunk. Not from interrupts. O(caches). */
void slab_rest(void);

/* Gives back all magazines of a CPU: the calling one, or one that has stopped. Not from interrupts. */
void slab_cpu_offline(unsigned cpu);

struct slab_stats {
    uint64_t objects;  /* that there is memory for */
    uint64_t in_slabs; /* of these, free in slabs, */
    uint64_t in_depot; /* in full magazines of the depot, */
    uint64_t in_cpus;  /* and in magazines of CPUs; the rest is in use */
    uint64_t slabs, frames;
};

/* in_cpus is read beside CPUs that go on, so sums agree only while nobody uses the cache. O(CPUs). */
void slab_cache_stats(struct slab_cache *cache, struct slab_stats *stats);

/* All caches, one after the other: NULL gives the first, and is what follows the last. */
struct slab_cache *slab_cache_next(const struct slab_cache *cache);

/* Verifies every invariant; NULL or what is broken. Nobody may use the cache meanwhile. O(free objects). */
const char *slab_check(struct slab_cache *cache);

#endif
