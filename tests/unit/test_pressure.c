/* SPDX-License-Identifier: MIT
 *
 * Watermarks, reclaim and protection. A zone that is large enough gets marks of its own for the time of a test, just
 * below what is free in it, and is then consumed step by step.
 */
#include <mm/frame_pressure.h>
#include <mm/frame_reserve.h>
#include <mm/port.h>

#include "frame_support.h"

#define CRITICAL 64u
#define STEP     64u /* between marks */

static struct stage {
    unsigned zone;
    struct frame_request request; /* of one frame of this zone */
    struct frame_pressure_event event[32];
    unsigned events;
    struct chain chain;

    /* What the reclaimer sees and does. */
    unsigned calls;
    frame_pressure_t pressure;
    uint64_t wanted;
    uint64_t gives; /* frames for each call */
    bool allocates, recursed;
} stage;

static void observe(void *context, const struct frame_pressure_event *event)
{
    struct stage *to = context;

    if (event->zone == to->zone && to->events < ARRAY_LEN(to->event))
        to->event[to->events++] = *event;
}

static uint64_t free_here(void)
{
    struct frame_pressure_info info;

    frame_pressure_info(stage.zone, &info);
    return info.free;
}

static frame_pressure_t level_here(void)
{
    struct frame_pressure_info info;

    frame_pressure_info(stage.zone, &info);
    return info.level;
}

/* Chooses the mapped zone with most free frames, leaves `free` of them and sets the marks. */
static bool stage_begin(uint64_t free)
{
    const struct frame_watermarks marks = {
        .high = CRITICAL + 3 * STEP, .low = CRITICAL + 2 * STEP, .min = CRITICAL + STEP, .critical = CRITICAL};
    struct frame_zone_info info;
    uint64_t most = 0;

    stage = (struct stage){.request = ANY_FRAMES(1)};
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_pressure_info pressure;

        frame_zone_info(i, &info);
        frame_pressure_info(i, &pressure);
        if (info.kind <= ZONE_NORMAL && pressure.free > most) {
            stage.zone = i;
            most = pressure.free;
        }
    }
    if (most < free)
        return false;
    frame_set_caching(false); /* each call is seen */
    frame_zone_info(stage.zone, &info);
    stage.request.node = info.node;
    stage.request.zone = info.kind;
    stage.request.flags = FRAME_THIS_NODE | FRAME_THIS_ZONE;
    for (unsigned order = FRAME_ORDERS; order-- > 0;) {
        struct frame_request request = stage.request;
        pfn_t first;

        request.count = UINT64_C(1) << order;
        while (free_here() >= free + request.count && frame_alloc(&request, &first) == OK)
            chain_push(&stage.chain, first, request.count);
    }
    frame_pressure_observe(observe, &stage);
    return frame_watermarks_set(stage.zone, &marks) == OK && free_here() == free;
}

static bool stage_end(void)
{
    frame_pressure_observe(NULL, NULL);
    chain_free_all(&stage.chain);
    if (frame_reclaim_register(NULL, NULL) != OK || frame_watermarks_set(stage.zone, NULL) != OK)
        return false;
    frame_set_caching(true);
    return !stage.chain.damaged && stage.events < ARRAY_LEN(stage.event);
}

static bool take_one(void)
{
    pfn_t frame;

    if (frame_alloc(&stage.request, &frame) != OK)
        return false;
    chain_push(&stage.chain, frame, 1);
    return true;
}

/* Consumes or gives back single frames until so many are free. */
static bool go_to(uint64_t free)
{
    while (free_here() > free) {
        if (!take_one())
            return false;
    }
    while (free_here() < free && stage.chain.top != NULL)
        chain_pop(&stage.chain);
    return free_here() == free;
}

/* Gives back what the stage holds, which is what it was asked to take. */
static uint64_t reclaim(void *context, uint16_t node, frame_pressure_t pressure, uint64_t wanted)
{
    struct stage *from = context;
    uint64_t before = from->chain.frames;

    if (node != from->request.node)
        return 0;
    from->calls++;
    from->pressure = pressure;
    from->wanted = wanted;
    if (from->allocates) { /* fails, and must not come here again */
        struct frame_request request = from->request;
        pfn_t frame;

        request.count = CHUNK_FRAMES;
        from->recursed |= frame_alloc(&request, &frame) == OK || from->calls != 1;
        from->recursed |= frame_reclaim_register(NULL, NULL) != ERR_BUSY;
    }
    while (from->chain.top != NULL && before - from->chain.frames < min_u64(wanted, from->gives))
        chain_pop(&from->chain);
    return before - from->chain.frames;
}

