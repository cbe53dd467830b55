/* SPDX-License-Identifier: MIT
 *
 * States that make an allocator search. One thread.
 *   fail    random half of memory is free: order 9 and order 6 cannot be had; ns_order9, ns_order6 per
 *           refusal
 *   worst   the slowest single call, over memory that is empty, full, a checkerboard (every other frame is
 *           taken) and free in a random half, for several orders: STATE_oORDER_alloc and _free, and the
 *           largest of all of each. As everywhere, of each maximum the smallest of several rounds.
 */
#include <string.h>

#include "harness.h"
#include "workloads.h"

#define REFUSALS UINT64_C(200000)
#define ROUNDS 5
#define CALLS 100

static void hold_all(struct worker *worker)
{
    hold_begin(worker, run.frames);
    hold_fill(worker, run.frames);
    if (worker->held < run.frames / 1000 * 999)
        die("only %llu frames could be had", (unsigned long long)worker->held);
}

static void free_random_half(struct worker *worker)
{
    hold_all(worker);
    shuffle(worker->frame, worker->held, &worker->random);
    hold_release(worker, run.frames / 2);
}

static void free_every_other(struct worker *worker)
{
    uint64_t kept = 0;

    hold_all(worker);
    for (uint64_t i = 0; i < worker->held; i++) {
        uint64_t frame = worker->frame[i];

        if (frame % 2 == 0)
            subject->free(worker->id, frame, 0);
        else
            worker->frame[kept++] = frame;
    }
    worker->held = kept;
}

static void free_all(struct worker *worker)
{
    hold_begin(worker, 1);
}

/* ---- fail ---------------------------------------------------------------------------------------------- */

static struct figure refusals(struct worker *worker, unsigned order)
{
    uint64_t n = scaled(REFUSALS), i;

    for (i = 0; i < CALLS; i++)
        (void)subject->alloc(worker->id, order);
    clock_begin(worker, 32);
    for (i = 0; i < n && !worker->clock.stop; i++) {
        if (subject->alloc(worker->id, order) != FA_NONE)
            die("order %u could be had", order);
        clock_tick(worker, i);
    }
    return clock_end(worker, i);
}

static void refuse(struct worker *worker)
{
    free_random_half(worker);
    worker->figure[0] = refusals(worker, HUGE_ORDER);
    worker->figure[1] = refusals(worker, 6);
}

void work_failure(void)
{
    fresh();
    parallel(refuse);
    figure_emit("ns_order9", &worker_of[0].figure[0]);
    figure_emit("ns_order6", &worker_of[0].figure[1]);
}

/* ---- worst --------------------------------------------------------------------------------------------- */

struct longest {
    uint64_t alloc, free;
};

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t min_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static struct longest longest_in_round(unsigned order)
{
    struct longest longest = {0, 0};
    uint64_t frame[CALLS];
    unsigned got = 0;

    for (unsigned i = 0; i < CALLS; i++) {
        uint64_t before = stamp();

        frame[got] = subject->alloc(0, order);
        longest.alloc = max_of(longest.alloc, stamp() - before);
        got += frame[got] != FA_NONE;
    }
    for (unsigned i = 0; i < got; i++) {
        uint64_t before = stamp();

        subject->free(0, frame[i], order);
        longest.free = max_of(longest.free, stamp() - before);
    }
    return longest;
}

static struct longest longest_of(unsigned order)
{
    struct longest least = {UINT64_MAX, UINT64_MAX};

    for (unsigned i = 0; i < ROUNDS; i++) {
        struct longest round = longest_in_round(order);

        least.alloc = min_of(least.alloc, round.alloc);
        least.free = min_of(least.free, round.free);
    }
    return least;
}

static struct longest overall;

static void try_orders(struct worker *worker, const char *state)
{
    static const unsigned orders[] = {0, 1, 3, 6, 8, 9, 10};

    (void)worker;
    for (unsigned i = 0; i < sizeof orders / sizeof *orders; i++) {
        struct longest longest;

        if (orders[i] > subject->max_order || ((subject->flags & FA_ORD09) != 0 && orders[i] % 9 != 0))
            continue;
        longest = longest_of(orders[i]);
        emitf(stamp_ns(longest.alloc), "%s_o%u_alloc", state, orders[i]);
        emitf(stamp_ns(longest.free), "%s_o%u_free", state, orders[i]);
        overall.alloc = max_of(overall.alloc, longest.alloc);
        overall.free = max_of(overall.free, longest.free);
    }
}

static const struct state {
    const char *name;
    void (*reach)(struct worker *worker); /* from memory that is all free */
} states[] = {{"empty", free_all},
              {"full", hold_all},
              {"checkerboard", free_every_other},
              {"random", free_random_half}};
static const struct state *state;

static void try_state(struct worker *worker)
{
    state->reach(worker);
    try_orders(worker, state->name);
    hold_end(worker);
}

void work_worst(void)
{
    for (unsigned i = 0; i < sizeof states / sizeof *states; i++) {
        state = &states[i];
        fresh();
        parallel(try_state);
    }
    emit("alloc_max", stamp_ns(overall.alloc));
    emit("free_max", stamp_ns(overall.free));
}
