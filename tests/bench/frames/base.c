/* SPDX-License-Identifier: MIT
 *
 * Lower bounds. `null` allocates nothing: what it costs is the harness. `pcpstack` is the least that any
 * per-CPU cache does: an array used as a stack per CPU, filled from and spilled to a locked one in batches.
 * It knows order 0 only, merges nothing and checks nothing.
 */
#include <string.h>

#include "fa.h"

#define CPUS 64

/* ---- null ---------------------------------------------------------------------------------------------- */

static struct {
    uint64_t next;
    char pad[120];
} null_cpu[CPUS] __attribute__((aligned(128)));
static uint64_t null_frames; /* a power of two */

static int null_init(uint64_t nframes, unsigned ncpu)
{
    null_frames = nframes;
    memset(null_cpu, 0, sizeof null_cpu);
    return ncpu <= CPUS && (nframes & (nframes - 1)) == 0 ? 0 : -1;
}

/* Frames in order, again and again. */
static uint64_t null_alloc(unsigned cpu, unsigned order)
{
    uint64_t frame = null_cpu[cpu].next;

    null_cpu[cpu].next = (frame + (UINT64_C(1) << order)) & (null_frames - 1);
    return frame;
}

static void null_free(unsigned cpu, uint64_t frame, unsigned order)
{
    (void)frame;
    (void)order;
    __asm__ volatile("" ::"r"(cpu));
}

const struct fa fa_null = {.name = "null",
                           .max_order = 10,
                           .flags = FA_BASELINE,
                           .init = null_init,
                           .alloc = null_alloc,
                           .free = null_free};

/* ---- pcpstack ------------------------------------------------------------------------------------------ */

#define CAPACITY 1000
#define BATCH 64

struct stack {
    uint32_t count;
    uint32_t pad[15];
    uint32_t frame[CAPACITY];
} __attribute__((aligned(4096)));

static struct stack stack[CPUS];
static uint32_t *shared;
static uint64_t shared_count, shared_max;
static fa_lock shared_lock;

static int stack_init(uint64_t nframes, unsigned ncpu)
{
    if (shared != NULL)
        munmap(shared, shared_max * sizeof *shared);
    memset(stack, 0, sizeof stack);
    shared = fa_map(nframes * sizeof *shared);
    if (shared == NULL || ncpu > CPUS)
        return -1;
    shared_max = shared_count = nframes;
    for (uint64_t i = 0; i < nframes; i++)
        shared[i] = (uint32_t)(nframes - 1 - i);
    return 0;
}

static __attribute__((noinline)) int stack_refill(struct stack *own)
{
    fa_lock_acq(&shared_lock);
    own->count = shared_count < BATCH ? (uint32_t)shared_count : BATCH;
    shared_count -= own->count;
    memcpy(own->frame, shared + shared_count, own->count * sizeof *shared);
    fa_lock_rel(&shared_lock);
    return own->count != 0;
}

static __attribute__((noinline)) void stack_spill(struct stack *own)
{
    fa_lock_acq(&shared_lock);
    memcpy(shared + shared_count, own->frame, BATCH * sizeof *shared);
    shared_count += BATCH;
    fa_lock_rel(&shared_lock);
    memmove(own->frame, own->frame + BATCH, (CAPACITY - BATCH) * sizeof *shared);
    own->count -= BATCH;
}

static uint64_t stack_alloc(unsigned cpu, unsigned order)
{
    struct stack *own = &stack[cpu];

    if (order != 0)
        return FA_NONE;
    if (__builtin_expect(own->count == 0, 0) && !stack_refill(own))
        return FA_NONE;
    return own->frame[--own->count];
}

static void stack_free(unsigned cpu, uint64_t frame, unsigned order)
{
    struct stack *own = &stack[cpu];

    (void)order;
    if (__builtin_expect(own->count == CAPACITY, 0))
        stack_spill(own);
    own->frame[own->count++] = (uint32_t)frame;
}

static void stack_stats(struct fa_stats *stats)
{
    stats->free_frames = shared_count;
    for (unsigned i = 0; i < CPUS; i++)
        stats->free_frames += stack[i].count;
    stats->free_huge = 0;
    stats->meta_bytes = shared_max * sizeof *shared + sizeof stack;
}

const struct fa fa_pcpstack = {.name = "pcpstack",
                               .flags = FA_BASELINE | FA_ORDER0_ONLY,
                               .init = stack_init,
                               .alloc = stack_alloc,
                               .free = stack_free,
                               .stats = stack_stats};