#define STAGE(free)                                                                                          \
    do {                                                                                                     \
        if (!stage_begin(free)) {                                                                            \
            (void)stage_end();                                                                               \
            SKIP("no zone is large enough");                                                                 \
        }                                                                                                    \
    } while (0)

/* ---- Marks ----------------------------------------------------------------------------------------------- */

TEST(pressure, marks_are_in_order_and_small)
{
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_pressure_info info;
        struct frame_zone_stats stats;

        frame_pressure_info(i, &info);
        frame_zone_stats(i, &stats);
        CHECK_EQ(info.free, stats.free);
        if (info.marks.high == 0) {
            CHECK_EQ(info.marks.low + info.marks.min + info.marks.critical, 0);
            continue;
        }
        CHECK(info.marks.high > info.marks.low && info.marks.low > info.marks.min);
        CHECK(info.marks.min > info.marks.critical && info.marks.critical > 0);
        CHECK(info.marks.high <= stats.managed / 16);
    }
}

TEST(pressure, wrong_marks_are_refused)
{
    const struct frame_watermarks bad[] = {
        {.high = 3, .low = 3, .min = 2, .critical = 1}, {.high = 4, .low = 2, .min = 2, .critical = 1},
        {.high = 4, .low = 3, .min = 1, .critical = 1}, {.high = 0, .low = 1, .min = 0, .critical = 0}};
    struct frame_pressure_info before, after;

    frame_pressure_info(0, &before);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_EQ(frame_watermarks_set(0, &bad[i]), ERR_INVALID);
    frame_pressure_info(0, &after);
    CHECK_EQ(after.marks.high, before.marks.high);
    CHECK_EQ(after.marks.critical, before.marks.critical);
}

/* A consumer frame by frame: low, min, critical, each told once at its mark. On the way back nothing until high. */
TEST(pressure, events_in_order_and_stop_at_high)
{
    static const frame_pressure_t level[] = {FRAME_PRESSURE_LOW, FRAME_PRESSURE_MIN, FRAME_PRESSURE_CRITICAL};
    uint64_t before = frame_free_count();
    const uint64_t high = CRITICAL + 3 * STEP;
    bool good = true;

    STAGE(high + 10);
    good &= go_to(1);
    good &= stage.events == ARRAY_LEN(level);
    for (unsigned i = 0; i < ARRAY_LEN(level) && good; i++) {
        good &= stage.event[i].level == level[i];
        good &= stage.event[i].free == CRITICAL + (2 - i) * STEP - 1;
    }
    good &= go_to(high - 1) && level_here() == FRAME_PRESSURE_CRITICAL && stage.events == 3;
    good &= go_to(high) && level_here() == FRAME_PRESSURE_NONE && stage.events == 4;
    good &= stage.event[3].level == FRAME_PRESSURE_NONE && stage.event[3].free == high;
    /* Between low and high on the way down: nothing. */
    good &= go_to(CRITICAL + 2 * STEP) && stage.events == 4;
    good &= go_to(CRITICAL + 2 * STEP - 1) && stage.events == 5 && stage.event[4].level == FRAME_PRESSURE_LOW;
    CHECK(stage_end());
    CHECK(good);
    CHECK_RESTORED(before);
}

/* Where all marks are passed at once each level is told all the same, in order. */
TEST(pressure, a_large_step_tells_each_level)
{
    uint64_t before = frame_free_count(), free = CRITICAL + 3 * STEP;
    const struct frame_watermarks above = {
        .high = free + 4, .low = free + 3, .min = free + 2, .critical = free + 1};
    bool good = true;

    STAGE(free);
    good &= frame_watermarks_set(stage.zone, &above) == OK && stage.events == 3;
    for (unsigned i = 0; i < 3; i++)
        good &= stage.event[i].level == FRAME_PRESSURE_LOW + i && stage.event[i].free == free;
    CHECK(stage_end());
    CHECK(good);
    CHECK_RESTORED(before);
}

