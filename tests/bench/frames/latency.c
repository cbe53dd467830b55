/* SPDX-License-Identifier: MIT
 *
 * The time of single calls, by the CPU's time stamp counter; what reading the counter costs is subtracted.
 * Blocks are taken up to a share of memory; then random ones are freed until usage is a burst below that
 * share, others allocated until it is reached again, and so on.
 *   lat        order 0, 90 % of memory, one at a time
 *   latburst   the same, 256 at a time, so that caches are filled and spilled
 *   latfull    order 0, all but 0.1 %
 *   latsmall   orders 0–8, 70 %
 *   lathuge    orders 9 and 10, 70 %
 * Figures: alloc and free, p50 p99 p999 and max, in ns. The percentiles have 16 steps per power of two. The
 * maximum is the smallest of those of 20 segments: a preemption disturbs one or two, a cost of the
 * allocator's returns in each.
 */
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "harness.h"
#include "workloads.h"

#define CALLS UINT64_C(2000000)
#define SEGMENTS 20
#define BUCKETS 1024
#define MAX_FULL 0.999
#define BURST 256

enum call { ALLOC, FREE, CALL_KINDS };

static const char *const call_name[CALL_KINDS] = {"alloc", "free"};

/* ---- The counter --------------------------------------------------------------------------------------- */

#define CALIBRATION_NS UINT64_C(20000000)
#define FLOOR_SAMPLES 1001

static double ns_per_tick;
static uint64_t floor_ticks;

uint64_t stamp(void)
{
    unsigned cpu;
    uint64_t now = __rdtscp(&cpu);

    _mm_lfence();
    return now;
}

static int compare_ticks(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

void stamp_calibrate(void)
{
    static uint64_t apart[FLOOR_SAMPLES];
    uint64_t wall = clock_wall(), first = stamp();

    while (clock_wall() - wall < CALIBRATION_NS)
        ;
    ns_per_tick = (double)(clock_wall() - wall) / (double)(stamp() - first);
    for (unsigned i = 0; i < FLOOR_SAMPLES; i++) {
        uint64_t before = stamp();

        apart[i] = stamp() - before;
    }
    qsort(apart, FLOOR_SAMPLES, sizeof *apart, compare_ticks);
    floor_ticks = apart[FLOOR_SAMPLES / 2];
}

double stamp_ns(uint64_t ticks)
{
    return ticks > floor_ticks ? (double)(ticks - floor_ticks) * ns_per_tick : 0;
}

/* ---- Histograms ---------------------------------------------------------------------------------------- */

struct record {
    uint64_t bucket[BUCKETS];
    uint64_t segment_max, least_max;
};

static struct record record_of[MAX_THREADS][CALL_KINDS];

static unsigned bucket_of(uint64_t ticks)
{
    unsigned power;

    if (ticks < 16)
        return (unsigned)ticks;
    power = 63 - (unsigned)__builtin_clzll(ticks);
    return (power - 3) * 16 + (unsigned)(ticks >> (power - 4) & 15);
}

/* The least number of ticks in a bucket. */
static uint64_t ticks_of(unsigned bucket)
{
    return bucket < 16 ? bucket : (16 + (uint64_t)bucket % 16) << (bucket / 16 - 1);
}

static void note(struct record *record, uint64_t ticks)
{
    record->bucket[bucket_of(ticks)]++;
    if (ticks > record->segment_max)
        record->segment_max = ticks;
}

static void segment_end(struct record *record)
{
    if (record->segment_max < record->least_max)
        record->least_max = record->segment_max;
    record->segment_max = 0;
}

static uint64_t percentile(enum call call, double part)
{
    uint64_t sum = 0, below = 0;

    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < BUCKETS; i++) {
            for (unsigned t = 0; t < run.threads; t++)
                below += record_of[t][call].bucket[i];
            if (pass == 1 && (double)below >= part * (double)sum)
                return ticks_of(i);
        }
        sum = below;
        below = 0;
    }
    return 0;
}

static void emit_record(enum call call)
{
    static const struct {
        const char *name;
        double part;
    } table[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}};
    uint64_t max = 0;

    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        emitf(stamp_ns(percentile(call, table[i].part)), "%s_%s", call_name[call], table[i].name);
    for (unsigned t = 0; t < run.threads; t++) {
        if (record_of[t][call].least_max > max)
            max = record_of[t][call].least_max;
    }
    emitf(stamp_ns(max), "%s_max", call_name[call]);
}

/* ---- The workloads ------------------------------------------------------------------------------------- */

static double share;
static unsigned least_order, most_order;
static uint64_t burst; /* frames */

static unsigned pick_order(struct worker *worker)
{
    return least_order + (unsigned)random_below(&worker->random, most_order - least_order + 1);
}

/* Returns whether there was memory. */
static bool hold_one(struct worker *worker, uint64_t *used, struct record *record)
{
    unsigned order = pick_order(worker);
    uint64_t before = stamp(), frame = subject->alloc(worker->id, order), after = stamp();

    if (record != NULL)
        note(record, after - before);
    if (frame == FA_NONE) {
        worker->failures++;
        return false;
    }
    worker->frame[worker->held++] = frame << ORDER_BITS | order;
    *used += UINT64_C(1) << order;
    return true;
}

static void drop_one(struct worker *worker, uint64_t *used, struct record *record)
{
    uint64_t at = random_below(&worker->random, worker->held), entry = worker->frame[at], before, after;
    unsigned order = (unsigned)(entry & ORDER_MASK);

    worker->frame[at] = worker->frame[--worker->held];
    before = stamp();
    subject->free(worker->id, entry >> ORDER_BITS, order);
    after = stamp();
    note(record, after - before);
    *used -= UINT64_C(1) << order;
}

static void time_calls(struct worker *worker)
{
    struct record *record = record_of[worker->id];
    uint64_t want = (uint64_t)((double)run.frames * share) / run.threads, used = 0, n = scaled(CALLS);
    bool freeing = true;

    hold_begin(worker, run.frames / run.threads + 16);
    while (used < want && hold_one(worker, &used, NULL))
        ;
    shuffle(worker->frame, worker->held, &worker->random);
    worker->failures = 0;
    record[ALLOC].least_max = record[FREE].least_max = UINT64_MAX;
    barrier();
    for (unsigned segment = 0; segment < SEGMENTS; segment++) {
        for (uint64_t i = 0; i < n / SEGMENTS; i++) {
            if (freeing && worker->held > 0) {
                drop_one(worker, &used, &record[FREE]);
                freeing = used + burst > want;
            } else {
                freeing = !hold_one(worker, &used, &record[ALLOC]) || used >= want;
            }
        }
        segment_end(&record[ALLOC]);
        segment_end(&record[FREE]);
    }
    barrier();
}

static void run_latency(double of_share, unsigned least, unsigned most, uint64_t of_burst)
{
    share = of_share;
    burst = of_burst;
    least_order = least;
    most_order = most;
    fresh();
    parallel(time_calls);
    emit_record(ALLOC);
    emit_record(FREE);
    emit("failed", (double)failures_sum());
}

void work_latency(void)
{
    run_latency(0.9, 0, 0, 1);
}

void work_latency_burst(void)
{
    run_latency(0.9, 0, 0, BURST);
}

void work_latency_full(void)
{
    run_latency(MAX_FULL, 0, 0, 1);
}

void work_latency_small(void)
{
    run_latency(0.7, 0, HUGE_ORDER - 1, 1);
}

void work_latency_huge(void)
{
    run_latency(0.7, HUGE_ORDER, HUGE_ORDER + 1, 1);
}
