/* SPDX-License-Identifier: MIT
 *
 * Last in, first out: what the cheapest path costs.
 *   repeat…   allocate one block, free it, again and again: ns_pair
 *   bulk…     allocate half of memory, then free it in the same order: ns_alloc, ns_free
 */
#include "harness.h"
#include "workloads.h"

#define REPEATS UINT64_C(4000000)
#define WARM_PAIRS 1000
#define BULK_PASSES 3

static unsigned order;

static void pair(struct worker *worker)
{
    uint64_t frame = subject->alloc(worker->id, order);

    __asm__ volatile("" : "+r"(frame));
    subject->free(worker->id, frame, order);
}

static void repeat(struct worker *worker)
{
    uint64_t n = scaled(REPEATS), i;

    clock_warm();
    for (i = 0; i < WARM_PAIRS; i++)
        pair(worker);
    barrier();
    clock_begin(worker, order != 0 ? 32 : 128);
    for (i = 0; i < n && !worker->clock.stop; i++) {
        pair(worker);
        clock_tick(worker, i);
    }
    worker->figure[0] = clock_end(worker, i);
    barrier();
}

static void half_fill(struct worker *worker)
{
    for (uint64_t i = 0; i < run.frames / 2 / run.threads; i++)
        (void)subject->alloc(worker->id, 0);
}

static void run_repeat(unsigned of_order)
{
    struct figure sum;

    order = of_order;
    parallel(repeat);
    sum = figure_sum(0);
    figure_emit("ns_pair", &sum);
}

void work_repeat(void)
{
    fresh();
    run_repeat(0);
}

/* The same with half of memory taken. */
void work_repeat_half(void)
{
    fresh();
    parallel(half_fill);
    run_repeat(0);
}

void work_repeat_order_3(void)
{
    fresh();
    run_repeat(3);
}

void work_repeat_order_9(void)
{
    fresh();
    run_repeat(HUGE_ORDER);
}

/* ---- bulk ---------------------------------------------------------------------------------------------- */

/* Under callgrind both halves count as one, and an operation is a pair. */
static void bulk(struct worker *worker)
{
    uint64_t every = order != 0 ? 16 : 128, n = worker->capacity, got = 0;

    barrier();
    clock_begin(worker, every);
    while (got < n && (worker->frame[got] = subject->alloc(worker->id, order)) != FA_NONE) {
        clock_tick(worker, got);
        got++;
    }
    if (!run.count) {
        figure_add(&worker->figure[0], clock_end(worker, got));
        barrier();
        clock_begin(worker, every);
    }
    for (uint64_t i = 0; i < got; i++) {
        subject->free(worker->id, worker->frame[i], order);
        clock_tick(worker, i);
    }
    figure_add(&worker->figure[1], clock_end(worker, got));
    worker->failures += n - got;
    barrier();
}

static void bulk_begin(struct worker *worker)
{
    uint64_t frames = run.count ? HUGE_FRAMES * 256 : run.frames / 2;

    hold_begin(worker, (frames / run.threads) >> order);
}

static void run_bulk(unsigned of_order)
{
    struct figure alloc, free;

    order = of_order;
    fresh();
    parallel(bulk_begin);
    if (!run.count)
        parallel(bulk);
    for (unsigned i = 0; i < run.threads; i++)
        worker_of[i].figure[0] = worker_of[i].figure[1] = (struct figure){0};
    for (unsigned i = 0; i < (run.count ? 1 : BULK_PASSES); i++)
        parallel(bulk);
    if (failures_sum() != 0)
        die("half of memory could not be had");
    alloc = figure_sum(0);
    free = figure_sum(1);
    if (!run.count)
        figure_emit("ns_alloc", &alloc);
    figure_emit("ns_free", &free);
}

void work_bulk(void)
{
    run_bulk(0);
}

void work_bulk_order_9(void)
{
    run_bulk(HUGE_ORDER);
}