/* Speculative requests are refused from min on, until high is reached again; others are not. */
TEST(pressure, speculative_requests_are_refused_at_min)
{
    uint64_t before = frame_free_count();
    const uint64_t min = CRITICAL + STEP, high = CRITICAL + 3 * STEP;
    struct frame_request request;
    bool good = true;
    pfn_t frame;

    STAGE(high);
    request = stage.request;
    request.flags |= FRAME_SPECULATIVE;
    good &= go_to(min + 1) && frame_alloc(&request, &frame) == OK; /* the last above min */
    chain_push(&stage.chain, frame, 1);
    good &= free_here() == min && frame_alloc(&request, &frame) == ERR_NO_MEMORY;
    good &= take_one() && level_here() == FRAME_PRESSURE_MIN;
    good &= frame_alloc(&request, &frame) == ERR_NO_MEMORY && take_one();
    good &= go_to(high - 1) && frame_alloc(&request, &frame) == ERR_NO_MEMORY;
    good &= go_to(high) && frame_alloc(&request, &frame) == OK;
    chain_push(&stage.chain, frame, 1);
    CHECK(stage_end());
    CHECK(good);
    CHECK_RESTORED(before);
}

/* ---- Reclaim --------------------------------------------------------------------------------------------- */

/* Above critical nobody calls the reclaimer but who has time; below it, whoever allocates does. */
TEST(pressure, critical_reclaims_at_once)
{
    uint64_t before = frame_free_count();
    const uint64_t high = CRITICAL + 3 * STEP;
    bool good = true;

    STAGE(high);
    stage.gives = UINT64_MAX;
    good &= frame_reclaim_register(reclaim, &stage) == OK;
    good &= frame_reclaim_register(reclaim, &stage) == ERR_BUSY;
    good &= go_to(CRITICAL) && stage.calls == 0 && level_here() == FRAME_PRESSURE_MIN;
    good &= take_one() && stage.calls == 1;
    good &= stage.pressure == FRAME_PRESSURE_CRITICAL && stage.wanted == high - CRITICAL + 1;
    good &= free_here() == high; /* and no more than that */
    CHECK(stage_end());
    CHECK(good);
    CHECK_RESTORED(before);
}

/* In the background from low on, with the level as argument, until high. */
TEST(pressure, background_reclaims_until_high)
{
    uint64_t before = frame_free_count();
    const uint64_t high = CRITICAL + 3 * STEP, low = CRITICAL + 2 * STEP, min = CRITICAL + STEP;
    struct frame_reclaim_info old, new;
    bool good = true;

    STAGE(high);
    frame_reclaim_info(&old);
    stage.gives = 2 * STEP;
    good &= frame_reclaim_register(reclaim, &stage) == OK;
    (void)frame_reclaim_background();
    good &= go_to(low) && frame_reclaim_background() == 0 && stage.calls == 0;
    good &= take_one() && frame_reclaim_background() == STEP + 1 && stage.calls == 1;
    good &= stage.pressure == FRAME_PRESSURE_LOW && free_here() == high;
    good &= frame_reclaim_background() == 0 && stage.calls == 1;
    good &= go_to(min - 1) && frame_reclaim_background() == 2 * STEP + 1;
    good &= stage.calls == 3 && free_here() == high; /* the first gave 2 × STEP */
    good &= level_here() == FRAME_PRESSURE_NONE;
    good &= go_to(min - 1) && stage.calls == 3;
    stage.gives = 1;
    good &= frame_reclaim_background() == FRAME_BACKGROUND_ROUNDS && stage.pressure == FRAME_PRESSURE_MIN;
    stage.gives = UINT64_MAX; /* what was left waits for the next call */
    good &= frame_reclaim_background() == high - (min - 1) - FRAME_BACKGROUND_ROUNDS && free_here() == high;
    frame_reclaim_info(&new);
    good &= new.background - old.background == stage.calls && new.direct == old.direct;
    CHECK(stage_end());
    CHECK(good);
    CHECK_RESTORED(before);
}

