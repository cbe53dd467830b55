/* SPDX-License-Identifier: MIT
 *
 * mm/frame when frames lie in per-CPU caches, are drained from there, and when an interrupt strikes a CPU in
 * the middle of a call.
 */
#include <mm/port.h>

#include "../../mm/frame/cache.h"
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

static void one_held(void)
{
    finish_held(1);
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

/* ---- CPUs that stop ------------------------------------------------------------------------------------ */

static uint64_t cached_by(unsigned cpu)
{
    return cache_cpu_sums(frame_cpu_table[cpu]).cached;
}

/* A CPU takes its leave; what it cached must be back when the call returns, whoever is draining at the time. */
static void stop(void)
{
    frame_cpu_offline(port_cpu());
    EXPLORE_CHECK(cached_by(port_cpu()) == 0);
}

static void give_and_stop(void)
{
    give();
    stop();
}

static void cpu_2_must_be_empty(void)
{
    frame_cpu_offline(2);
    EXPLORE_CHECK(cached_by(2) == 0);
}

SCENARIO(caches, drain_against_offline, .setup = caches_of_one_chunk, .body = {frame_drain, cpu_2_must_be_empty},
         .finish = three_held);
SCENARIO(caches, drain_against_stop, .setup = caches_of_one_chunk, .body = {frame_drain, give_and_stop},
         .finish = two_held);
SCENARIO(caches, two_drains_against_stop, .setup = last_frame_on_cpu_2, .body = {frame_drain, frame_drain, stop},
         .finish = one_held);

/* ---- Parked caches, which their owners open ------------------------------------------------------------ */

static void parked_caches(void)
{
    caches_in_use(1);
    frame_drain();
}

/* So that the drain has something to do besides. */
static void parked_caches_but_one(void)
{
    parked_caches();
    explore_be_cpu(2);
    need_and_give_1();
}

SCENARIO(caches, drain_against_opening, .setup = parked_caches_but_one, .body = {frame_drain, need_1},
         .finish = four_held);
SCENARIO(caches, drain_against_opening_by_free, .setup = parked_caches_but_one, .body = {frame_drain, give},
         .finish = two_held);
SCENARIO(caches, drain_against_opening_and_use, .setup = parked_caches, .body = {frame_drain, need_and_give_1},
         .finish = three_held);
SCENARIO(caches, two_openings_against_drain, .setup = parked_caches, .body = {need_1, give, frame_drain},
         .finish = three_held);

/* ---- Caches switched off and on ------------------------------------------------------------------------ */

/* When the call has returned no cache holds anything, and none will. */
static void switch_off(void)
{
    frame_set_caching(false);
    for (unsigned cpu = 0; cpu < EXPLORE_THREADS; cpu++)
        EXPLORE_CHECK(cached_by(cpu) == 0);
}

static void switch_on(void)
{
    frame_set_caching(true);
}

static void switch_off_and_on(void)
{
    switch_off();
    switch_on();
}

static void caches_off(void)
{
    caches_of_one_chunk();
    frame_set_caching(false);
}

static void three_held_and_none_cached(void)
{
    for (unsigned cpu = 0; cpu < EXPLORE_THREADS; cpu++)
        EXPLORE_CHECK(cached_by(cpu) == 0);
    three_held();
}

SCENARIO(caches, off_against_both, .setup = caches_of_one_chunk, .body = {switch_off, need_and_give_1},
         .finish = three_held_and_none_cached);
SCENARIO(caches, off_against_opening, .setup = parked_caches, .body = {switch_off, need_and_give_1},
         .finish = three_held_and_none_cached);
SCENARIO(caches, on_against_both, .setup = caches_off, .body = {switch_on, need_and_give_1}, .finish = three_held);
SCENARIO(caches, on_again_against_both, .setup = caches_of_one_chunk, .body = {switch_on, need_and_give_1},
         .finish = three_held);
SCENARIO(caches, off_and_on_against_take, .setup = caches_of_two_chunks, .body = {switch_off_and_on, need_1},
         .finish = four_held);
SCENARIO(caches, off_and_on_against_drain, .setup = caches_of_one_chunk, .body = {switch_off_and_on, frame_drain},
         .finish = three_held);
SCENARIO(caches, off_against_drain, .setup = caches_of_one_chunk, .body = {switch_off, frame_drain},
         .finish = three_held_and_none_cached);

/* ---- CPUs that say which node they are on -------------------------------------------------------------- */

/* CPU 2 has not run yet. */
static void caches_of_two_cpus(void)
{
    machine_start(1);
    kept[0] = run_need(1);
    explore_be_cpu(1);
    kept[1] = run_need(1);
}

static void cpu_2_on_node_0(void)
{
    frame_cpu_node(2, 0);
}

static void cpu_itself_on_node_0(void)
{
    frame_cpu_node(port_cpu(), 0);
}

static uint64_t free_frames; /* that there are */

/* Nobody takes or frees: counters may be read at different moments, but frames that do not exist are never seen. */
static void count(void)
{
    EXPLORE_CHECK(frame_free_count() <= frame_managed());
}

/* The same where no account is moved either. */
static void count_exactly(void)
{
    EXPLORE_CHECK(frame_free_count() == free_frames);
}

static void caches_of_two_cpus_counted(void)
{
    caches_of_two_cpus();
    free_frames = frame_free_count();
}

/* CPU 0 has a chunk that came through its cache, which is empty; 5 frames are free. */
static void chunk_through_cache(void)
{
    machine_start(2);
    (void)run_need(CHUNK_FRAMES);
    frame_drain();
    (void)run_need(CHUNK_FRAMES - 5);
    frame_drain();
}

SCENARIO(caches, own_node_against_count, .setup = chunk_through_cache, .body = {cpu_itself_on_node_0, count},
         .finish = two_held);
SCENARIO(caches, other_node_against_count, .setup = caches_of_two_cpus_counted,
         .body = {cpu_2_on_node_0, count_exactly}, .finish = two_held);
SCENARIO(caches, own_node_against_both, .setup = caches_of_one_chunk, .body = {cpu_itself_on_node_0, need_and_give_1},
         .finish = three_held);
SCENARIO(caches, own_node_against_drain, .setup = caches_of_one_chunk, .body = {cpu_itself_on_node_0, frame_drain},
         .finish = three_held);
SCENARIO(caches, other_node_against_drain, .setup = caches_of_two_cpus, .body = {cpu_2_on_node_0, frame_drain},
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
