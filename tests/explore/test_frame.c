/* SPDX-License-Identifier: MIT
 *
 * mm/frame under every schedule of a few calls. Beside what machine.h sees in all of them, a scenario says
 * how many requests must have been served: memory that is free all the time may not be overlooked.
 */
#include <mm/port.h>

#include "machine.h"

static struct run *kept[EXPLORE_THREADS]; /* what setup has taken, for thread i to give back */
static unsigned given;                    /* of frees of which not all succeed */

/* ---- What threads do ----------------------------------------------------------------------------------- */

static void take_1(void)
{
    (void)run_take(1);
}

static void take_8(void)
{
    (void)run_take(8);
}

static void take_huge(void)
{
    (void)run_take(CHUNK_FRAMES);
}

static void need_1(void)
{
    (void)run_need(1);
}

static void need_huge(void)
{
    (void)run_need(CHUNK_FRAMES);
}

static void take_and_give(uint64_t count)
{
    struct run *run = run_take(count);

    if (run != NULL)
        run_give(run);
}

static void take_and_give_1(void)
{
    take_and_give(1);
}

static void take_and_give_1_twice(void)
{
    take_and_give(1);
    take_and_give(1);
}

static void take_and_give_huge(void)
{
    take_and_give(CHUNK_FRAMES);
}

static void give(void)
{
    run_give(kept[port_cpu()]);
}

static void give_and_take_1(void)
{
    give();
    take_1();
}

static void give_and_take_huge(void)
{
    give();
    take_huge();
}

/* ---- How it may end ------------------------------------------------------------------------------------ */

static void none_held(void)
{
    EXPLORE_CHECK(runs_held() == 0);
    machine_finish();
}

static void one_held(void)
{
    EXPLORE_CHECK(runs_held() == 1);
    machine_finish();
}

static void none_or_one_held(void)
{
    EXPLORE_CHECK(runs_held() <= 1);
    machine_finish();
}

static void one_or_two_held(void)
{
    EXPLORE_CHECK(runs_held() == 1 || runs_held() == 2);
    machine_finish();
}

static void two_held(void)
{
    EXPLORE_CHECK(runs_held() == 2);
    machine_finish();
}

static void two_or_three_held(void)
{
    EXPLORE_CHECK(runs_held() == 2 || runs_held() == 3);
    machine_finish();
}

static void three_held(void)
{
    EXPLORE_CHECK(runs_held() == 3);
    machine_finish();
}

/* ---- Allocation against allocation --------------------------------------------------------------------- */

static void one_chunk(void)
{
    machine_start(1);
}

static void two_chunks(void)
{
    machine_start(2);
}

/* One chunk, of which only so many frames are free; the others are one run. */
static void one_chunk_with(uint64_t free)
{
    machine_start(1);
    (void)run_need(CHUNK_FRAMES - free);
}

static void two_frames(void)
{
    one_chunk_with(2);
}

SCENARIOS(singles_of_whole_chunks, two_chunks, .body = {need_1, need_1}, .finish = two_held);
SCENARIOS(singles_of_a_used_chunk, two_frames, .body = {need_1, need_1}, .finish = three_held);
SCENARIOS(eights_of_whole_chunks, two_chunks, .body = {take_8, take_8}, .finish = two_held);
SCENARIOS(huge_and_huge, two_chunks, .body = {need_huge, need_huge}, .finish = two_held);
SCENARIOS(huge_single_and_eight, two_chunks, .body = {take_huge, need_1, take_8},
          .finish = two_or_three_held);
SCENARIOS(last_whole_chunk, one_chunk, .body = {take_huge, take_huge}, .finish = one_held);
SCENARIOS(last_whole_chunk_huge_or_single, one_chunk, .body = {take_huge, take_1}, .finish = one_held);

/* Ten frames in a row, none of the aligned blocks of eight among them. */
static void ten_odd_frames(void)
{
    machine_start(1);
    (void)run_need_at(0, 3);
    (void)run_need_at(13, CHUNK_FRAMES - 13);
}

