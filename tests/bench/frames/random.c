/* SPDX-License-Identifier: MIT
 *
 * Frames of a nearly full memory, in no order.
 *   random      at 90 %: free a random one, allocate one: ns_pair
 *   randbatch   at 90 %: free 8192 random ones, allocate as many, so that no stack of freed frames serves:
 *               ns_pair
 *   nearfull    as random, with 0.1 % of memory free
 *   xfree       thread 0 allocates, thread 1 frees what it gets through a ring: ns_frame
 */
#include <sched.h>
#include <stdlib.h>

#include "harness.h"
#include "workloads.h"

#define PAIRS UINT64_C(1000000)
#define FULL_PAIRS UINT64_C(500000)
#define BATCH UINT64_C(8192)

/* Under callgrind, pairs that are not counted: until memory has aged; and of these, with caches simulated. */
#define WARM_PAIRS UINT64_C(400000)
#define WARM_CACHE UINT64_C(20000)

static double share; /* of memory that is taken; 1: all but 0.1 % */
static uint64_t pairs;

static void exchange_one(struct worker *worker)
{
    uint64_t at = random_below(&worker->random, worker->held), frame;

    subject->free(worker->id, worker->frame[at], 0);
    frame = subject->alloc(worker->id, 0);
    if (frame == FA_NONE) {
        worker->failures++;
        worker->frame[at] = worker->frame[--worker->held];
    } else {
        worker->frame[at] = frame;
    }
}

static void take_share(struct worker *worker)
{
    uint64_t want = (uint64_t)((double)run.frames * share) / run.threads;

    hold_begin(worker, run.frames / run.threads + 16);
    hold_fill(worker, share < 1 ? want : worker->capacity);
    shuffle(worker->frame, worker->held, &worker->random);
    barrier();
    if (share >= 1)
        hold_release(worker, run.frames / 1000 / run.threads);
    if (worker->held < want * 99 / 100)
        die("only %llu frames of %llu could be had", (unsigned long long)worker->held,
            (unsigned long long)want);
    if (run.count) {
        for (uint64_t i = 0; i < WARM_PAIRS - WARM_CACHE; i++)
            exchange_one(worker);
    }
}

static void exchange_pairs(struct worker *worker)
{
    uint64_t n = scaled(pairs), i;

    if (run.count) {
        clock_warm();
        for (i = 0; i < WARM_CACHE; i++)
            exchange_one(worker);
    }
    barrier();
    clock_begin(worker, 128);
    for (i = 0; i < n && !worker->clock.stop; i++) {
        exchange_one(worker);
        clock_tick(worker, i);
    }
    worker->figure[0] = clock_end(worker, i);
    barrier();
}

/* The clock ticks in both halves of a batch: with two threads, of which one frees while the other allocates, both
 * are seen to work. */
static void exchange_batches(struct worker *worker)
{
    uint64_t n = 2 * scaled(pairs), done = 0;
    struct figure half;

    barrier();
    clock_begin(worker, 128);
    while (done < n && !worker->clock.stop) {
        for (uint64_t i = 0; i < BATCH; i++, done++) {
            uint64_t at = random_below(&worker->random, worker->held), frame = worker->frame[at];

            worker->frame[at] = worker->frame[--worker->held];
            subject->free(worker->id, frame, 0);
            clock_tick(worker, done);
        }
        for (uint64_t i = 0; i < BATCH; i++, done++) {
            uint64_t frame = subject->alloc(worker->id, 0);

            if (frame == FA_NONE)
                worker->failures++;
            else
                worker->frame[worker->held++] = frame;
            clock_tick(worker, done);
        }
    }
    half = clock_end(worker, done);
    half.ops /= 2;
    half.clean_ops /= 2;
    worker->figure[0] = half;
    barrier();
}

static void run_random(double of_share, uint64_t n, void (*exchange)(struct worker *worker))
{
    struct figure sum;

    share = of_share;
    pairs = n;
    fresh();
    parallel(take_share);
    parallel(exchange);
    sum = figure_sum(0);
    figure_emit("ns_pair", &sum);
    if (!run.count)
        emit("failed", (double)failures_sum());
}

void work_random(void)
{
    run_random(0.9, PAIRS, exchange_pairs);
}

void work_random_batch(void)
{
    run_random(0.9, PAIRS, exchange_batches);
}

void work_random_near_full(void)
{
    run_random(1, FULL_PAIRS, exchange_pairs);
}

/* ---- xfree --------------------------------------------------------------------------------------------- */

#define RING 2048
#define PUBLISHED 32 /* frames that change hands at a time */
#define SAMPLE 8192  /* frames per sample of wall time */
#define PASSED UINT64_C(2000000)

static struct {
    uint64_t frame[RING];
    char pad_0[128];
    uint64_t head; /* thread 0's */
    char pad_1[120];
    uint64_t tail; /* thread 1's */
    char pad_2[120];
} ring __attribute__((aligned(128)));

static double sample[PASSED / SAMPLE + 1];
static unsigned samples;

/* Waits until *other is beyond `least`; that ends with the other thread's next batch. Returns *other. */
static uint64_t await(const uint64_t *other, uint64_t least)
{
    uint64_t seen = __atomic_load_n(other, __ATOMIC_ACQUIRE);

    for (unsigned spins = 0; seen < least; seen = __atomic_load_n(other, __ATOMIC_ACQUIRE)) {
        if (++spins > 50000)
            sched_yield();
        else
            __builtin_ia32_pause();
    }
    return seen;
}

static void produce(uint64_t n)
{
    uint64_t tail = 0, since = clock_wall();

    for (uint64_t i = 0; i < n; i += PUBLISHED) {
        if (i + PUBLISHED - tail > RING)
            tail = await(&ring.tail, i + PUBLISHED - RING);
        for (unsigned j = 0; j < PUBLISHED; j++) {
            uint64_t frame = subject->alloc(0, 0);

            if (frame == FA_NONE)
                die("no memory with %u frames in use", RING);
            ring.frame[(i + j) % RING] = frame;
        }
        __atomic_store_n(&ring.head, i + PUBLISHED, __ATOMIC_RELEASE);
        if ((i + PUBLISHED) % SAMPLE == 0) {
            uint64_t now = clock_wall();

            sample[samples++] = (double)(now - since) / SAMPLE;
            since = now;
        }
    }
}

static void consume(uint64_t n)
{
    uint64_t head = 0;

    for (uint64_t i = 0; i < n; i += PUBLISHED) {
        if (head < i + PUBLISHED)
            head = await(&ring.head, i + PUBLISHED);
        for (unsigned j = 0; j < PUBLISHED; j++)
            subject->free(1, ring.frame[(i + j) % RING], 0);
        __atomic_store_n(&ring.tail, i + PUBLISHED, __ATOMIC_RELEASE);
    }
}

static void pass_on(struct worker *worker)
{
    uint64_t n = scaled(PASSED) / SAMPLE * SAMPLE;

    barrier();
    if (worker->id == 0)
        produce(n);
    else
        consume(n);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Two threads. Wall time: what either costs, the other waits for. The lower quartile of the samples is the
 * figure; work that disturbs either thread is in the rest. */
void work_cross_free(void)
{
    if (run.threads != 2)
        die("needs two threads");
    fresh();
    parallel(pass_on);
    qsort(sample, samples, sizeof *sample, compare_doubles);
    emit("ns_frame", sample[samples / 4]);
    emit("ns_frame_median", sample[samples / 2]);
}
