/* SPDX-License-Identifier: MIT
 *
 * Per-CPU caches of single frames and of 2 MiB chunks. What is cached counts as free.
 *
 * Only the owner touches its cache, without locks, fences or atomic read-modify-writes, and never from an interrupt
 * handler (port_cache()).
 *   - `busy` says that the owner is inside.
 *   - `attention` says that the owner is to stay out. Whoever wants to drain the cache of another CPU sets it, calls
 *     port_fence_cpus(), and waits until `busy` is 0. After the fence either the owner has seen `attention`, or the
 *     drainer sees `busy`; the owner itself needs only to keep the compiler from reordering the two. The
 *     release with which the owner leaves shows the drainer all that it did inside.
 *   - A drained cache is parked: its owner opens it again with its next slow call. CPUs whose caches are open are in
 *     `active`; while there are none, a request that cannot be met fails without asking anybody.
 *
 * Fullest chunk first: frames come from the fullest chunk that has any (refill), and a freed frame is kept for the
 * next allocation only if that is where the next should come from anyway: if its chunk is nearly full, or is the
 * one that the CPU takes from. All others wait in the outgoing stack and go back to their chunks in batches, so
 * that chunks with few frames in use become whole.
 *
 * Every cache serves one zone: the highest of its CPU's node up to Normal. Frames of others bypass it.
 * Bounds: CACHE_STACKS × CACHE_FRAMES frames (120) and CACHE_CHUNKS chunks a CPU.
 */
#ifndef MM_FRAME_CACHE_H
#define MM_FRAME_CACHE_H

#include <mm/port.h>

#include "metrics.h"
#include "zone.h"

#define CACHE_FRAMES 40
#define CACHE_BATCH  32 /* frames of one refill */
#define CACHE_CHUNKS 8

enum cache_stack_index {
    STACK_FIXED,  /* to hand out: contents stay where they are */
    STACK_MOBILE, /* to hand out: FRAME_MOVABLE */
    STACK_OUT,    /* on their way back */
    CACHE_STACKS,
};

_Static_assert(CACHE_STACKS * CACHE_FRAMES <= 128, "what a CPU may keep from the others");
_Static_assert(PORT_NO_CACHE == TOPO_MAX_CPUS, "the last entry of frame_cpu_table");
_Static_assert(CHUNK_RAGGED == 2 * CHUNK_MOBILE, "words below are CHUNK_BITS, and CHUNK_MOBILE selects the stack");

enum cache_attention {
    CACHE_OPEN,
    CACHE_DRAINING, /* another CPU is inside */
    CACHE_PARKED,   /* empty */
    CACHE_NONE,     /* the CPU has no cache */
};

/* Frames and chunks in a cache are counted from cpu->first. */
struct frame_stack {
    _Atomic uint64_t state; /* low byte: frames in the stack; above: those ever popped */
    _Atomic uint64_t owned; /* slot of the chunk that the frames are taken from; STACK_NO_SLOT: none */
    uint64_t chunk;         /* the same chunk, counted from cpu->first, if all its frames are managed, else STACK_NO_CHUNK */
    uint32_t frame[CACHE_FRAMES];
};

#define STACK_NO_CHUNK UINT64_MAX
#define STACK_NO_SLOT  UINT64_MAX
#define STACK_PUSH     1
#define STACK_POP      0xff /* one more popped, one less there */

struct frame_cpu {
    _Alignas(64) _Atomic uint32_t busy;
    _Atomic uint32_t attention;
    uint64_t first;                /* frame of the zone's first chunk */
    uint64_t frames;               /* of the zone's first span, in which chunks are numbered like frames */
    const _Atomic uint32_t *chunk; /* the words of that span */
    struct frame_stack stack[CACHE_STACKS];

    _Atomic uint32_t chunk_count;
    uint32_t chunk_max;
    uint32_t chunks[CACHE_CHUNKS];
    struct zone *zone;
    /* So that CPUs keep apart: the slot where searches for a partly used chunk begin, and the group that whole ones
     * come from. */
    uint64_t start;
    uint64_t lease;
    _Atomic uint64_t ahead; /* chunks deducted from zone->whole_chunks that are there */
    _Atomic uint64_t chunk_allocs, chunk_frees;
    _Atomic uint64_t filled;          /* frames that came from the zone */
    _Atomic uint64_t taken;           /* of these, those that have not gone back */
    _Atomic uint64_t drains;          /* counted by whoever empties it */
    _Atomic uint64_t calls[FRAME_PATHS];
};

/* By port_cache(). Never NULL: CPUs without a cache, and interrupt handlers, share one that is CACHE_NONE. */
extern struct frame_cpu *frame_cpu_table[TOPO_MAX_CPUS + 1];

static inline uint32_t stack_count(const struct frame_stack *stack)
{
    return (uint8_t)load_relaxed(&stack->state);
}

/* Goes in, unless the owner is to stay out. */
static inline bool cache_enter(struct frame_cpu *cpu)
{
    store_relaxed(&cpu->busy, 1);
    compiler_fence();
    return load_fenced(&cpu->attention) == CACHE_OPEN;
}

static inline void cache_leave(struct frame_cpu *cpu)
{
    store_release(&cpu->busy, 0);
}