/* A reclaimer that has nothing is asked once, and again only after another allocation. */
TEST(pressure, background_gives_up_without_progress)
{
    uint64_t before = frame_free_count();
    bool good = true;

    STAGE(CRITICAL + 3 * STEP);
    good &= frame_reclaim_register(reclaim, &stage) == OK;
    good &= go_to(CRITICAL + STEP) && frame_reclaim_background() == 0 && stage.calls == 1;
    good &= frame_reclaim_background() == 0 && stage.calls == 1;
    good &= take_one() && frame_reclaim_background() == 0 && stage.calls == 2;
    CHECK(stage_end());
    CHECK(good);
    CHECK_RESTORED(before);
}

/* Without marks: a request that would fail is served with what the reclaimer gives, a long one too. */
TEST(pressure, failing_requests_reclaim)
{
    uint64_t before = frame_free_count();
    bool good = true;
    pfn_t first;

    STAGE(CRITICAL + 3 * STEP);
    good &= frame_watermarks_set(stage.zone, &(struct frame_watermarks){0}) == OK;
    good &= go_to(0) && !take_one();
    good &= frame_reclaim_register(reclaim, &stage) == OK;
    good &= !take_one() && stage.calls == 1; /* it gives nothing, and is asked once */
    stage.gives = 1;
    good &= take_one() && stage.calls == 2 && stage.wanted == 1 && free_here() == 0;
    good &= stage.pressure == FRAME_PRESSURE_CRITICAL;
    stage.gives = UINT64_MAX;
    stage.request.count = 100; /* up to eight calls of 100 frames each, which may not adjoin: served or not */
    if (frame_alloc(&stage.request, &first) == OK)
        chain_push(&stage.chain, first, 100);
    good &= stage.calls >= 3 && stage.calls <= 10;
    CHECK(stage_end());
    CHECK(good);
    CHECK_RESTORED(before);
}

/* Given frames, runs beyond a chunk, speculative requests and those of handlers and reclaimers never reclaim. */
TEST(pressure, who_does_not_reclaim)
{
    uint64_t before = frame_free_count(), reserved = frame_reserved();
    struct frame_request request;
    bool good = true;
    pfn_t first;

    STAGE(CRITICAL + 3 * STEP);
    stage.gives = UINT64_MAX;
    good &= frame_reclaim_register(reclaim, &stage) == OK;
    good &= go_to(CRITICAL);
    request = stage.request;
    request.count = UINT64_C(1) << 20;
    good &= frame_alloc(&request, &first) == ERR_NO_MEMORY;
    request = stage.request;
    request.flags |= FRAME_SPECULATIVE;
    good &= frame_alloc(&request, &first) == ERR_NO_MEMORY;
    request = stage.request;
    request.flags = FRAME_AT;
    request.at = pfn_of(port_virt_to_phys(stage.chain.top));
    good &= frame_alloc(&request, &first) == ERR_NO_MEMORY;
    for (unsigned class = FRAME_RESERVE_INTERRUPT; class < FRAME_RESERVE_CLASSES; class++) {
        request = ANY_FRAMES(1);
        request.node = stage.request.node;
        request.reserve = (frame_reserve_t)class;
        good &= frame_alloc(&request, &first) == OK;
        chain_push(&stage.chain, first, 1);
    }
    good &= stage.calls == 0;
    CHECK(stage_end());
    CHECK(good);
    CHECK_RESTORED(before);
    CHECK_EQ(frame_reserved(), reserved);
}

/* What a reclaimer allocates does not call it again, even where it fails; and it cannot remove itself. */
TEST(pressure, no_recursion)
{
    uint64_t before = frame_free_count();
    bool good = true;

    STAGE(CRITICAL + 3 * STEP);
    stage.gives = 1;
    stage.allocates = true;
    good &= frame_reclaim_register(reclaim, &stage) == OK;
    good &= go_to(CRITICAL) && stage.calls == 0;
    good &= take_one() && stage.calls == 1 && !stage.recursed;
    CHECK(stage_end());
    CHECK(good);
    CHECK_RESTORED(before);
}

