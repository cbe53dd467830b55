/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

const struct fa *subject;
struct settings run;
struct worker worker_of[MAX_THREADS];

#define COUNTED_OPS 20000

uint64_t scaled(uint64_t n)
{
    if (run.count)
        return COUNTED_OPS;
    if ((subject->flags & FA_SLOW) != 0)
        n /= 20;
    return run.quick ? n / 5 + 1 : n;
}

/* ---- Figures ------------------------------------------------------------------------------------------- */

void emit(const char *metric, double value)
{
    printf("%s,%s,%u,%g,%s,%.4f\n", subject->name, run.workload, run.threads, run.gib, metric, value);
    fflush(stdout);
}

void emitf(double value, const char *format, ...)
{
    char metric[64];
    va_list args;

    va_start(args, format);
    vsnprintf(metric, sizeof metric, format, args);
    va_end(args);
    emit(metric, value);
}

void die(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s, %s: ", run.workload, subject->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    _exit(EXIT_FAILURE);
}

/* ---- Threads ------------------------------------------------------------------------------------------- */

static struct {
    unsigned waiting;
    unsigned generation;
} gate;

/* The last to come opens. The wait ends with the slowest thread's part of the workload. */
void barrier(void)
{
    unsigned generation = __atomic_load_n(&gate.generation, __ATOMIC_ACQUIRE);
    unsigned spins = 0;

    if (__atomic_add_fetch(&gate.waiting, 1, __ATOMIC_ACQ_REL) == run.threads) {
        gate.waiting = 0;
        __atomic_store_n(&gate.generation, generation + 1, __ATOMIC_RELEASE);
        return;
    }
    while (__atomic_load_n(&gate.generation, __ATOMIC_ACQUIRE) == generation) {
        if (++spins > 2000)
            sched_yield();
        else
            __builtin_ia32_pause();
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(worker->id % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &cpus);
    sched_setaffinity(0, sizeof cpus, &cpus); /* if it is refused, threads wander and more is disturbed */
    worker->body(worker);
    return NULL;
}

void parallel(void (*body)(struct worker *worker))
{
    for (unsigned i = 0; i < run.threads; i++) {
        struct worker *worker = &worker_of[i];

        worker->id = i;
        worker->body = body;
        worker->failures = 0;
        if (worker->random == 0)
            worker->random = UINT64_C(0x9E3779B97F4A7C15) * (i + 1);
        if (pthread_create(&worker->thread, NULL, work, worker) != 0)
            die("no thread");
    }
    for (unsigned i = 0; i < run.threads; i++)
        pthread_join(worker_of[i].thread, NULL);
}

uint64_t failures_sum(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < run.threads; i++)
        sum += worker_of[i].failures;
    return sum;
}

/* ---- Memory -------------------------------------------------------------------------------------------- */

void fresh(void)
{
    if (subject->init(run.frames, run.cpus) != 0)
        die("init failed");
}

void *array_new(uint64_t count, size_t size)
{
    void *array = fa_map(count * size);

    if (array == NULL)
        die("no memory for an array of %llu", (unsigned long long)count);
    return array;
}

void array_delete(void *array, uint64_t count, size_t size)
{
    munmap(array, count != 0 ? count * size : 1);
}

void hold_begin(struct worker *worker, uint64_t capacity)
{
    worker->frame = array_new(capacity, sizeof *worker->frame);
    worker->capacity = capacity;
    worker->held = 0;
}

void hold_end(struct worker *worker)
{
    array_delete(worker->frame, worker->capacity, sizeof *worker->frame);
    worker->frame = NULL;
}

void hold_fill(struct worker *worker, uint64_t want)
{
    uint64_t n = worker->held;

    if (want > worker->capacity)
        want = worker->capacity;
    while (n < want && (worker->frame[n] = subject->alloc(worker->id, 0)) != FA_NONE)
        n++;
    worker->held = n;
}

void hold_release(struct worker *worker, uint64_t count)
{
    uint64_t n = worker->held;

    for (; count > 0 && n > 0; count--)
        subject->free(worker->id, worker->frame[--n], 0);
    worker->held = n;
}

void shuffle(uint64_t *array, uint64_t count, uint64_t *state)
{
    for (uint64_t i = count; i > 1; i--) {
        uint64_t j = random_below(state, i), held = array[i - 1];

        array[i - 1] = array[j];
        array[j] = held;
    }
}