SCENARIOS(one_of_two_eights, ten_odd_frames, .body = {take_8, take_8}, .finish = three_held);

/* ---- The last frame is there, and somebody must get it ------------------------------------------------- */

static void one_frame(void)
{
    one_chunk_with(1);
}

static void three_frames(void)
{
    one_chunk_with(3);
}

SCENARIOS(last_frame_for_two, one_frame, .body = {take_1, take_1}, .finish = two_held);
SCENARIOS(last_frame_for_three, one_frame, .body = {take_1, take_1, take_1}, .finish = two_held);
SCENARIOS(one_of_two_stays_free, two_frames, .body = {take_and_give_1_twice, need_1}, .finish = two_held);
SCENARIOS(one_of_three_stays_free, three_frames, .body = {take_and_give_1, take_and_give_1, need_1},
          .finish = two_held);
SCENARIOS(one_of_two_chunks_stays_whole, two_chunks, .body = {take_and_give_huge, need_huge},
          .finish = one_held);

/* The frame that is not part of the long run is for thread 0 to give back; so many others are free. */
static void keep_one_beside(uint64_t free)
{
    one_chunk_with(1 + free);
    kept[0] = run_need(1);
}

static void full_but_one_kept(void)
{
    keep_one_beside(0);
}

static void one_frame_and_one_kept(void)
{
    keep_one_beside(1);
}

SCENARIOS(free_against_take, full_but_one_kept, .body = {give, take_1}, .finish = one_or_two_held);
SCENARIOS(free_and_a_race_for_it, full_but_one_kept, .body = {give_and_take_1, take_1}, .finish = two_held);
SCENARIOS(free_against_two_takers, one_frame_and_one_kept, .body = {give, take_1, take_1},
          .finish = two_or_three_held);

/* ---- Frees that make a chunk whole, and what breaks it again ------------------------------------------- */

static void two_halves(void)
{
    machine_start(1);
    kept[0] = run_need(CHUNK_FRAMES / 2);
    kept[1] = run_need(CHUNK_FRAMES / 2);
}

/* All is free but a frame for each of the two threads. */
static void two_singles(void)
{
    struct run *rest;

    machine_start(1);
    kept[0] = run_need(1);
    kept[1] = run_need(1);
    rest = run_need(CHUNK_FRAMES - 2);
    run_give(rest);
}

static void all_but_one(void)
{
    struct run *rest;

    machine_start(1);
    kept[0] = run_need(1);
    rest = run_need(CHUNK_FRAMES - 1);
    run_give(rest);
}

SCENARIOS(halves_make_a_chunk, two_halves, .body = {give, give}, .finish = none_held);
SCENARIOS(singles_make_a_chunk, two_singles, .body = {give, give}, .finish = none_held);
SCENARIOS(halves_against_huge, two_halves, .body = {give, give, take_huge}, .finish = none_or_one_held);
SCENARIOS(halves_then_huge, two_halves, .body = {give_and_take_huge, give_and_take_huge}, .finish = one_held);
SCENARIOS(singles_then_huge, two_singles, .body = {give_and_take_huge, give_and_take_huge},
          .finish = one_held);
SCENARIOS(made_whole_and_broken, all_but_one, .body = {give, need_1}, .finish = one_held);
SCENARIOS(made_whole_for_one_of_two, all_but_one, .body = {give_and_take_huge, take_1},
          .finish = one_or_two_held);

/* A frame changes hands while the chunk that it makes incomplete is being claimed. */
static struct run *passed;

static void all_but_one_to_pass(void)
{
    all_but_one();
    passed = NULL;
}

static void take_to_pass(void)
{
    passed = run_take(1);
}

static void give_passed(void)
{
    if (passed != NULL)
        run_give(passed);
}

SCENARIOS(made_whole_after_all, all_but_one_to_pass, .body = {give, take_to_pass, give_passed},
          .finish = none_or_one_held);

static void one_huge(void)
{
    machine_start(1);
    kept[0] = run_need(CHUNK_FRAMES);
}

