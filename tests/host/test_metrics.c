/* SPDX-License-Identifier: MIT
 *
 * Fragmentation figures against brute force: every frame is asked by itself, and blocks, runs and the index are counted
 * from the answers. On machines with holes, and with borders inside chunks.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <mm/frame_metrics.h>
#include <mm/frame_reserve.h>

#include "host.h"
#include "layout.h"
#include "quire_test.h"

static const struct zone_limits no_limits = {.direct_end = UINT64_MAX};
static const struct zone_limits odd_limits = {
    .dma_end = MIB(9) + 0x5000, .dma32_end = MIB(37) + 0x3000, .direct_end = UINT64_MAX};

static bool is_free(uint64_t frame, unsigned zone)
{
    unsigned of = UINT32_MAX;

    return frame_query(pfn(frame), &of) == FRAME_FREE && of == zone;
}

/* What is free in a zone, frame by frame. */
struct picture {
    uint64_t first, frames;
    bool *free;
};

static struct picture look(unsigned zone)
{
    struct frame_zone_info info;
    struct picture picture;

    frame_zone_info(zone, &info);
    picture.first = info.start.v;
    picture.frames = info.end.v - info.start.v;
    picture.free = malloc(picture.frames);
    for (uint64_t i = 0; i < picture.frames; i++)
        picture.free[i] = is_free(picture.first + i, zone);
    return picture;
}

/* The order of the largest aligned free block that begins with a frame and lies in the picture; -1: it is not free. */
static int largest_at(const struct picture *picture, uint64_t at)
{
    for (int order = FRAME_ORDERS - 1; order >= 0; order--) {
        uint64_t count = UINT64_C(1) << order, found = 0;

        if (((picture->first + at) & (count - 1)) != 0 || at + count > picture->frames)
            continue;
        while (found < count && picture->free[at + found])
            found++;
        if (found == count)
            return order;
    }
    return -1;
}

/* Adds a zone to the figures; permille and mean are left out. */
static void brute_zone(unsigned zone, struct frame_metrics *sum)
{
    struct picture picture = look(zone);
    uint64_t run = 0;

    for (uint64_t at = 0; at < picture.frames;) {
        int order = largest_at(&picture, at);

        if (order >= 0) {
            sum->blocks[order]++;
            sum->free += UINT64_C(1) << order;
        }
        at += order > 0 ? UINT64_C(1) << order : 1;
    }
    for (uint64_t at = 0; at <= picture.frames; at++) {
        if (at < picture.frames && picture.free[at]) {
            run++;
            continue;
        }
        sum->runs += run > 0;
        sum->largest_run = max_u64(sum->largest_run, run);
        run = 0;
    }
    free(picture.free);
}

static void brute_finish(struct frame_metrics *metrics)
{
    for (unsigned order = 0; order < FRAME_ORDERS; order++) {
        uint64_t small = 0;

        for (unsigned i = 0; i < order; i++)
            small += metrics->blocks[i] << i;
        metrics->unusable[order] = metrics->free == 0 ? 1000 : (uint32_t)(1000 * small / metrics->free);
    }
    metrics->mean_run = metrics->runs == 0 ? 0 : 1000 * metrics->free / metrics->runs;
}

static bool same(const struct frame_metrics *a, const struct frame_metrics *b)
{
    return a->free == b->free && a->cached == b->cached && a->runs == b->runs && a->mean_run == b->mean_run &&
           a->largest_run == b->largest_run && memcmp(a->blocks, b->blocks, sizeof(a->blocks)) == 0 &&
           memcmp(a->unusable, b->unusable, sizeof(a->unusable)) == 0;
}

/* Zone by zone and node by node. Caches are empty. */
static bool agree(void)
{
    for (uint16_t node = 0; node <= layout_topo.node_count; node++) {
        uint16_t asked = node == layout_topo.node_count ? FRAME_NODE_ANY : node;
        struct frame_metrics told, sum = {0};

        for (unsigned zone = 0; zone < frame_zone_count(); zone++) {
            struct frame_metrics expected = {0};
            struct frame_zone_info info;

            frame_zone_info(zone, &info);
            if (asked != FRAME_NODE_ANY && info.node != asked)
                continue;
            brute_zone(zone, &sum);
            brute_zone(zone, &expected);
            brute_finish(&expected);
            frame_zone_metrics(zone, &told);
            if (!same(&told, &expected))
                return false;
        }
        brute_finish(&sum);
        frame_node_metrics(asked, &told);
        if (!same(&told, &sum))
            return false;
    }
    return true;
}

