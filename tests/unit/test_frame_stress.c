/* SPDX-License-Identifier: MIT
 *
 * The frame allocator under load: the largest blocks, all CPUs at once, and random sequences against a plain
 * list of what is owned. Seeds are fixed, so a failure comes back.
 */
#include <stdatomic.h>

#include <mm/frame_info.h>
#include <mm/port.h>

#include "frame_support.h"

/* ---- The largest blocks -------------------------------------------------------------------------------- */

/* Takes and gives back an aligned block; false if no zone has one free. */
static bool try_block(unsigned order, status_t *status)
{
    struct frame_request request = ANY_FRAMES(UINT64_C(1) << order);
    bool there = false;
    pfn_t first;

    frame_drain(); /* what is cached is in no block */
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_zone_info info;
        struct frame_zone_stats stats;

        frame_zone_info(i, &info);
        frame_zone_stats(i, &stats);
        for (unsigned larger = order; larger < FRAME_ORDERS; larger++)
            there = there || (info.kind <= ZONE_NORMAL && stats.free_blocks[larger] > 0);
    }
    request.align = request.count;
    *status = frame_alloc(&request, &first);
    if (*status == OK)
        *status = is_aligned(first.v, request.align) ? frame_free(first, request.count) : ERR_CORRUPT;
    return there;
}

TEST(frame, blocks_of_every_order)
{
    uint64_t before = frame_free_count();

    for (unsigned order = 0; order < FRAME_ORDERS; order++) {
        status_t status;
        bool there = try_block(order, &status);

        CHECK_EQ(status, there ? OK : ERR_NO_MEMORY);
    }
    CHECK_RESTORED(before);
}

TEST(frame, block_of_1_gib)
{
    status_t status;

    if (!try_block(18, &status))
        SKIP("no aligned GiB is free");
    CHECK_EQ(status, OK);
}

TEST(frame, block_of_4_gib)
{
    status_t status;

    if (!try_block(20, &status))
        SKIP("no aligned 4 GiB are free");
    CHECK_EQ(status, OK);
}

/* Fewer where every frame is filled and verified. */
static unsigned rounds(unsigned usual)
{
    return frame_debug() != 0 ? usual / 8 : usual;
}

/* ---- All CPUs at once ---------------------------------------------------------------------------------- */

#define STORM_SLOTS 64

/* Runs that belong to nobody in particular: whoever draws one gives it back. */
struct storm {
    _Atomic(struct link *) slot[STORM_SLOTS];
    _Atomic uint64_t damaged, served;
};

static void storm_end_run(struct storm *storm, struct link *link)
{
    struct chain chain = {.top = link};

    if (!marks_intact(pfn_of(port_virt_to_phys(link)), link->count, 11))
        atomic_fetch_add(&storm->damaged, 1);
    link->next = NULL;
    chain_pop(&chain);
    atomic_fetch_add(&storm->damaged, chain.damaged);
}

static void storm_body(void *context, unsigned index)
{
    struct storm *storm = context;
    uint64_t seed = 977 + index;

    for (unsigned i = 0; i < rounds(ROUNDS(4000, 80000)) / test_cpus(); i++) {
        uint64_t pick = test_random(&seed);
        struct frame_request request =
            ANY_FRAMES(pick % 64 != 0 ? 1 + pick / 64 % 40 : 500 + pick / 64 % 600);
        struct chain chain = {0};
        struct link *other;
        pfn_t first;

        if (pick >> 60 == 0)
            request.align = UINT64_C(1) << (pick >> 56 & 7);
        if (frame_alloc(&request, &first) != OK)
            continue;
        mark_frames(first, request.count, 11);
        chain_push(&chain, first, request.count);
        atomic_fetch_add(&storm->served, 1);
        other = atomic_exchange(&storm->slot[(pick >> 40) % STORM_SLOTS], chain.top);
        if (other != NULL)
            storm_end_run(storm, other);
    }
}

TEST(frame, storm_on_all_cpus)
{
    static struct storm storm;
    uint64_t before = frame_free_count();

    atomic_store(&storm.damaged, 0);
    atomic_store(&storm.served, 0);
    test_parallel(test_cpus(), storm_body, &storm);
    for (unsigned i = 0; i < STORM_SLOTS; i++) {
        struct link *link = atomic_exchange(&storm.slot[i], NULL);

        if (link != NULL)
            storm_end_run(&storm, link);
    }
    CHECK_EQ(atomic_load(&storm.damaged), 0);
    CHECK(atomic_load(&storm.served) > 0);
    CHECK_RESTORED(before);
}

#define RACE_FRAMES 256

struct race {
    pfn_t frame[RACE_FRAMES];
    _Atomic uint64_t won, refused;
};

static void race_body(void *context, unsigned index)
{
    struct race *race = context;

    (void)index;
    for (unsigned i = 0; i < RACE_FRAMES; i++) {
        status_t status = frame_free(race->frame[i], 1);

        if (status == OK)
            atomic_fetch_add(&race->won, 1);
        else if (status == ERR_BUSY)
            atomic_fetch_add(&race->refused, 1);
    }
}

