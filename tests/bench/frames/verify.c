/* SPDX-License-Identifier: MIT
 *
 * Whether what is measured is an allocator, and what it needs for itself.
 *   verify   random orders up to two thirds of memory; no frame is held twice, blocks are aligned and
 *            inside memory, and in the end everything is free again: overlaps, misaligned, leaked, wrong if
 *            any of them is not 0
 *   meta     metadata as a percentage of memory: meta_percent; what of it is the allocator's:
 *            meta_allocator_percent
 */
#include "harness.h"
#include "quire.h"
#include "workloads.h"

#define STEPS UINT64_C(1000000)
#define TOP_ORDER 10u

static uint64_t *taken; /* a bit per frame */
static uint64_t overlaps, misaligned;

/* Sets or clears the bits of a block; returns how many words were not as they should. */
static uint64_t mark(uint64_t frame, unsigned order, bool set)
{
    uint64_t end = frame + (UINT64_C(1) << order), wrong = 0;

    for (uint64_t word = frame / 64; word <= (end - 1) / 64; word++) {
        uint64_t first = word * 64 > frame ? 0 : frame % 64,
                 last = (word + 1) * 64 < end ? 63 : (end - 1) % 64;
        uint64_t bits = (UINT64_MAX >> (63 - last)) & (UINT64_MAX << first), before;

        before = set ? __atomic_fetch_or(&taken[word], bits, __ATOMIC_RELAXED)
                     : __atomic_fetch_and(&taken[word], ~bits, __ATOMIC_RELAXED);
        wrong += (before & bits) != (set ? 0 : bits);
    }
    return wrong;
}

static void take(struct worker *worker, unsigned order)
{
    uint64_t frame = subject->alloc(worker->id, order);

    if (frame == FA_NONE)
        return;
    if (frame + (UINT64_C(1) << order) > run.frames) {
        __atomic_fetch_add(&overlaps, 1, __ATOMIC_RELAXED);
        return;
    }
    if ((frame & ((UINT64_C(1) << order) - 1)) != 0)
        __atomic_fetch_add(&misaligned, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&overlaps, mark(frame, order, true), __ATOMIC_RELAXED);
    worker->frame[worker->held++] = frame << ORDER_BITS | order;
}

/* Gives the block at index `at` back. Returns its order. */
static unsigned give_back(struct worker *worker, uint64_t at)
{
    uint64_t entry = worker->frame[at];
    unsigned order = (unsigned)(entry & ORDER_MASK);

    worker->frame[at] = worker->frame[--worker->held];
    __atomic_fetch_add(&overlaps, mark(entry >> ORDER_BITS, order, false), __ATOMIC_RELAXED);
    subject->free(worker->id, entry >> ORDER_BITS, order);
    return order;
}

/* Low orders are likelier: each half as likely as the one below. */
static unsigned pick_order(struct worker *worker)
{
    unsigned top = subject->max_order < TOP_ORDER ? subject->max_order : TOP_ORDER;
    unsigned order = (unsigned)__builtin_ctzll(random_next(&worker->random) | UINT64_C(1) << top);

    if ((subject->flags & FA_ORD09) != 0)
        return order < HUGE_ORDER ? 0 : HUGE_ORDER;
    return order;
}

static void take_and_give(struct worker *worker)
{
    uint64_t n = scaled(STEPS), limit = run.frames / 3 * 2 / run.threads, used = 0;

    hold_begin(worker, run.frames / run.threads);
    barrier();
    for (uint64_t i = 0; i < n; i++) {
        if (worker->held > 0 && (used > limit || random_next(&worker->random) % 2 == 0)) {
            used -= UINT64_C(1) << give_back(worker, random_below(&worker->random, worker->held));
        } else {
            uint64_t held = worker->held;
            unsigned order = pick_order(worker);

            take(worker, order);
            used += worker->held > held ? UINT64_C(1) << order : 0;
        }
    }
    while (worker->held > 0) /* falls by one each time */
        give_back(worker, worker->held - 1);
    barrier();
}

void work_verify(void)
{
    struct fa_stats stats;

    fresh();
    taken = array_new(run.frames / 64, sizeof *taken);
    parallel(take_and_give);
    emit("overlaps", (double)overlaps);
    emit("misaligned", (double)misaligned);
    if (subject->stats == NULL)
        return;
    subject->stats(&stats);
    emit("leaked", (double)run.frames - (double)stats.free_frames);
    emit("wrong", (double)(overlaps + misaligned + (stats.free_frames != run.frames)));
}

void work_metadata(void)
{
    double percent = 100 / ((double)run.frames * 4096);
    uint64_t began = clock_wall();
    struct fa_stats stats;

    fresh();
    emit("init_ms", (double)(clock_wall() - began) / 1e6);
    if (subject->stats == NULL)
        return;
    subject->stats(&stats);
    emit("meta_percent", (double)stats.meta_bytes * percent);
    if (subject == &fa_quire)
        emit("meta_allocator_percent", (double)fa_quire_allocator_bytes() * percent);
}
