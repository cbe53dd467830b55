/* SPDX-License-Identifier: MIT
 *
 * The vtable behind which a frame allocator is measured.
 *
 * A frame is an index in [0, nframes) that the driver never dereferences, so an allocator whose metadata
 * lies elsewhere needs no memory behind its frames. `cpu` is the calling thread's number, 0 … ncpu-1; at
 * any time at most one thread uses each, like a CPU with preemption off.
 *
 * An allocator is one `const struct fa fa_NAME` in one file, and an entry in table.h.
 */
#ifndef FA_H
#define FA_H

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define FA_NONE UINT64_MAX

struct fa_stats {
    uint64_t free_frames; /* free, those in caches included */
    uint64_t free_huge;   /* aligned blocks of 512 frames that are wholly free */
    uint64_t meta_bytes;  /* all metadata, per-CPU state included */
};

enum {
    FA_GLOBAL_LOCK = 1, /* one lock around everything */
    FA_BASELINE = 2,    /* no allocator: a lower bound */
    FA_ORDER0_ONLY = 4, /* cannot serve orders above 0 */
    FA_SLOW = 8,        /* searches linearly: fewer operations are timed */
    FA_ORD09 = 16,      /* orders 0 and 9 only */
};

struct fa {
    const char *name;
    unsigned max_order;
    unsigned flags;
    int (*init)(uint64_t nframes, unsigned ncpu);    /* 0: ready, all frames free. May be repeated */
    uint64_t (*alloc)(unsigned cpu, unsigned order); /* aligned to its order; FA_NONE: no memory */
    void (*free)(unsigned cpu, uint64_t frame, unsigned order); /* what alloc returned, whole */
    void (*drain)(void);                                        /* empties all caches; NULL: has none */
    void (*stats)(struct fa_stats *stats);                      /* may be NULL */
};

/* Zeroed memory that is there already, so that no page fault is timed; NULL: there is none. */
static inline void *fa_map(size_t size)
{
    void *memory = mmap(NULL, size != 0 ? size : 1, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

/* A lock on a cache line of its own. */
typedef struct {
    int v;
    char pad[60];
} __attribute__((aligned(64))) fa_lock;

static inline void fa_lock_acq(fa_lock *lock)
{
    while (__atomic_exchange_n(&lock->v, 1, __ATOMIC_ACQUIRE)) {
        while (__atomic_load_n(&lock->v, __ATOMIC_RELAXED))
            __builtin_ia32_pause();
    }
}

static inline int fa_lock_try(fa_lock *lock)
{
    return !__atomic_load_n(&lock->v, __ATOMIC_RELAXED) &&
           !__atomic_exchange_n(&lock->v, 1, __ATOMIC_ACQUIRE);
}

static inline void fa_lock_rel(fa_lock *lock)
{
    __atomic_store_n(&lock->v, 0, __ATOMIC_RELEASE);
}

#endif
