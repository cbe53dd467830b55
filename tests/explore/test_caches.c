/* SPDX-License-Identifier: MIT
 *
 * mm/frame when frames lie in per-CPU caches, are drained from there, and when an interrupt strikes a CPU in
 * the middle of a call.
 */
#include <mm/port.h>

#include "machine.h"

static struct run *kept[EXPLORE_THREADS]; /* what setup has taken, for CPU i to give back */

/* ---- What threads and interrupts do -------------------------------------------------------------------- */

static void give(void)
{
    run_give(kept[port_cpu()]);
}

static void take_1(void)
{
    (void)run_take(1);
}

static void need_1(void)
{
    (void)run_need(1);
}

static void need_and_give_1(void)
{
    run_give(run_need(1));
}

/* What a drain or its own CPU has in hand at this moment is out of an interrupt handler's reach. */
static void try_and_give_1(void)
{
    struct run *run = run_take(1);

    if (run != NULL)
        run_give(run);
}

static void take_huge(void)
{
    (void)run_take(CHUNK_FRAMES);
}

static void give_and_take_huge(void)
{
    give();
    take_huge();
}

/* CPU 2 runs no thread where this is used. */
static void cpu_2_is_gone(void)
{
    frame_cpu_offline(2);
}

static void finish_held(unsigned runs)
{
    EXPLORE_CHECK(runs_held() == runs);
    machine_finish();
}

static void none_or_one_held(void)
{
    EXPLORE_CHECK(runs_held() <= 1);
    machine_finish();
}

static void two_held(void)
{
    finish_held(2);
}

static void three_held(void)
{
    finish_held(3);
}

static void four_held(void)
{
    finish_held(4);
}

/* ---- Frames that lie in a CPU's cache ------------------------------------------------------------------ */

/* Each CPU keeps a frame, and has freed another. */
static void caches_in_use(unsigned chunks)
{
    machine_start(chunks);
    for (unsigned cpu = 0; cpu < EXPLORE_THREADS; cpu++) {
        explore_be_cpu(cpu);
        kept[cpu] = run_need(1);
    }
    for (unsigned cpu = 0; cpu < EXPLORE_THREADS; cpu++) {
        explore_be_cpu(cpu);
        run_give(run_need(1));
    }
}

static void caches_of_one_chunk(void)
{
    caches_in_use(1);
}

static void caches_of_two_chunks(void)
{
    caches_in_use(2);
}

/* One frame is free, in the cache of a CPU. All others are one run. */
static void last_frame_cached_by(unsigned cpu)
{
    struct run *last;

    machine_start(1);
    (void)run_need(CHUNK_FRAMES - 1);
    explore_be_cpu(cpu);
    last = run_need(1);
    run_give(last);
}

static void last_frame_on_cpu_1(void)
{
    last_frame_cached_by(1);
}

static void last_frame_on_cpu_2(void)
{
    last_frame_cached_by(2);
}

SCENARIO(caches, last_frame_in_a_cache, .setup = last_frame_on_cpu_1, .body = {take_1, take_1},
         .finish = two_held);
SCENARIO(caches, last_frame_in_a_third_cache, .setup = last_frame_on_cpu_2, .body = {take_1, take_1},
         .finish = two_held);
SCENARIO(caches, caches_against_huge, .setup = caches_of_one_chunk, .body = {give_and_take_huge, give, give},
         .finish = none_or_one_held);
SCENARIO(caches, caches_of_two, .setup = caches_of_two_chunks, .body = {need_and_give_1, need_and_give_1},
         .finish = three_held);

/* ---- Draining ------------------------------------------------------------------------------------------ */

SCENARIO(caches, drain_against_take, .setup = caches_of_two_chunks, .body = {frame_drain, need_1},
         .finish = four_held);
SCENARIO(caches, drain_against_free, .setup = caches_of_two_chunks, .body = {frame_drain, give},
         .finish = two_held);
SCENARIO(caches, drain_against_both, .setup = caches_of_one_chunk, .body = {frame_drain, need_and_give_1},
         .finish = three_held);
SCENARIO(caches, drain_against_drain, .setup = caches_of_one_chunk,
         .body = {frame_drain, frame_drain, need_1}, .finish = four_held);
SCENARIO(caches, drain_against_take_of_the_last, .setup = last_frame_on_cpu_1, .body = {frame_drain, need_1},
         .finish = two_held);
SCENARIO(caches, drain_of_the_last_by_others, .setup = last_frame_on_cpu_2, .body = {frame_drain, need_1},
         .finish = two_held);
SCENARIO(caches, offline_against_take, .setup = caches_of_one_chunk, .body = {cpu_2_is_gone, need_1},
         .finish = four_held);
SCENARIO(caches, offline_of_the_last, .setup = last_frame_on_cpu_2, .body = {cpu_2_is_gone, need_1},
         .finish = two_held);

/* ---- Interrupts ---------------------------------------------------------------------------------------- */

SCENARIO(caches, interrupted_call, .setup = caches_of_one_chunk, .body = {need_and_give_1},
         .interrupt = need_and_give_1, .finish = three_held);
SCENARIO(caches, interrupted_free, .setup = caches_of_one_chunk, .body = {give}, .interrupt = need_and_give_1,
         .finish = two_held);
SCENARIO(caches, interrupt_takes_the_last, .setup = last_frame_on_cpu_1, .body = {take_1},
         .interrupt = take_1, .finish = two_held);
SCENARIO(caches, interrupted_drain, .setup = caches_of_one_chunk, .body = {frame_drain, need_and_give_1},
         .interrupt = try_and_give_1, .finish = three_held);
SCENARIO(caches, interrupts_on_two_cpus, .setup = caches_of_two_chunks,
         .body = {need_and_give_1, need_and_give_1}, .interrupt = need_and_give_1, .finish = three_held);
