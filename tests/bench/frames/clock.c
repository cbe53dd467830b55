/* SPDX-License-Identifier: MIT
 *
 * The undisturbed clock. A timed loop says after each operation that it is done (clock_tick); so many make
 * a step, after which the thread tells the others how far it is, and 16 steps make a stretch. A stretch
 * counts as undisturbed if its thread had the CPU for 95 % of the time at least, and if every other thread
 * did a third as much meanwhile: neither other work on the machine nor an idle partner then changes the
 * figure. Time is the thread's CPU time.
 *
 * A measurement ends by itself after TIME_MAX.
 */
#include <time.h>

#include "harness.h"

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION
#define CALLGRIND_STOP_INSTRUMENTATION
#define CALLGRIND_ZERO_STATS
#endif

#define STEPS 16
#define TIME_MAX UINT64_C(700000000)

/* How many operations each thread has done; each on lines of its own. */
static struct {
    volatile uint64_t ops;
    char pad[120];
} progress[MAX_THREADS] __attribute__((aligned(128)));

static uint64_t clock_ns(clockid_t id)
{
    struct timespec time;

    clock_gettime(id, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

uint64_t clock_wall(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static void stretch_begin(struct stopwatch *clock)
{
    clock->steps = 0;
    clock->cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    clock->wall = clock_wall();
}

/* Whether all others have done a third of `ops` since the last call. */
static bool others_worked(struct worker *worker, uint64_t ops)
{
    bool worked = true;

    for (unsigned i = 0; i < run.threads; i++) {
        uint64_t now = progress[i].ops;

        if (i != worker->id && (now - worker->clock.others[i]) * 3 < ops)
            worked = false;
        worker->clock.others[i] = now;
    }
    return worked;
}

static void stretch_end(struct worker *worker, uint64_t ops)
{
    struct stopwatch *clock = &worker->clock;
    uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - clock->cpu;
    uint64_t now = clock_wall(), wall = now - clock->wall;
    bool worked = others_worked(worker, ops);

    clock->figure.ns += cpu;
    clock->figure.ops += ops;
    if (worked && wall * 95 <= cpu * 100) {
        clock->figure.clean_ns += cpu;
        clock->figure.clean_ops += ops;
    }
    clock->stop = now - clock->began > TIME_MAX;
}

__attribute__((noinline)) void clock_step(struct worker *worker)
{
    struct stopwatch *clock = &worker->clock;

    progress[worker->id].ops += clock->mask + 1;
    if (++clock->steps == STEPS) {
        stretch_end(worker, STEPS * (clock->mask + 1));
        stretch_begin(clock);
    }
}

void clock_warm(void)
{
    if (run.count)
        CALLGRIND_START_INSTRUMENTATION;
}

void clock_begin(struct worker *worker, uint64_t every)
{
    worker->clock = (struct stopwatch){.mask = every - 1, .began = clock_wall()};
    for (unsigned i = 0; i < run.threads; i++)
        worker->clock.others[i] = progress[i].ops;
    stretch_begin(&worker->clock);
    if (run.count) {
        CALLGRIND_START_INSTRUMENTATION;
        CALLGRIND_ZERO_STATS;
    }
}

struct figure clock_end(struct worker *worker, uint64_t ops)
{
    if (run.count)
        CALLGRIND_STOP_INSTRUMENTATION;
    if (ops > worker->clock.figure.ops)
        stretch_end(worker, ops - worker->clock.figure.ops);
    return worker->clock.figure;
}

void figure_add(struct figure *sum, struct figure part)
{
    sum->ns += part.ns;
    sum->ops += part.ops;
    sum->clean_ns += part.clean_ns;
    sum->clean_ops += part.clean_ops;
}

struct figure figure_sum(unsigned index)
{
    struct figure sum = {0};

    for (unsigned i = 0; i < run.threads; i++)
        figure_add(&sum, worker_of[i].figure[index]);
    return sum;
}

void figure_emit(const char *metric, const struct figure *figure)
{
    if (figure->ops == 0)
        die("%s: no operation was timed", metric);
    if (run.count) {
        emit("ops", (double)figure->ops);
    } else if (figure->clean_ops * 50 >= figure->ops) {
        emit(metric, (double)figure->clean_ns / (double)figure->clean_ops);
    } else {
        emit(metric, (double)figure->ns / (double)figure->ops);
        emitf((double)figure->clean_ops / (double)figure->ops, "%s_DIRTY", metric);
    }
}