/* Of all CPUs that free the same frame, one succeeds. While the chunk becomes whole by it, another may seem to as well;
 * then that is reported, and the frame is free once. */
TEST(frame, racing_frees)
{
    frame_set_caching(false);
    static struct race race;
    uint64_t before = frame_free_count(), freed = (uint64_t)RACE_FRAMES * test_cpus();
    unsigned reports = test_reports();

    atomic_store(&race.won, 0);
    atomic_store(&race.refused, 0);
    for (unsigned i = 0; i < RACE_FRAMES; i++)
        CHECK_EQ(frame_alloc_one(0, &race.frame[i]), OK);
    test_parallel(test_cpus(), race_body, &race);
    frame_set_caching(true);
    CHECK(atomic_load(&race.won) == RACE_FRAMES || test_reports() > reports);
    CHECK(atomic_load(&race.won) >= RACE_FRAMES);
    CHECK_EQ(atomic_load(&race.won) + atomic_load(&race.refused), freed);
    CHECK_RESTORED(before);
}

/* ---- Random sequences ---------------------------------------------------------------------------------- */

#define OWNED_MAX 200

struct run {
    uint64_t first, count;
};

struct model {
    struct run owned[OWNED_MAX];
    unsigned runs;
    uint64_t frames;
};

static bool overlaps_owned(const struct model *model, uint64_t first, uint64_t count)
{
    for (unsigned i = 0; i < model->runs; i++) {
        if (first < model->owned[i].first + model->owned[i].count && model->owned[i].first < first + count)
            return true;
    }
    return false;
}

static struct frame_request random_request(uint64_t *seed)
{
    static const uint16_t most[] = {1, 8, 64, 511, 2000};
    uint64_t pick = test_random(seed);
    struct frame_request request = ANY_FRAMES(1 + pick / 8 % most[pick % ARRAY_LEN(most)]);

    pick = test_random(seed);
    if (pick % 4 == 0)
        request.align = UINT64_C(1) << (pick / 4 % 12);
    if (pick / 64 % 8 == 0) {
        for (request.boundary = 1; request.boundary < request.count;)
            request.boundary *= 2;
    }
    pick = test_random(seed);
    if (pick % 4 == 0)
        request.node = (uint16_t)(pick / 4 % frame_topo()->node_count);
    if (pick / 512 % 8 == 0) {
        struct frame_zone_info info;

        frame_zone_info((unsigned)(pick / 4096 % frame_zone_count()), &info);
        request.limit = (info.start.v + (info.end.v - info.start.v) / 2) * FRAME_SIZE;
    }
    return request;
}

/* Whether a run that was handed out is what was asked for and nobody's. */
static bool run_fits(const struct model *model, const struct frame_request *request, uint64_t first)
{
    uint64_t last = first + request->count - 1;
    unsigned zone_first = 0, zone_last = 0;

    return !overlaps_owned(model, first, request->count) &&
           (request->align == 0 || is_aligned(first, request->align)) &&
           (request->limit == 0 || (last + 1) * FRAME_SIZE <= request->limit) &&
           (request->boundary == 0 || first / request->boundary == last / request->boundary) &&
           (request->count >= CHUNK_FRAMES || first / CHUNK_FRAMES == last / CHUNK_FRAMES) &&
           frame_query(pfn(first), &zone_first) == FRAME_ALLOCATED &&
           frame_query(pfn(last), &zone_last) == FRAME_ALLOCATED && zone_first == zone_last;
}

/* Gives back a run, or a part of it and keeps the rest. */
static status_t free_some(struct model *model, uint64_t pick)
{
    unsigned index = (unsigned)(pick % model->runs);
    struct run *run = &model->owned[index];
    uint64_t part = pick >> 62 == 0 ? 1 + (pick >> 20) % run->count : run->count;
    status_t status = frame_free(pfn(run->first + run->count - part), part);

    run->count -= part;
    model->frames -= part;
    if (run->count == 0)
        *run = model->owned[--model->runs];
    return status;
}

TEST(frame, random_sequences)
{
    static struct model model;
    uint64_t before = frame_free_count(), seed = 20240229;

    model.runs = 0;
    model.frames = 0;
    for (unsigned i = 0; i < rounds(ROUNDS(20000, 60000)); i++) {
        uint64_t pick = test_random(&seed);
        bool grow = pick >> 63 ? i / 500 % 2 == 0 : i / 500 % 2 != 0 && (pick >> 62 & 1);

        if (model.runs == 0 || (grow && model.runs < OWNED_MAX)) {
            struct frame_request request = random_request(&seed);
            pfn_t first;

            if (frame_alloc(&request, &first) == OK) {
                CHECK(run_fits(&model, &request, first.v));
                model.owned[model.runs++] = (struct run){first.v, request.count};
                model.frames += request.count;
            }
        } else {
            CHECK_EQ(free_some(&model, pick), OK);
        }
        CHECK_EQ(frame_free_count(), before - model.frames);
        if (i % 2000 == 0)
            CHECK(frame_check() == NULL);
    }
    while (model.runs > 0)
        CHECK_EQ(free_some(&model, UINT64_MAX), OK);
    CHECK_RESTORED(before);
}
