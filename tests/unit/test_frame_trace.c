/* SPDX-License-Identifier: MIT
 *
 * The trace: what it records, in which order, what it forgets, and what its dump says.
 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include <mm/frame_metrics.h>
#include <mm/frame_info.h>
#include <mm/frame_trace.h>
#include <mm/port.h>

#include "frame_support.h"

/* The next event from *number on that is not about a chunk; false: there is none. */
static bool next_event(uint64_t *number, struct frame_event *event)
{
    struct frame_trace_state state;

    for (frame_trace_state(&state); *number < state.next; (*number)++) {
        if (frame_trace_read(*number, event) == OK && event->kind != FRAME_EVENT_BROKEN &&
            event->kind != FRAME_EVENT_WHOLE) {
            (*number)++;
            return true;
        }
    }
    return false;
}

TEST(trace, wrong_use_is_refused)
{
    uint64_t before = frame_free_count();
    struct frame_trace_state state;
    struct frame_trace_dumped dumped;
    struct frame_event event;

    CHECK_EQ(frame_trace_start(0, true), ERR_INVALID);
    CHECK_EQ(frame_trace_start(FRAME_TRACE_MIN / 2, true), ERR_INVALID);
    CHECK_EQ(frame_trace_start(FRAME_TRACE_MIN + 1, true), ERR_INVALID);
    CHECK_EQ(frame_trace_start(2 * FRAME_TRACE_MAX, true), ERR_INVALID);
    CHECK_EQ(frame_trace_stop(), ERR_NOT_FOUND);
    CHECK_EQ(frame_trace_read(0, &event), ERR_NOT_FOUND);
    CHECK_EQ(frame_trace_dump("test", NULL, &dumped), ERR_NOT_FOUND);
    frame_trace_state(&state);
    CHECK(!state.on);
    CHECK_RESTORED(before);
    CHECK_EQ(frame_trace_start(FRAME_TRACE_MIN, false), OK);
    CHECK_EQ(frame_trace_start(FRAME_TRACE_MIN, false), ERR_BUSY);
    CHECK_EQ(frame_trace_read(0, &event), ERR_NOT_FOUND);
    CHECK_EQ(frame_trace_dump("test", NULL, &dumped), ERR_NOT_FOUND); /* not of every call */
    frame_trace_state(&state);
    CHECK(state.on && !state.every_call && state.entries == FRAME_TRACE_MIN && state.next == 0);
    CHECK_EQ(frame_trace_stop(), OK);
    CHECK_RESTORED(before);
}

static bool is_event(uint64_t *number, enum frame_event_kind kind, pfn_t first, uint64_t count)
{
    struct frame_event event;

    return next_event(number, &event) && event.kind == kind && event.first.v == first.v && event.count == count &&
           event.cpu == port_cpu() && event.number == *number - 1;
}

TEST(trace, every_call_is_an_event)
{
    struct frame_request block = ANY_FRAMES(512), at = ANY_FRAMES(2);
    uint64_t before = frame_free_count(), number = 0;
    pfn_t one, run, big, again;
    struct frame_event event;

    if (frame_debug() != 0)
        SKIP("in debug mode wrong frees are refused before they are an event");
    block.align = 512;
    block.flags = FRAME_MOVABLE;
    CHECK_EQ(frame_trace_start(FRAME_TRACE_MIN, true), OK);
    CHECK_EQ(frame_alloc_one(0, &one), OK);
    CHECK_EQ(frame_alloc(&ANY_FRAMES(7), &run), OK);
    CHECK_EQ(frame_alloc(&block, &big), OK);
    CHECK_EQ(frame_free(run, 3), OK);
    CHECK_EQ(frame_free(run, 3), ERR_BUSY);
    at.flags = FRAME_AT;
    at.at = big;
    CHECK_EQ(frame_alloc(&at, &again), ERR_NO_MEMORY);
    CHECK_EQ(frame_free(pfn(run.v + 3), 4), OK);
    CHECK_EQ(frame_free(big, 512), OK);
    CHECK_EQ(frame_free(one, 1), OK);

    CHECK(is_event(&number, FRAME_EVENT_ALLOC, one, 1));
    CHECK(is_event(&number, FRAME_EVENT_ALLOC, run, 7));
    CHECK(next_event(&number, &event) && event.kind == FRAME_EVENT_ALLOC);
    CHECK(event.first.v == big.v && event.aligned && event.flags == FRAME_MOVABLE);
    CHECK(event.node < frame_topo()->node_count);
    CHECK(is_event(&number, FRAME_EVENT_FREE, run, 3));
    CHECK(is_event(&number, FRAME_EVENT_FREE_REFUSED, run, 3));
    CHECK(is_event(&number, FRAME_EVENT_ALLOC_FAILED, pfn(0), 2));
    CHECK(is_event(&number, FRAME_EVENT_FREE, pfn(run.v + 3), 4));
    CHECK(is_event(&number, FRAME_EVENT_FREE, big, 512));
    CHECK(is_event(&number, FRAME_EVENT_FREE, one, 1));
    CHECK(!next_event(&number, &event));
    CHECK_EQ(frame_trace_stop(), OK);
    CHECK_RESTORED(before);
}