/* Allocates and frees at random; what is left of it is in pieces. */
static void shake(uint64_t seed, unsigned rounds)
{
    static struct {
        pfn_t first;
        uint64_t count;
    } held[512];

    memset(held, 0, sizeof(held));
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t pick = test_random(&seed), slot = pick % ARRAY_LEN(held), part;
        struct frame_request request = {.count = pick >> 32 & 7 ? 1 + (pick >> 40) % 9 : 1 + (pick >> 40) % 1500,
                                        .node = (uint16_t)((pick >> 20) % layout_topo.node_count),
                                        .zone = ZONE_MOVABLE,
                                        .flags = pick >> 60 & 1 ? FRAME_MOVABLE : 0};

        if (held[slot].count == 0) {
            if (frame_alloc(&request, &held[slot].first) == OK)
                held[slot].count = request.count;
            continue;
        }
        part = (held[slot].count + 1) / 2; /* from its end */
        held[slot].count -= part;
        if (frame_free(pfn(held[slot].first.v + held[slot].count), part) != OK)
            abort();
    }
    frame_drain();
}

TEST(metrics, untouched_memory)
{
    struct frame_metrics metrics;

    layout_begin(1);
    layout_ram(0, GIB(1), GIB(1) + MIB(160)); /* a group of 128 MiB, aligned, and 32 MiB */
    layout_add_reserves(&no_limits);
    CHECK_EQ(layout_start(&no_limits), OK);
    frame_zone_metrics(0, &metrics);
    CHECK_EQ(metrics.free, 40960);
    CHECK_EQ(metrics.blocks[15], 1);
    CHECK_EQ(metrics.blocks[13], 1);
    CHECK_EQ(metrics.runs, 1);
    CHECK_EQ(metrics.largest_run, 40960);
    CHECK_EQ(metrics.mean_run, 40960000);
    CHECK_EQ(metrics.unusable[13], 0);
    CHECK_EQ(metrics.unusable[14], 200);
    CHECK_EQ(metrics.unusable[15], 200);
    CHECK_EQ(metrics.unusable[16], 1000);
    CHECK(agree());
    layout_end();
}

TEST(metrics, nothing_free)
{
    struct frame_metrics metrics;
    pfn_t first;

    layout_begin(1);
    layout_ram(0, MIB(2), MIB(4));
    layout_add_reserves(&no_limits);
    CHECK_EQ(layout_start(&no_limits), OK);
    CHECK_EQ(frame_alloc(&(struct frame_request){.count = 512, .zone = ZONE_NORMAL}, &first), OK);
    frame_drain();
    frame_zone_metrics(0, &metrics);
    CHECK_EQ(metrics.free + metrics.runs + metrics.largest_run + metrics.mean_run, 0);
    CHECK_EQ(metrics.unusable[0], 1000);
    CHECK_EQ(metrics.unusable[20], 1000);
    CHECK(agree());
    layout_end();
}

/* Every second frame: the worst there is. */
TEST(metrics, checkerboard)
{
    struct frame_metrics metrics;
    pfn_t first;

    layout_begin(1);
    layout_ram(0, MIB(64), MIB(72));
    layout_add_reserves(&no_limits);
    CHECK_EQ(layout_start(&no_limits), OK);
    CHECK_EQ(frame_alloc(&(struct frame_request){.count = 2048, .zone = ZONE_NORMAL}, &first), OK);
    for (uint64_t i = 0; i < 2048; i += 2)
        CHECK_EQ(frame_free(pfn(first.v + i), 1), OK);
    frame_drain();
    frame_zone_metrics(0, &metrics);
    CHECK_EQ(metrics.runs, 1024);
    CHECK_EQ(metrics.largest_run, 1);
    CHECK_EQ(metrics.mean_run, 1000);
    CHECK_EQ(metrics.unusable[0], 0);
    CHECK_EQ(metrics.unusable[1], 1000);
    CHECK(agree());
    layout_end();
}

TEST(metrics, odd_layouts_equal_brute_force)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        layout_begin(3);
        layout_ram(0, 0x3000, MIB(11) + 0x7800);
        layout_ram(1, MIB(11) + 0x7800, MIB(40) + 0x1000);
        layout_ram(2, MIB(40) + 0x1000, MIB(70));
        layout_ram(0, GIB(1) + 0x5000, GIB(1) + MIB(12) + 0x6000); /* far away: a span of its own */
        layout_part(MIB(20) + 0x800, MIB(21) + 0x1800, MEM_RESERVED);
        layout_part(MIB(50), MIB(55) + 0x1000, MEM_BOOT_RECLAIM);
        CHECK_EQ(layout_start(seed % 2 ? &odd_limits : &no_limits), OK);
        CHECK(agree());
        shake(seed * 7919, 3000);
        CHECK(frame_check() == NULL);
        CHECK(agree());
        layout_end();
    }
}

/* Blocks above a group, and runs over it. */
TEST(metrics, large_blocks_equal_brute_force)
{
    layout_begin(1);
    layout_ram(0, GIB(1) - MIB(6), GIB(1) + MIB(900));
    layout_add_reserves(&no_limits);
    CHECK_EQ(layout_start(&no_limits), OK);
    CHECK(agree());
    shake(20061, 400);
    CHECK(agree());
    layout_end();
}