/* A reclaimer that needs a frame to free more: only its reserve has one. */
static uint64_t reclaim_with_reserve(void *context, uint16_t node, frame_pressure_t pressure, uint64_t wanted)
{
    struct chain *held = context;
    struct frame_request request = ANY_FRAMES(1);
    uint64_t freed = 0;
    pfn_t frame;

    (void)node, (void)pressure, (void)wanted;
    request.reserve = FRAME_RESERVE_RECLAIM;
    if (held->top == NULL || frame_alloc(&request, &frame) != OK)
        return 0;
    for (; freed < 4 && held->top != NULL; freed++)
        chain_pop(held);
    return frame_free(frame, 1) == OK ? freed : 0;
}

static uint64_t taken_for_reclaim(void)
{
    uint64_t taken = 0;

    for (uint16_t node = 0; node < frame_topo()->node_count; node++) {
        struct frame_reserve_info info;

        frame_reserve_info(node, FRAME_RESERVE_RECLAIM, &info);
        taken += info.taken;
    }
    return taken;
}

/* Every frame is held; who asks gets one although there is none, and the reserves are full again in the end. */
TEST(pressure, the_reclaimer_runs_on_its_reserve)
{
    uint64_t before = frame_free_count(), reserved = frame_reserved();
    struct chain all = {0}, held = {0}, got = {0};
    uint64_t taken = taken_for_reclaim();
    bool good = true;
    pfn_t frame;

    for (unsigned i = 0; i < 64 && frame_alloc_one(0, &frame) == OK; i++)
        chain_push(&held, frame, 1);
    chain_take_all(&all, ANY_FRAMES(1), FRAME_ORDERS - 1);
    good &= frame_reclaim_register(reclaim_with_reserve, &held) == OK;
    for (unsigned i = 0; i < 16 && frame_alloc_one(0, &frame) == OK; i++)
        chain_push(&got, frame, 1);
    good &= frame_reclaim_register(NULL, NULL) == OK;
    good &= got.runs == 16;
    chain_free_all(&got);
    chain_free_all(&held);
    chain_free_all(&all);
    CHECK(good && !all.damaged && !got.damaged && !held.damaged);
    CHECK(taken_for_reclaim() > taken);
    CHECK_RESTORED(before);
    CHECK_EQ(frame_reserved(), reserved);
}

/* ---- Protection ------------------------------------------------------------------------------------------ */

/* What a request for a higher zone must leave in a lower one, those that name it or have a limit inside may take. */
TEST(pressure, lower_zones_are_protected)
{
    uint64_t before = frame_free_count();
    bool tried = false;

    for (unsigned i = 0; i + 1 < frame_zone_count(); i++) {
        struct frame_zone_info low, high;
        struct frame_pressure_info pressure;
        struct frame_request request = ANY_FRAMES(1);
        struct chain chain = {0};
        uint64_t kept;
        pfn_t frame;

        frame_zone_info(i, &low);
        frame_zone_info(i + 1, &high);
        frame_pressure_info(i, &pressure);
        kept = pressure.protect[high.kind];
        if (low.node != high.node || high.kind > ZONE_NORMAL || kept == 0 || pressure.free <= kept)
            continue;
        tried = true;
        frame_set_caching(false);
        request.node = high.node;
        request.zone = high.kind;
        request.flags = FRAME_THIS_NODE;
        for (unsigned order = FRAME_ORDERS; order-- > 0;) {
            request.count = UINT64_C(1) << order;
            while (frame_alloc(&request, &frame) == OK)
                chain_push(&chain, frame, request.count);
        }
        frame_pressure_info(i, &pressure);
        bool exact = pressure.free == kept;
        request.zone = low.kind;
        bool named = frame_alloc(&request, &frame) == OK && frame_free(frame, 1) == OK;
        request.zone = high.kind;
        request.limit = high.start.v * FRAME_SIZE;
        bool limited = frame_alloc(&request, &frame) == OK && frame_free(frame, 1) == OK;
        request.limit = (high.start.v + 1) * FRAME_SIZE;
        bool refused = frame_alloc(&request, &frame) == ERR_NO_MEMORY;
        frame_set_caching(true);
        chain_free_all(&chain);
        CHECK(!chain.damaged);
        CHECK(exact);
        CHECK(named && limited && refused);
    }
    CHECK_RESTORED(before);
    if (!tried)
        SKIP("no node has a zone with protection");
}