/* With caches on, their dealings with the zone are what is to be seen. */
TEST(trace, caches_without_every_call)
{
    unsigned seen[FRAME_EVENT_KINDS] = {0};
    struct frame_event event;
    uint64_t number = 0;
    pfn_t frame;

    CHECK_EQ(frame_trace_start(FRAME_TRACE_MIN, false), OK);
    CHECK_EQ(frame_alloc_one(0, &frame), OK);
    CHECK_EQ(frame_free(frame, 1), OK);
    frame_drain();
    CHECK_EQ(frame_alloc_one(0, &frame), OK);
    CHECK_EQ(frame_free(frame, 1), OK);
    CHECK_EQ(frame_alloc_one(0, &frame), OK);
    CHECK_EQ(frame_free(frame, 1), OK);
    frame_drain();
    while (next_event(&number, &event))
        seen[event.kind] += event.kind != FRAME_EVENT_DRAIN || event.of_cpu == port_cpu();
    CHECK_EQ(frame_trace_stop(), OK);
    if (seen[FRAME_EVENT_ALLOC] == 3)
        SKIP("this CPU has no cache");
    CHECK_EQ(seen[FRAME_EVENT_ALLOC], 0);
    CHECK(seen[FRAME_EVENT_REFILL] > 0);
    CHECK_EQ(seen[FRAME_EVENT_DRAIN], 2);
}

static bool has_cache(void)
{
    struct frame_cpu_stats stats;

    frame_cpu_stats(port_cpu(), &stats);
    return stats.has_cache;
}

/* Off meanwhile, and afterwards as they were before. */
TEST(trace, caches_are_put_back)
{
    bool before = has_cache();

    frame_set_caching(true);
    if (!has_cache())
        SKIP("this CPU has no cache");
    CHECK_EQ(frame_trace_start(FRAME_TRACE_MIN, true), OK);
    CHECK(!has_cache());
    CHECK_EQ(frame_trace_stop(), OK);
    CHECK(has_cache());
    frame_set_caching(false);
    CHECK_EQ(frame_trace_start(FRAME_TRACE_MIN, true), OK);
    CHECK_EQ(frame_trace_stop(), OK);
    CHECK(!has_cache());
    frame_set_caching(before);
}

TEST(trace, old_events_are_overwritten)
{
    uint64_t before = frame_free_count();
    struct frame_trace_state state;
    struct frame_event event;
    pfn_t frame;

    CHECK_EQ(frame_trace_start(FRAME_TRACE_MIN, true), OK);
    for (unsigned i = 0; i < 300; i++) {
        CHECK_EQ(frame_alloc_one(0, &frame), OK);
        CHECK_EQ(frame_free(frame, 1), OK);
    }
    frame_trace_state(&state);
    CHECK(state.next >= 600 && state.oldest == state.next - FRAME_TRACE_MIN && state.dropped == 0);
    CHECK_EQ(frame_trace_read(state.oldest - 1, &event), ERR_NOT_FOUND);
    CHECK_EQ(frame_trace_read(state.next, &event), ERR_NOT_FOUND);
    for (uint64_t number = state.oldest; number < state.next; number++)
        CHECK(frame_trace_read(number, &event) == OK && event.number == number);
    CHECK_EQ(frame_trace_stop(), OK);
    CHECK_RESTORED(before);
}

/* ---- Order --------------------------------------------------------------------------------------------- */

#define STORM_ENTRIES 1024u

static void pairs(void *context, unsigned index)
{
    _Atomic unsigned *failed = context;
    uint64_t seed = 5 + index;
    pfn_t held[4];

    for (unsigned i = 0; i < ROUNDS(60, 2000); i++) {
        uint64_t count = 1 + test_random(&seed) % 3;

        for (unsigned j = 0; j < ARRAY_LEN(held); j++)
            atomic_fetch_add(failed, frame_alloc(&ANY_FRAMES(count), &held[j]) != OK);
        for (unsigned j = 0; j < ARRAY_LEN(held); j++)
            atomic_fetch_add(failed, frame_free(held[j], count) != OK);
    }
}

