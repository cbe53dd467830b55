/* SPDX-License-Identifier: MIT
 *
 * Watermarks, reclaim and protection. A zone that is large enough gets marks of its own for the time of a test, just
 * below what is free in it, and is then consumed step by step.
 */
#include <stdatomic.h>

#include <mm/frame_pressure.h>
#include <mm/frame_reserve.h>
#include <mm/port.h>

#include "frame_support.h"

#define STEP 64u

enum { CRITICAL = STEP, MIN = 2 * STEP, LOW = 3 * STEP, HIGH = 4 * STEP }; /* the stage's marks */

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
    const struct frame_watermarks marks = {.high = HIGH, .low = LOW, .min = MIN, .critical = CRITICAL};
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
    if (frame_watermarks_set(stage.zone, &marks) != OK || free_here() != free)
        return false;
    frame_pressure_observe(observe, &stage);
    return true;
}

static bool stage_end(void)
{
    frame_pressure_observe(NULL, NULL);
    chain_free_all(&stage.chain);
    if (frame_watermarks_set(stage.zone, NULL) != OK)
        return false;
    frame_set_caching(true);
    return !stage.chain.damaged && stage.events < ARRAY_LEN(stage.event);
}

static bool take_like(const struct frame_request *request)
{
    pfn_t first;

    if (frame_alloc(request, &first) != OK)
        return false;
    chain_push(&stage.chain, first, request->count);
    return true;
}