#define CACHE_EMPTY UINT64_MAX

/* The frame on top of a stack; CACHE_EMPTY: ask cache_alloc. */
static inline uint64_t cache_pop(struct frame_cpu *cpu, unsigned index)
{
    struct frame_stack *stack = &cpu->stack[index];
    uint64_t frame = CACHE_EMPTY;

    if (cache_enter(cpu)) {
        uint64_t state = load_relaxed(&stack->state);

        if ((uint8_t)state != 0) {
            frame = cpu->first + stack->frame[(uint8_t)state - 1];
            store_relaxed(&stack->state, state + STACK_POP);
        }
    }
    cache_leave(cpu);
    return frame;
}

/* Keeps a frame of the chunk that frames are taken from; false: ask cache_free. */
static inline bool cache_push(struct frame_cpu *cpu, uint64_t frame)
{
    struct frame_stack *stack = &cpu->stack[STACK_FIXED];
    uint64_t offset = frame - cpu->first;
    bool kept = false;

    if (offset / CHUNK_FRAMES != stack->chunk)
        return false;
    if (cache_enter(cpu)) {
        uint64_t state = load_relaxed(&stack->state);

        if ((uint8_t)state < CACHE_FRAMES) {
            stack->frame[(uint8_t)state] = (uint32_t)offset;
            store_relaxed(&stack->state, state + STACK_PUSH);
            kept = true;
        }
    }
    cache_leave(cpu);
    return kept;
}

/* The same for the other frames of the zone: looks at the chunk's word. False: ask cache_free. */
static inline bool cache_push_other(struct frame_cpu *cpu, uint64_t frame)
{
    uint64_t offset = frame - cpu->first, chunk = offset / CHUNK_FRAMES;
    uint32_t word;
    bool kept = false;

    if (offset >= cpu->frames)
        return false;
    word = (uint16_t)load_relaxed(&cpu->chunk[chunk]);
    if (word >= 2 * CHUNK_MOBILE) /* not CHUNK_BITS */
        return false;
    if (cache_enter(cpu)) {
        struct frame_stack *stack = &cpu->stack[word / CHUNK_MOBILE];
        uint64_t state = load_relaxed(&stack->state);

        if ((CHUNK_OCCUPANCY(word) > 0 && chunk != stack->chunk) || (uint8_t)state == CACHE_FRAMES) {
            stack = &cpu->stack[STACK_OUT];
            state = load_relaxed(&stack->state);
            __builtin_prefetch(&cpu->zone->row[chunk], 1);
        }
        kept = (uint8_t)state < CACHE_FRAMES;
        if (kept) {
            stack->frame[(uint8_t)state] = (uint32_t)offset;
            store_relaxed(&stack->state, state + STACK_PUSH);
        }
    }
    cache_leave(cpu);
    return kept;
}

/* One frame from this CPU's cache, or from its zone in a batch. False: the cache is not to be used now, or its zone
 * has no frame. */
bool cache_alloc(struct frame_cpu *cpu, bool mobile, uint64_t *frame);

/* Makes room and keeps the frame. False: it does not belong here, or the cache is not to be used now. */
bool cache_free(struct frame_cpu *cpu, uint64_t frame);

/* The same for 512 frames that are a chunk. */
bool cache_alloc_chunk(struct frame_cpu *cpu, bool mobile, uint64_t *frame);
bool cache_free_chunk(struct frame_cpu *cpu, uint64_t frame);

/* Whether the wanted run of < 512 frames is in a chunk that a CPU owns, and so is not listed. */
bool cache_find_owned(struct zone *zone, const struct want *want, uint64_t *first);

/* Empties the caches of all CPUs. False: they were empty. Masks interrupts. From an interrupt that hit its own CPU
 * inside its cache: does nothing, and says so. */
bool cache_drain_all(void);

/* How often a cache was emptied so far. */
uint64_t cache_drains(void);

/* Empties one CPU's. */
void cache_drain(unsigned cpu);

/* Forgets all caches. Boot only. */
void cache_reset(void);

/* Gives a CPU its cache; its node has a zone up to Normal, or one in its fallback order has. Boot, or not used. */
void cache_set_home(struct frame_cpu *cpu, unsigned index, uint16_t node);

/* Empties all caches and keeps them empty, or lets them be used again. Other CPUs may go on. */
void cache_switch(bool on);
bool cache_switched_on(void);

/* Whether a frame is in a cache. Looks through all of them; owners may change them meanwhile. */
bool cache_holds(const struct zone *zone, uint64_t frame);

/* What the caches have of a zone: frames, those of them in whole chunks, and what its own counters do not know. */
struct cache_sums {
    uint64_t cached, cached_chunks; /* frames, and chunks of them */
    uint64_t allocs, frees;         /* runs */
    uint64_t taken;                 /* frames that left the zone, less those that went back */
    uint64_t ahead;                 /* whole chunks that the zone has but does not count */
};
struct cache_sums cache_sums(const struct zone *zone);

/* Of one CPU. */
struct cache_sums cache_cpu_sums(const struct frame_cpu *cpu);

/* Of one CPU; NULL or what is broken. Nobody may use the cache meanwhile. */
const char *cache_check(const struct frame_cpu *cpu);

#endif