/* The last event before `number` that has to do with a frame must be of the other kind, or be lost. */
static bool in_order(uint64_t oldest, const struct frame_event *event)
{
    struct frame_event other;

    for (uint64_t number = event->number; number-- > oldest;) {
        if (frame_trace_read(number, &other) != OK)
            return true;
        if ((other.kind == FRAME_EVENT_ALLOC || other.kind == FRAME_EVENT_FREE) &&
            other.first.v < event->first.v + event->count && event->first.v < other.first.v + other.count)
            return other.kind != event->kind;
    }
    return true;
}

TEST(trace, storm_is_recorded_in_order)
{
    static _Atomic unsigned failed;
    uint64_t before = frame_free_count(), wrong = 0, seen = 0;
    struct frame_trace_state state;
    struct frame_event event;

    atomic_store(&failed, 0);
    CHECK_EQ(frame_trace_start(STORM_ENTRIES, true), OK);
    test_parallel(test_cpus(), pairs, &failed);
    frame_trace_state(&state);
    for (uint64_t number = state.oldest; number < state.next; number++) {
        if (frame_trace_read(number, &event) != OK)
            continue;
        seen++;
        if (event.kind == FRAME_EVENT_ALLOC || event.kind == FRAME_EVENT_FREE)
            wrong += !in_order(state.oldest, &event);
    }
    CHECK_EQ(frame_trace_stop(), OK);
    CHECK_EQ(atomic_load(&failed), 0);
    CHECK_EQ(wrong, 0);
    CHECK(seen + state.dropped >= min_u64(state.next, STORM_ENTRIES));
    CHECK_RESTORED(before);
}

static void toggle(void *context, unsigned index)
{
    _Atomic unsigned *failed = context;

    if (index > 0) {
        pairs(context, index);
        return;
    }
    for (unsigned i = 0; i < ROUNDS(20, 200); i++)
        atomic_fetch_add(failed, frame_trace_start(FRAME_TRACE_MIN, i % 2) != OK || frame_trace_stop() != OK);
}

/* The ring's memory goes back while other CPUs are about to write to it. */
TEST(trace, on_and_off_under_load)
{
    static _Atomic unsigned failed;
    uint64_t before = frame_free_count();

    atomic_store(&failed, 0);
    test_parallel(test_cpus(), toggle, &failed);
    CHECK_EQ(atomic_load(&failed), 0);
    CHECK_RESTORED(before);
}

/* ---- The dump ------------------------------------------------------------------------------------------ */

#define IDS 16

/* What a page trace says of who holds what. */
static struct {
    struct {
        uint64_t id, count;
        bool held[8]; /* runs have at most so many frames here */
    } run[IDS];
    unsigned runs, strangers, wrong;
    bool header, end;
} live;

static uint64_t read_number(const char **text)
{
    uint64_t value = 0;

    while (**text == ' ')
        (*text)++;
    for (; **text >= '0' && **text <= '9'; (*text)++)
        value = value * 10 + (uint64_t)(**text - '0');
    return value;
}

static void live_alloc(const char *text, bool by_order)
{
    uint64_t id = read_number(&text), count = read_number(&text);

    count = by_order ? UINT64_C(1) << count : count;
    if (live.runs == IDS || count > ARRAY_LEN(live.run[0].held)) {
        live.wrong++;
        return;
    }
    live.run[live.runs].id = id;
    live.run[live.runs].count = count;
    for (unsigned i = 0; i < ARRAY_LEN(live.run[0].held); i++)
        live.run[live.runs].held[i] = i < count;
    live.runs++;
}

static void live_free(const char *text)
{
    uint64_t id = read_number(&text), cpu = read_number(&text), from = read_number(&text), count = read_number(&text);
    unsigned run = 0;

    (void)cpu;
    while (run < live.runs && live.run[run].id != id)
        run++;
    if (run == live.runs) {
        live.strangers++;
        return;
    }
    for (uint64_t i = from; i < from + (count != 0 ? count : live.run[run].count); i++) {
        live.wrong += i >= live.run[run].count || !live.run[run].held[i];
        live.run[run].held[i % ARRAY_LEN(live.run[0].held)] = false;
    }
}