static bool take_one(void)
{
    return take_like(&stage.request);
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

/* Plays a scene on one CPU while the others stay busy, since an idle one would reclaim in the background, and removes
 * its reclaimer. */
static struct {
    bool (*scene)(void);
    _Atomic unsigned busy;
    _Atomic bool good, over;
} play;

static void take_part(void *context, unsigned index)
{
    (void)context;
    atomic_fetch_add(&play.busy, 1);
    if (index == 0) {
        while (atomic_load(&play.busy) < test_cpus()) /* bound: all are on their way */
            port_cpu_relax();
        bool good = play.scene();

        good &= frame_reclaim_register(NULL, NULL) == OK;
        atomic_store(&play.good, good);
        atomic_store(&play.over, true);
    }
    while (!atomic_load(&play.over)) /* bound: the scene */
        port_cpu_relax();
}

static bool alone(bool (*scene)(void))
{
    play.scene = scene;
    atomic_store(&play.over, false);
    atomic_store(&play.busy, 0);
    test_parallel(test_cpus(), take_part, NULL);
    return atomic_load(&play.good);
}

#define PLAY(free, scene)                                                                                    \
    do {                                                                                                     \
        uint64_t before_ = frame_free_count(), reserved_ = frame_reserved();                                 \
        bool ready_ = stage_begin(free), good_ = ready_ && alone(scene);                                     \
        CHECK(stage_end());                                                                                  \
        if (!ready_)                                                                                         \
            SKIP("no zone is large enough");                                                                 \
        CHECK(good_);                                                                                        \
        CHECK_RESTORED(before_);                                                                             \
        CHECK_EQ(frame_reserved(), reserved_);                                                               \
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
static bool scene_events_in_order_and_stop_at_high(void)
{
    static const frame_pressure_t level[] = {FRAME_PRESSURE_LOW, FRAME_PRESSURE_MIN, FRAME_PRESSURE_CRITICAL};
    bool good = true;

    good &= go_to(1);
    good &= stage.events == ARRAY_LEN(level);
    for (unsigned i = 0; i < ARRAY_LEN(level) && good; i++) {
        good &= stage.event[i].level == level[i];
        good &= stage.event[i].free == CRITICAL + (2 - i) * STEP - 1;
    }
    good &= go_to(HIGH - 1) && level_here() == FRAME_PRESSURE_CRITICAL && stage.events == 3;
    good &= go_to(HIGH) && level_here() == FRAME_PRESSURE_NONE && stage.events == 4;
    good &= stage.event[3].level == FRAME_PRESSURE_NONE && stage.event[3].free == HIGH;
    /* Between low and high on the way down: nothing. */
    good &= go_to(LOW) && stage.events == 4;
    good &= go_to(LOW - 1) && stage.events == 5 && stage.event[4].level == FRAME_PRESSURE_LOW;
    return good;
}

TEST(pressure, events_in_order_and_stop_at_high)
{
    PLAY(HIGH + 10, scene_events_in_order_and_stop_at_high);
}

/* Where all marks are passed at once each level is told all the same, in order. */
static bool scene_a_large_step_tells_each_level(void)
{
    const struct frame_watermarks above = {
        .high = HIGH + 4, .low = HIGH + 3, .min = HIGH + 2, .critical = HIGH + 1};
    bool good = true;

    good &= frame_watermarks_set(stage.zone, &above) == OK && stage.events == 3;
    for (unsigned i = 0; i < 3; i++)
        good &= stage.event[i].level == FRAME_PRESSURE_LOW + i && stage.event[i].free == HIGH;
    return good;
}

TEST(pressure, a_large_step_tells_each_level)
{
    PLAY(HIGH, scene_a_large_step_tells_each_level);
}

/* Speculative requests are refused from min on, until high is reached again; others are not. */
static bool scene_speculative_requests_are_refused_at_min(void)
{
    struct frame_request request;
    bool good = true;
    pfn_t frame;

    request = stage.request;
    request.flags |= FRAME_SPECULATIVE;
    good &= go_to(MIN + 1) && take_like(&request); /* the last above min */
    good &= free_here() == MIN && frame_alloc(&request, &frame) == ERR_NO_MEMORY;
    good &= take_one() && level_here() == FRAME_PRESSURE_MIN;
    good &= frame_alloc(&request, &frame) == ERR_NO_MEMORY && take_one();
    good &= go_to(HIGH - 1) && frame_alloc(&request, &frame) == ERR_NO_MEMORY;
    good &= go_to(HIGH) && take_like(&request);
    return good;
}

TEST(pressure, speculative_requests_are_refused_at_min)
{
    PLAY(HIGH, scene_speculative_requests_are_refused_at_min);
}

/* ---- Reclaim --------------------------------------------------------------------------------------------- */

/* Above critical nobody calls the reclaimer but who has time; below it, whoever allocates does. */
static bool scene_critical_reclaims_at_once(void)
{
    bool good = true;

    stage.gives = UINT64_MAX;
    good &= frame_reclaim_register(reclaim, &stage) == OK;
    good &= frame_reclaim_register(reclaim, &stage) == ERR_BUSY;
    good &= go_to(CRITICAL) && stage.calls == 0 && level_here() == FRAME_PRESSURE_MIN;
    good &= take_one() && stage.calls == 1;
    good &= stage.pressure == FRAME_PRESSURE_CRITICAL && stage.wanted == HIGH - CRITICAL + 1;
    good &= free_here() == HIGH; /* and no more than that */
    return good;
}

TEST(pressure, critical_reclaims_at_once)
{
    PLAY(HIGH + 8, scene_critical_reclaims_at_once); /* the reclaimer finds single frames only */
}

/* In the background from low on, with the level as argument, until high. */
static bool scene_background_reclaims_until_high(void)
{
    struct frame_reclaim_info old, new;
    bool good = true;

    frame_reclaim_info(&old);
    stage.gives = 2 * STEP;
    good &= frame_reclaim_register(reclaim, &stage) == OK;
    (void)frame_reclaim_background();
    good &= go_to(LOW) && frame_reclaim_background() == 0 && stage.calls == 0;
    good &= take_one() && frame_reclaim_background() == STEP + 1 && stage.calls == 1;
    good &= stage.pressure == FRAME_PRESSURE_LOW && free_here() == HIGH;
    good &= frame_reclaim_background() == 0 && stage.calls == 1;
    good &= go_to(MIN - 1) && frame_reclaim_background() == 2 * STEP + 1;
    good &= stage.calls == 3 && free_here() == HIGH; /* the first gave 2 × STEP */
    good &= level_here() == FRAME_PRESSURE_NONE;
    good &= go_to(MIN - 1) && stage.calls == 3;
    stage.gives = 1;
    good &= frame_reclaim_background() == FRAME_BACKGROUND_ROUNDS && stage.pressure == FRAME_PRESSURE_MIN;
    stage.gives = UINT64_MAX; /* what was left waits for the next call */
    good &= frame_reclaim_background() == HIGH - (MIN - 1) - FRAME_BACKGROUND_ROUNDS && free_here() == HIGH;
    frame_reclaim_info(&new);
    good &= new.background - old.background == stage.calls && new.direct == old.direct;
    return good;
}

TEST(pressure, background_reclaims_until_high)
{
    PLAY(HIGH + 8, scene_background_reclaims_until_high);
}

/* A reclaimer that has nothing is asked once, and again only after another allocation. */
static bool scene_background_gives_up_without_progress(void)
{
    bool good = true;

    good &= frame_reclaim_register(reclaim, &stage) == OK;
    good &= go_to(MIN) && frame_reclaim_background() == 0 && stage.calls == 1;
    good &= frame_reclaim_background() == 0 && stage.calls == 1;
    good &= take_one() && frame_reclaim_background() == 0 && stage.calls == 2;
    return good;
}

TEST(pressure, background_gives_up_without_progress)
{
    PLAY(HIGH, scene_background_gives_up_without_progress);
}

/* Without marks: a request that would fail is served with what the reclaimer gives, a long one too. */
static bool scene_failing_requests_reclaim(void)
{
    bool good = true;

    good &= frame_watermarks_set(stage.zone, &(struct frame_watermarks){0}) == OK;
    good &= go_to(0) && !take_one();
    good &= frame_reclaim_register(reclaim, &stage) == OK;
    good &= !take_one() && stage.calls == 1; /* it gives nothing, and is asked once */
    stage.gives = 1;
    good &= take_one() && stage.calls == 2 && stage.wanted == 1 && free_here() == 0;
    good &= stage.pressure == FRAME_PRESSURE_CRITICAL;
    stage.gives = UINT64_MAX;
    stage.request.count = 100; /* up to eight calls of 100 frames each, which may not adjoin: served or not */
    (void)take_one();
    good &= stage.calls >= 3 && stage.calls <= 10;
    return good;
}

TEST(pressure, failing_requests_reclaim)
{
    PLAY(HIGH, scene_failing_requests_reclaim);
}

/* Given frames, runs beyond a chunk, speculative requests and those of handlers and reclaimers never reclaim. */
static bool scene_who_does_not_reclaim(void)
{
    struct frame_request request;
    bool good = true;
    pfn_t first;

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
        good &= take_like(&request);
    }
    good &= stage.calls == 0;
    return good;
}

TEST(pressure, who_does_not_reclaim)
{
    PLAY(HIGH, scene_who_does_not_reclaim);
}

/* What a reclaimer allocates does not call it again, even where it fails; and it cannot remove itself. */
static bool scene_no_recursion(void)
{
    bool good = true;

    stage.gives = 1;
    stage.allocates = true;
    good &= frame_reclaim_register(reclaim, &stage) == OK;
    good &= go_to(CRITICAL) && stage.calls == 0;
    good &= take_one() && stage.calls == 1 && !stage.recursed;
    return good;
}

TEST(pressure, no_recursion)
{
    PLAY(HIGH, scene_no_recursion);
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

/* Every frame is held; who asks gets one although there is none. */
static bool scene_the_reclaimer_runs_on_its_reserve(void)
{
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
    good &= got.runs == 16 && taken_for_reclaim() > taken;
    chain_free_all(&got);
    chain_free_all(&held);
    chain_free_all(&all);
    return good && !all.damaged && !got.damaged && !held.damaged;
}

TEST(pressure, the_reclaimer_runs_on_its_reserve)
{
    uint64_t before = frame_free_count(), reserved = frame_reserved();

    CHECK(alone(scene_the_reclaimer_runs_on_its_reserve));
    CHECK_RESTORED(before);
    CHECK_EQ(frame_reserved(), reserved);
}

/* ---- Protection ------------------------------------------------------------------------------------------ */

/* What a request for a higher zone must leave in a lower one, those that name it or have a limit inside may take. A run
 * that is too long for the higher zone is the lower one's own. */
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
            while (request.count <= high.end.v - high.start.v && frame_alloc(&request, &frame) == OK)
                chain_push(&chain, frame, request.count);
        }
        frame_pressure_info(i, &pressure);
        uint64_t left = pressure.free;
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
        CHECK_EQ(left, kept);
        CHECK(named && limited && refused);
    }
    CHECK_RESTORED(before);
    if (!tried)
        SKIP("no node has a zone with protection");
}
