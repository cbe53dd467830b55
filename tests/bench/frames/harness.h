/* SPDX-License-Identifier: MIT
 *
 * What all workloads share: the settings of the run, threads that play CPUs, the clock, random numbers, and
 * how figures get out.
 *
 * A workload is a function that readies the allocator (fresh), runs bodies on all threads at once
 * (parallel) and prints figures (emit). A process measures one workload on one allocator, so nothing is
 * left over from another.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <pthread.h>
#include <stdbool.h>

#include "fa.h"

#define MAX_THREADS 8
#define HUGE_ORDER 9
#define HUGE_FRAMES (UINT64_C(1) << HUGE_ORDER)

/* ---- Settings, fixed while a workload runs ------------------------------------------------------------- */

extern const struct fa *subject; /* the allocator that is measured */

struct settings {
    const char *workload;
    double gib;
    uint64_t frames;
    unsigned threads, cpus;
    bool quick; /* fewer operations */
    bool count; /* under callgrind: few operations, of which instructions are counted */
};
extern struct settings run;

/* How many operations to time of the n that a full run times. */
uint64_t scaled(uint64_t n);

/* ---- Figures ------------------------------------------------------------------------------------------- */

/* Prints one figure as a line `allocator,workload,threads,GiB,metric,value`. */
void emit(const char *metric, double value);

/* As emit, with the metric's name put together as by printf. */
void emitf(double value, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends the process: the workload could not be run as it should. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- The undisturbed clock (clock.c) ------------------------------------------------------------------- */

/* Time of some operations: of all of them, and of those in stretches that nothing disturbed. */
struct figure {
    uint64_t ns, ops;
    uint64_t clean_ns, clean_ops;
};

struct stopwatch {
    uint64_t mask; /* operations between two steps, minus 1 */
    bool stop;     /* the time is up: the loop should end */
    unsigned steps;
    uint64_t began, wall, cpu;    /* wall time at clock_begin; both times at the start of the stretch */
    uint64_t others[MAX_THREADS]; /* how far the other threads were then */
    struct figure figure;
};

struct worker;

/* Starts the clock. `every`: a power of two; so many operations make a step and 16 steps a stretch. Under
 * callgrind counting starts. */
void clock_begin(struct worker *worker, uint64_t every);

/* Stops it; `ops` operations were done in all. */
struct figure clock_end(struct worker *worker, uint64_t ops);

void clock_step(struct worker *worker);

/* Under callgrind: what comes from here to clock_begin warms caches up and is not counted. */
void clock_warm(void);

/* Wall time in ns. */
uint64_t clock_wall(void);

/* Prints the mean time of one operation over all workers: of the undisturbed ones if they are 2 % at least,
 * otherwise of all, with a second line `METRIC_DIRTY` that says which part was undisturbed. Under callgrind
 * prints the number of operations instead, as `ops`. */
void figure_emit(const char *metric, const struct figure *figure);

/* ---- Time of single calls (latency.c) ------------------------------------------------------------------ */

/* What the CPU's time stamp counter says once all earlier instructions are done. */
uint64_t stamp(void);

/* Learns how fast the counter is and what reading it costs; once, before stamp_ns. */
void stamp_calibrate(void);

/* ns between two stamps that are so many ticks apart, without what reading costs. */
double stamp_ns(uint64_t ticks);

/* ---- Threads ------------------------------------------------------------------------------------------- */

struct worker {
    struct stopwatch clock;
    unsigned id; /* the CPU that it plays */
    uint64_t random;
    uint64_t *frame; /* what it holds, if the workload keeps that */
    uint64_t held, capacity;
    struct figure figure[2];
    uint64_t failures;
    void (*body)(struct worker *worker);
    pthread_t thread;
} __attribute__((aligned(128)));

extern struct worker worker_of[MAX_THREADS];

/* Runs body on run.threads threads, each on a host CPU of its own as far as there are enough. frame, held,
 * capacity and random are kept from one call to the next. */
void parallel(void (*body)(struct worker *worker));

/* Waits until all threads are here. */
void barrier(void);

/* The sum of figure[index] over all workers. */
struct figure figure_sum(unsigned index);
void figure_add(struct figure *sum, struct figure part);
uint64_t failures_sum(void);

/* Marks an operation done; `i` counts them from 0. */
static inline void clock_tick(struct worker *worker, uint64_t i)
{
    if (__builtin_expect((i & worker->clock.mask) == worker->clock.mask, 0))
        clock_step(worker);
}

/* ---- Memory -------------------------------------------------------------------------------------------- */

/* Readies the allocator; all frames are free. */
void fresh(void);

/* Where blocks of several orders are held, an entry is frame << ORDER_BITS | order. */
#define ORDER_BITS 4
#define ORDER_MASK 15u

/* An array that is there already; never NULL. */
void *array_new(uint64_t count, size_t size);
void array_delete(void *array, uint64_t count, size_t size);

/* Gives a worker room for so many frames. */
void hold_begin(struct worker *worker, uint64_t capacity);
void hold_end(struct worker *worker);

/* Allocates order 0 until the worker holds `want` frames or memory is gone. */
void hold_fill(struct worker *worker, uint64_t want);

/* Frees the last `count` frames that the worker holds. */
void hold_release(struct worker *worker, uint64_t count);

/* ---- Random numbers ------------------------------------------------------------------------------------ */

static inline uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

static inline uint64_t random_below(uint64_t *state, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)random_next(state) * n) >> 64);
}

void shuffle(uint64_t *array, uint64_t count, uint64_t *state);

#endif