static PRINTF(1, 2) void live_line(const char *format, ...)
{
    char line[96];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (line[0] == 'A' || line[0] == 'R')
        live_alloc(line + 1, line[0] == 'A');
    else if (line[0] == 'F')
        live_free(line + 1);
    else if (!live.header)
        live.header = memcmp(line, "# page-trace-1 test partial\n", 28) == 0;
    else
        live.end = true;
}

/* Frames that the dump holds and that the event of that id handed out. */
static bool dump_holds(pfn_t frame)
{
    for (unsigned i = 0; i < live.runs; i++) {
        struct frame_event event;

        if (frame_trace_read(live.run[i].id, &event) == OK && frame.v - event.first.v < event.count &&
            live.run[i].held[frame.v - event.first.v])
            return true;
    }
    return false;
}

static uint64_t dump_live(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < live.runs; i++) {
        for (uint64_t j = 0; j < live.run[i].count; j++)
            sum += live.run[i].held[j];
    }
    return sum;
}

TEST(trace, dump_has_the_same_live_set)
{
    uint64_t before = frame_free_count(), held = 0;
    struct frame_trace_dumped dumped;
    pfn_t older, run[6];

    memset(&live, 0, sizeof(live));
    CHECK_EQ(frame_alloc(&ANY_FRAMES(5), &older), OK);
    CHECK_EQ(frame_trace_start(FRAME_TRACE_MIN, true), OK);
    for (unsigned i = 0; i < 6; i++)
        CHECK_EQ(frame_alloc(&ANY_FRAMES(i + 1), &run[i]), OK);
    CHECK_EQ(frame_free(run[0], 1), OK);
    CHECK_EQ(frame_free(pfn(run[5].v + 1), 2), OK);        /* a part */
    CHECK_EQ(frame_free(pfn(run[4].v + 3), 2), OK);
    CHECK_EQ(frame_free(run[4], 3), OK);                   /* the rest */
    CHECK_EQ(frame_free(older, 5), OK);                    /* from before the trace */
    CHECK_EQ(frame_alloc(&ANY_FRAMES(1), &run[0]), OK);    /* likely frames that were in use before */
    CHECK_EQ(frame_trace_dump("test", live_line, &dumped), OK);
    CHECK_EQ(dumped.allocs, 7);
    CHECK_EQ(dumped.frees, 5);
    CHECK_EQ(dumped.lost, 0);
    CHECK(live.header && live.end);
    CHECK_EQ(live.wrong, 0);
    CHECK_EQ(live.strangers, 1);
    CHECK_EQ(dump_live(), 1 + 2 + 3 + 4 + 4);
    for (unsigned i = 0; i < 6; i++) {
        for (uint64_t j = 0; i != 4 && j < i + 1; j++) {
            if (i == 5 && (j == 1 || j == 2))
                continue;
            CHECK(dump_holds(pfn(run[i].v + j)));
            held++;
            CHECK_EQ(frame_free(pfn(run[i].v + j), 1), OK);
        }
    }
    CHECK_EQ(held, 14);
    CHECK_EQ(frame_trace_stop(), OK);
    CHECK_RESTORED(before);
}

/* A free of frames that two allocations had, the later of them inside what the earlier had given back. */
TEST(trace, dump_of_a_free_over_two_allocations)
{
    struct frame_request at = ANY_FRAMES(2);
    uint64_t before = frame_free_count();
    struct frame_trace_dumped dumped;
    pfn_t run, inner;

    if (frame_debug() != 0)
        SKIP("in debug mode such a free is refused");
    memset(&live, 0, sizeof(live));
    CHECK_EQ(frame_trace_start(FRAME_TRACE_MIN, true), OK);
    CHECK_EQ(frame_alloc(&ANY_FRAMES(8), &run), OK);
    CHECK_EQ(frame_free(pfn(run.v + 3), 2), OK);
    at.flags = FRAME_AT;
    at.at = pfn(run.v + 3);
    CHECK_EQ(frame_alloc(&at, &inner), OK);
    CHECK_EQ(frame_free(run, 7), OK); /* three, the other's two, and two more */
    CHECK_EQ(frame_trace_dump("test", live_line, &dumped), OK);
    CHECK_EQ(dumped.allocs, 2);
    CHECK_EQ(dumped.frees, 4);
    CHECK_EQ(live.wrong + live.strangers, 0);
    CHECK_EQ(dump_live(), 1);
    CHECK(dump_holds(pfn(run.v + 7)));
    CHECK_EQ(frame_free(pfn(run.v + 7), 1), OK);
    CHECK_EQ(frame_trace_stop(), OK);
    CHECK_RESTORED(before);
}
