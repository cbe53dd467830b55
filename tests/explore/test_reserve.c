/* SPDX-License-Identifier: MIT
 *
 * The emergency reserves when memory is gone: they are refilled by whoever frees or takes frames while others take from
 * them. Beside what machine.h sees, frame_check() compares entries, their count and the chunks' bits.
 *
 * A machine of one chunk has 1 frame for page tables, 3 for interrupts and 3 for reclaim; refills go to reclaim first.
 */
#include <mm/frame_reserve.h>
#include <mm/port.h>

#include "machine.h"

static struct run *kept[EXPLORE_THREADS]; /* what setup has taken, for CPU i to give back */
static uint64_t full;                     /* frames in reserves when none is missing */

/* ---- What threads do ----------------------------------------------------------------------------------- */

static void give(void)
{
    run_give(kept[port_cpu()]);
}

static void need_1(void)
{
    (void)run_need(1);
}

static void take_table(void)
{
    (void)run_take_classed(FRAME_RESERVE_PAGE_TABLE);
}

static void need_table(void)
{
    (void)run_need_classed(FRAME_RESERVE_PAGE_TABLE);
}

static void need_for_interrupt(void)
{
    (void)run_need_classed(FRAME_RESERVE_INTERRUPT);
}

/* ---- How it begins and ends ---------------------------------------------------------------------------- */

/* One chunk, all of it in use: a frame each by CPUs 0 and 1, the others one run. */
static void memory_gone(void)
{
    machine_start(1);
    full = frame_reserved();
    kept[0] = run_need(1);
    kept[1] = run_need(1);
    (void)run_need(CHUNK_FRAMES - 2);
}

/* One run more is in use, a frame of a reserve. */
static void without_table(void)
{
    memory_gone();
    need_table();
}

static void without_one_for_reclaim(void)
{
    memory_gone();
    (void)run_need_classed(FRAME_RESERVE_RECLAIM);
}

static void without_one_for_interrupts(void)
{
    memory_gone();
    need_for_interrupt();
}

static void without_table_and_one_for_reclaim(void)
{
    without_table();
    (void)run_need_classed(FRAME_RESERVE_RECLAIM);
}

/* Three frames lie in the cache of a CPU that runs no thread, and the reserve for page tables is empty. */
static void three_cached_without_table(void)
{
    struct run *rest, *back[3];

    machine_start(1);
    full = frame_reserved();
    rest = run_need(CHUNK_FRAMES - 1); /* what is left of a whole chunk would go to its zone first */
    (void)run_need(1);
    need_table();
    explore_be_cpu(2);
    for (unsigned i = 0; i < ARRAY_LEN(back); i++)
        back[i] = run_split(rest, 1);
    for (unsigned i = 0; i < ARRAY_LEN(back); i++)
        run_give(back[i]);
    EXPLORE_CHECK(frame_reserved() == full - 1);
}

/* CPU 0 has what was the reserve for page tables. */
static void table_in_use(void)
{
    memory_gone();
    kept[0] = run_need_classed(FRAME_RESERVE_PAGE_TABLE);
}

static void finish_held(unsigned least, unsigned most)
{
    EXPLORE_CHECK(runs_held() >= least && runs_held() <= most);
    machine_finish();
}

static void three_held(void)
{
    finish_held(3, 3);
}

static void four_held(void)
{
    finish_held(4, 4);
}

static void three_or_four_held(void)
{
    finish_held(3, 4);
}

static void five_held(void)
{
    finish_held(5, 5);
}

static void four_or_five_held(void)
{
    finish_held(4, 5);
}

static void five_or_six_held(void)
{
    finish_held(5, 6);
}

static void two_held_and_reserves_full(void)
{
    EXPLORE_CHECK(frame_reserved() == full);
    finish_held(2, 2);
}

static void three_held_and_reserves_full(void)
{
    EXPLORE_CHECK(frame_reserved() == full);
    finish_held(3, 3);
}

/* ---- Taking, refilling --------------------------------------------------------------------------------- */

/* Of the only frame in the reserve. */
UNCACHED(reserve, take_against_take, memory_gone, .body = {take_table, take_table}, .finish = four_held);

/* What is freed is for whoever comes first, the refill or the other CPU. */
UNCACHED(reserve, take_against_refill, without_table, .body = {give, take_table}, .finish = three_or_four_held);
SCENARIO(reserve, take_against_refill, .setup = without_table, .body = {give, take_table},
         .finish = three_or_four_held);

/* Another class is refilled: this one must be there. */
UNCACHED(reserve, take_beside_refill, without_one_for_reclaim, .body = {give, need_table}, .finish = four_held);
UNCACHED(reserve, two_takes_against_refill, without_one_for_reclaim, .body = {give, take_table, take_table},
         .finish = four_or_five_held);

/* Two frames come back, two are missing, each in its pool. */
UNCACHED(reserve, refill_against_refill, without_table_and_one_for_reclaim, .body = {give, give},
         .finish = three_held_and_reserves_full);

/* One pool lacks one frame: the other must go back to the zone, or be taken. */
UNCACHED(reserve, two_refills_for_one, without_table, .body = {give, give}, .finish = two_held_and_reserves_full);

/* Of three frames the refill, which the allocation on CPU 0 or on CPU 1 brings about, may have one. */
SCENARIO(reserve, refill_by_taking, .setup = three_cached_without_table, .body = {need_1, need_table},
         .finish = five_held);

/* ---- Freeing ------------------------------------------------------------------------------------------- */

UNCACHED(reserve, reserved_frame_comes_back, table_in_use, .body = {give, take_table}, .finish = three_or_four_held);
SCENARIO(reserve, reserved_frame_comes_back, .setup = table_in_use, .body = {give, take_table},
         .finish = three_or_four_held);

/* A frame in a reserve is nobody's to free, while its neighbours come and go. */
UNCACHED(reserve, wrong_free_against_refill, without_table, .body = {give, machine_free_reserved},
         .finish = three_held);
SCENARIO(reserve, wrong_free_against_take, .setup = memory_gone, .body = {take_table, machine_free_reserved},
         .finish = four_held);

/* ---- Interrupts ---------------------------------------------------------------------------------------- */

/* The handler gets what is kept for it, whatever it has interrupted. */
UNCACHED(reserve, interrupted_refill, without_one_for_interrupts, .body = {give}, .interrupt = need_for_interrupt,
         .finish = three_or_four_held);
SCENARIO(reserve, interrupted_take, .setup = without_one_for_interrupts, .body = {take_table},
         .interrupt = need_for_interrupt, .finish = five_or_six_held);