SCENARIOS(huge_comes_back, one_huge, .body = {give, take_1}, .finish = none_or_one_held);
SCENARIOS(huge_comes_back_for_one_of_two, one_huge, .body = {give_and_take_huge, take_1}, .finish = one_held);

/* ---- Exact runs: several words of a bitmap, several chunks --------------------------------------------- */

static void take_100(void)
{
    (void)run_take(100);
}

static void take_70(void)
{
    (void)run_take(70);
}

static void take_300(void)
{
    (void)run_take(300);
}

static void frames_150(void)
{
    one_chunk_with(150);
}

SCENARIOS(one_of_two_hundreds, frames_150, .body = {take_100, take_100}, .finish = two_held);
SCENARIOS(hundred_and_single, frames_150, .body = {take_100, need_1}, .finish = two_or_three_held);
SCENARIOS(odd_runs, two_chunks, .body = {take_100, take_70}, .finish = two_held);
SCENARIOS(odd_runs_of_which_one_breaks_a_chunk, two_chunks, .body = {take_300, take_300}, .finish = two_held);

static void take_at_10(void)
{
    (void)run_take_at(10, 128);
}

static void take_at_130(void)
{
    (void)run_take_at(130, 20);
}

static void ragged(void)
{
    machine_start(1);
    (void)run_need_at(0, 4);
}

/* They have eight frames in common. */
SCENARIOS(given_frames_overlap, ragged, .body = {take_at_10, take_at_130}, .finish = two_held);
SCENARIOS(given_frames_against_single, ragged, .body = {take_at_10, need_1}, .finish = two_or_three_held);

static void take_600(void)
{
    (void)run_take(600);
}

SCENARIOS(long_run_against_single, two_chunks, .body = {take_600, need_1}, .finish = one_or_two_held);
SCENARIOS(one_of_two_long_runs, two_chunks, .body = {take_600, take_600}, .finish = one_held);
SCENARIOS(long_run_against_huge, two_chunks, .body = {take_600, take_huge}, .finish = one_or_two_held);

/* ---- Parts, and frees that must be refused ------------------------------------------------------------- */

static void parts_of(uint64_t count, uint64_t part)
{
    machine_start(1);
    kept[0] = run_need(count);
    kept[1] = run_split(kept[0], part);
}

static void parts_of_128(void)
{
    parts_of(128, 60);
}

static void parts_of_huge(void)
{
    parts_of(CHUNK_FRAMES, 200);
}

SCENARIOS(two_parts_of_a_run, parts_of_128, .body = {give, give}, .finish = none_held);
SCENARIOS(two_parts_of_a_chunk, parts_of_huge, .body = {give, give}, .finish = none_held);

static void run_to_give(uint64_t count)
{
    machine_start(1);
    given = 0;
    kept[0] = run_need(count);
}

static void single_to_give(void)
{
    run_to_give(1);
}

static void eighty_to_give(void)
{
    run_to_give(80);
}

static void huge_to_give(void)
{
    run_to_give(CHUNK_FRAMES);
}

static void try_give_1(void)
{
    given += run_try_give(kept[0], 1);
}

static void try_give_80(void)
{
    given += run_try_give(kept[0], 80);
}

static void try_give_huge(void)
{
    given += run_try_give(kept[0], CHUNK_FRAMES);
}

/* What was not refused at once is reported when it leaves the cache. */
static void one_given(void)
{
    frame_drain();
    EXPLORE_CHECK(given - explore_reports() == 1);
    machine_finish();
}

/* Both may be told that some frames were free already, when each was first with a part. */
static void run_given(void)
{
    frame_drain();
    EXPLORE_CHECK(given == 1 || explore_reports() > 0);
    if (given == 0)
        run_gone(kept[0], 80);
    machine_finish();
}

/* A single frame that is freed into two caches is reported; one that goes to its zone, refused or reported. */
static void single_to_give_at_once(void)
{
    machine_without_caches();
    single_to_give();
}

SCENARIO(frame, single_freed_twice, .setup = single_to_give, .body = {try_give_1, try_give_1},
         .finish = one_given, .misuse = true);