/* Frames in caches are told apart, and add up. */
TEST(metrics, cached_frames_are_apart)
{
    struct frame_metrics metrics;
    struct frame_totals totals;
    struct frame_cpu_stats cpu;
    pfn_t frame;

    layout_begin(1);
    layout_ram(0, MIB(64), MIB(96));
    layout_add_reserves(&no_limits);
    CHECK_EQ(layout_start(&no_limits), OK);
    CHECK_EQ(frame_alloc_one(0, &frame), OK);
    frame_zone_metrics(0, &metrics);
    frame_totals(FRAME_NODE_ANY, &totals);
    frame_cpu_stats(0, &cpu);
    CHECK(metrics.cached > 0);
    CHECK_EQ(metrics.free + metrics.cached + 1, frame_managed() - frame_reserved());
    CHECK_EQ(totals.used, 1 + frame_reserved());
    CHECK_EQ(totals.cached, metrics.cached);
    CHECK_EQ(totals.free, metrics.free);
    CHECK_EQ(cpu.cached[FRAME_CACHE_FIXED], metrics.cached);
    CHECK_EQ(cpu.refills, 1);
    CHECK_EQ(cpu.filled, metrics.cached + 1);
    CHECK_EQ(cpu.allocs, 1);
    CHECK_EQ(cpu.direct_allocs + cpu.drains + cpu.spills, 0);
    CHECK(cpu.has_cache && cpu.in_use);
    frame_drain();
    frame_cpu_stats(0, &cpu);
    CHECK_EQ(cpu.drains, 1);
    CHECK_EQ(cpu.spilled, metrics.cached);
    CHECK(cpu.has_cache && !cpu.in_use);
    layout_end();
}

/* What each chunk has free, holes included. */
TEST(metrics, chunks)
{
    pfn_t first;

    layout_begin(1);
    layout_ram(0, MIB(64), MIB(68) + 0x3000);
    layout_ram(0, GIB(2), GIB(2) + MIB(2));
    layout_add_reserves(&no_limits);
    CHECK_EQ(layout_start(&no_limits), OK);
    CHECK_EQ(frame_alloc(&(struct frame_request){.count = 7, .zone = ZONE_NORMAL, .flags = FRAME_AT,
                                                 .at = pfn(MIB(66) / FRAME_SIZE)}, &first), OK);
    CHECK_EQ(frame_chunk_free(0, pfn(MIB(64) / FRAME_SIZE)), 512);
    CHECK_EQ(frame_chunk_free(0, pfn(MIB(66) / FRAME_SIZE + 300)), 505);
    CHECK_EQ(frame_chunk_free(0, pfn(MIB(68) / FRAME_SIZE)), 3);
    CHECK_EQ(frame_chunk_free(0, pfn(MIB(70) / FRAME_SIZE)), FRAME_NO_CHUNK);
    CHECK_EQ(frame_chunk_free(0, pfn(GIB(1) / FRAME_SIZE)), FRAME_NO_CHUNK);
    CHECK_EQ(frame_chunk_free(0, pfn(GIB(2) / FRAME_SIZE)), 512);
    CHECK_EQ(frame_chunk_free(0, pfn(GIB(8) / FRAME_SIZE)), FRAME_NO_CHUNK);
    layout_end();
}

/* ---- While frame_init runs ------------------------------------------------------------------------------ */

struct onlooker {
    pthread_t thread;
    _Atomic bool stop;
    _Atomic uint64_t looks, wrong;
};

static void *look_on(void *context)
{
    struct onlooker *self = context;

    while (!self->stop) {
        struct frame_totals totals;

        frame_totals(FRAME_NODE_ANY, &totals);
        self->wrong += totals.free + totals.cached + totals.used != totals.managed || totals.cached != 0 ||
                       totals.managed > GIB(4) / FRAME_SIZE || totals.free > totals.managed;
        self->looks++;
    }
    return NULL;
}

TEST(metrics, statistics_during_initialisation)
{
    static struct onlooker onlooker;
    struct frame_totals totals;

    for (unsigned round = 0; round < 20; round++) {
        layout_begin(1); /* a machine without memory: as before the first frame_init */
        CHECK_EQ(layout_start(&no_limits), OK);
        layout_end();
        frame_totals(FRAME_NODE_ANY, &totals);
        CHECK_EQ(totals.managed + totals.free + totals.cached + totals.used, 0);
        onlooker.stop = false;
        onlooker.looks = 0;
        CHECK(pthread_create(&onlooker.thread, NULL, look_on, &onlooker) == 0);
        while (onlooker.looks == 0) /* bound: the start of a thread */
            sched_yield();
        layout_begin(2);
        for (uint64_t i = 0; i < 200; i++)
            layout_ram(i % 2, GIB(1) + i * MIB(9), GIB(1) + i * MIB(9) + MIB(7) + 0x3000);
        CHECK_EQ(layout_start(&no_limits), OK);
        onlooker.stop = true;
        pthread_join(onlooker.thread, NULL);
        frame_totals(FRAME_NODE_ANY, &totals);
        CHECK_EQ(totals.free, layout_usable_frames() - frame_reserved());
        CHECK_EQ(totals.used, frame_reserved());
        layout_end();
    }
    CHECK_EQ(onlooker.wrong, 0);
}