SCENARIO(frame, single_freed_twice_uncached, .setup = single_to_give_at_once,
         .body = {try_give_1, try_give_1}, .finish = one_given, .misuse = true);
SCENARIOS(run_freed_twice, eighty_to_give, .body = {try_give_80, try_give_80}, .finish = run_given,
          .misuse = true);
SCENARIOS(huge_freed_twice, huge_to_give, .body = {try_give_huge, try_give_huge}, .finish = one_given,
          .misuse = true);

/* Two frames of a chunk that the last free is making whole are freed again: the claimer has taken their bits, so it looks
 * as if they were not free. */
static void one_comes_back(void)
{
    struct run *rest;

    machine_start(1);
    kept[0] = run_need(1);
    rest = run_need(CHUNK_FRAMES - 1);
    run_give(rest);
    frame_drain();
}

static void free_two_again(void)
{
    given = machine_free(100, 2) == OK;
}

static void refused_or_reported(void)
{
    EXPLORE_CHECK(given == 0 || explore_reports() > 0);
    machine_finish();
}

UNCACHED(frame, double_free_while_made_whole, one_comes_back, .body = {give, free_two_again}, .finish = refused_or_reported,
         .misuse = true);

/* A frame that a run holds until it finds its end taken is freed meanwhile. */
static void hole_at_130(void)
{
    machine_start(1);
    (void)run_need_at(0, 40);
}

static void take_over_the_hole(void)
{
    (void)run_take_at(40, 100);
}

static void make_hole_free_50(void)
{
    if (run_take_at(130, 1) != NULL)
        (void)machine_free(50, 1);
}

UNCACHED(frame, double_free_of_what_is_held_in_vain, hole_at_130, .body = {take_over_the_hole, make_hole_free_50},
         .finish = machine_finish, .misuse = true);

/* A given frame that is free all the time, though its chunk becomes whole. */
static void need_at_100(void)
{
    (void)run_need_at(100, 1);
}

UNCACHED(frame, given_frame_while_made_whole, one_comes_back, .body = {give, need_at_100}, .finish = one_held);

/* ---- Hints --------------------------------------------------------------------------------------------- */

/* Frame 511 is free, 509 and 510 come back together: then there is a pair, and the chunk moves to another place while a
 * refill takes from where it was. */
static void pair_comes(void)
{
    struct run *one;

    machine_start(1);
    kept[1] = run_need(CHUNK_FRAMES);
    one = run_split(kept[1], 1);
    kept[1] = run_split(kept[1], 2);
    run_give(one);
    frame_drain();
}

SCENARIO(frame, refill_from_where_it_was, .setup = pair_comes, .body = {take_1, give}, .finish = machine_finish);

/* ---- Late memory --------------------------------------------------------------------------------------- */

#define HELD_FROM (CHUNK_FRAMES - MACHINE_HELD_BACK)

static void ragged_chunk(void)
{
    machine_start_ragged();
    given = 0;
    kept[1] = run_need(30);
}

static void release_half(void)
{
    EXPLORE_CHECK(machine_release(HELD_FROM + port_cpu() * MACHINE_HELD_BACK / 2, MACHINE_HELD_BACK / 2));
}

static void release_all(void)
{
    EXPLORE_CHECK(machine_release(HELD_FROM, MACHINE_HELD_BACK));
}

static void try_release_all(void)
{
    given += machine_release(HELD_FROM, MACHINE_HELD_BACK);
}

static void released_once(void)
{
    EXPLORE_CHECK(given == 1);
    machine_finish();
}

SCENARIOS(released_in_halves, ragged_chunk, .body = {release_half, release_half}, .finish = one_held);
SCENARIOS(released_twice, ragged_chunk, .body = {try_release_all, try_release_all}, .finish = released_once);
SCENARIOS(release_against_take, ragged_chunk, .body = {release_all, need_1}, .finish = two_held);
SCENARIOS(release_against_free, ragged_chunk, .body = {release_all, give}, .finish = none_held);
