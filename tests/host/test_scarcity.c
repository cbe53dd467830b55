/* SPDX-License-Identifier: MIT
 *
 * Sizes of reserves, watermarks and protection on machines that nobody has at hand.
 */
#include <mm/frame_pressure.h>
#include <mm/frame_reserve.h>

#include "layout.h"
#include "quire_test.h"

#define PER_CPU (FRAME_RESERVE_TABLES + FRAME_RESERVE_INTERRUPTS + FRAME_RESERVE_RECLAIMS)

static const struct zone_limits no_limits = {.direct_end = UINT64_MAX};

static void add_cpus(uint16_t node, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        (void)!topo_add_cpu(&layout_topo, layout_topo.cpu_count, 0, node, true);
}

static uint64_t reserved_on(uint16_t node)
{
    uint64_t held = 0;

    for (unsigned class = FRAME_RESERVE_NONE + 1; class < FRAME_RESERVE_CLASSES; class++) {
        struct frame_reserve_info info;

        frame_reserve_info(node, (frame_reserve_t)class, &info);
        held += info.held == info.size ? info.held : UINT32_MAX;
    }
    return held;
}

TEST(scarcity, reserves_follow_from_cpus)
{
    struct frame_reserve_info info;

    layout_begin(3);
    layout_ram(0, MIB(64), GIB(1));
    layout_ram(1, GIB(1), GIB(2));
    layout_ram(2, GIB(2), GIB(3));
    add_cpus(1, 1);
    add_cpus(2, 13);
    CHECK_EQ(layout_start(&no_limits), OK);
    CHECK_EQ(reserved_on(0), PER_CPU + FRAME_RESERVE_REPORTS);
    CHECK_EQ(reserved_on(1), PER_CPU + FRAME_RESERVE_REPORTS);
    CHECK_EQ(reserved_on(2), 13 * PER_CPU + FRAME_RESERVE_REPORTS);
    frame_reserve_info(2, FRAME_RESERVE_PAGE_TABLE, &info);
    CHECK_EQ(info.size, 13 * FRAME_RESERVE_TABLES);
    CHECK_EQ(frame_free_count() + frame_reserved(), frame_managed());
    CHECK(frame_check() == NULL);
    layout_end();
}

/* CPUs of nodes without memory, and of those with none that is mapped, count where their frames would come from. */
TEST(scarcity, cpus_without_memory_count_at_the_nearest)
{
    const struct zone_limits limits = {.direct_end = GIB(2)};

    layout_begin(4);
    layout_ram(1, GIB(1), GIB(2));
    layout_ram(2, GIB(2), GIB(3));
    for (uint16_t node = 0; node < 4; node++)
        add_cpus(node, 2);
    CHECK_EQ(layout_start(&limits), OK);
    CHECK_EQ(reserved_on(0) + reserved_on(2) + reserved_on(3), 0);
    CHECK_EQ(reserved_on(1), 8 * PER_CPU + FRAME_RESERVE_REPORTS);
    CHECK(frame_check() == NULL);
    layout_end();
}

/* A machine of 32 MiB with 8 CPUs keeps a 64th of it, and every class something; one with next to nothing keeps
 * nothing. */
TEST(scarcity, small_nodes_keep_little)
{
    layout_begin(2);
    layout_ram(0, MIB(1), MIB(33));
    layout_ram(1, MIB(33), MIB(33) + 63 * FRAME_SIZE);
    add_cpus(0, 8);
    CHECK_EQ(layout_start(&no_limits), OK);
    CHECK(reserved_on(0) <= MIB(32) / FRAME_SIZE / FRAME_RESERVE_SHARE);
    CHECK(reserved_on(0) > MIB(32) / FRAME_SIZE / FRAME_RESERVE_SHARE - FRAME_RESERVE_CLASSES);
    for (unsigned class = FRAME_RESERVE_NONE + 1; class < FRAME_RESERVE_CLASSES; class++) {
        struct frame_reserve_info info;

        frame_reserve_info(0, (frame_reserve_t)class, &info);
        CHECK(info.size > 0);
    }
    CHECK_EQ(reserved_on(1), 0);
    CHECK(frame_check() == NULL);
    layout_end();
}

/* Where no two free frames adjoin the reserves are filled one by one. */
TEST(scarcity, reserves_from_scattered_frames)
{
    layout_begin(1);
    layout_ram(0, MIB(1), MIB(3));
    layout_part(MIB(1), MIB(3), MEM_RESERVED);
    layout_ram(0, MIB(4), MIB(4) + 1600 * FRAME_SIZE);
    for (uint64_t i = 0; i < 400; i++)
        layout_part(MIB(4) + (4 * i + 1) * FRAME_SIZE, MIB(4) + (4 * i + 4) * FRAME_SIZE, MEM_KERNEL);
    CHECK_EQ(layout_start(&no_limits), OK);
    CHECK_EQ(frame_managed(), 400);
    CHECK_EQ(frame_managed() - frame_free_count(), reserved_on(0));
    CHECK(reserved_on(0) > 0);
    CHECK(frame_check() == NULL);
    layout_end();
}

/* 64 nodes of 16 CPUs; and 1,024 CPUs on one node, whose reserves are longer than chunks. */
TEST(scarcity, a_thousand_cpus)
{
    layout_begin(64);
    for (uint16_t node = 0; node < 64; node++) {
        layout_ram(node, GIB(4) + node * GIB(16), GIB(4) + (node + 1) * GIB(16));
        add_cpus(node, 16);
    }
    CHECK_EQ(layout_start(&no_limits), OK);
    for (uint16_t node = 0; node < 64; node++)
        CHECK_EQ(reserved_on(node), 16 * PER_CPU + FRAME_RESERVE_REPORTS);
    CHECK_EQ(frame_free_count() + frame_reserved(), frame_managed());
    CHECK(frame_check() == NULL);
    layout_end();

    layout_begin(2);
    layout_ram(0, GIB(4), GIB(12));
    layout_ram(1, GIB(12), GIB(20));
    add_cpus(1, 1024);
    CHECK_EQ(layout_start(&no_limits), OK);
    CHECK_EQ(reserved_on(1), 1024 * PER_CPU + FRAME_RESERVE_REPORTS);
    CHECK_EQ(frame_free_count() + frame_reserved(), frame_managed());
    layout_end();
}

/* Reserves come from the highest mapped zone: the scarce low ones stay as they are. */
TEST(scarcity, reserves_spare_low_zones)
{
    const struct zone_limits limits = {.dma_end = MIB(16), .dma32_end = GIB(1), .direct_end = GIB(2)};

    layout_begin(1);
    layout_ram(0, MIB(1), GIB(3));
    CHECK_EQ(layout_start(&limits), OK);
    for (unsigned zone = 0; zone < frame_zone_count(); zone++) {
        struct frame_zone_info info;
        struct frame_zone_stats stats;

        frame_zone_info(zone, &info);
        frame_zone_stats(zone, &stats);
        CHECK_EQ(stats.reserved, info.kind == ZONE_NORMAL ? LAYOUT_RESERVE : 0);
        CHECK_EQ(stats.free + stats.reserved, stats.managed);
    }
    layout_end();
}

/* min is a 256th, at most 16 MiB; in zones under 4 MiB and of devices there are none. */
TEST(scarcity, watermarks_of_all_sizes)
{
    static const struct {
        uint64_t size, min;
    } zone[] = {{FRAME_SIZE, 0}, {MIB(4) - FRAME_SIZE, 0}, {MIB(4), 16}, {MIB(16), 16},
                {MIB(32), 32},   {GIB(1), 1024},           {GIB(4), 4096}, {GIB(64), 4096}};
    struct frame_pressure_info info;

    for (unsigned i = 0; i < ARRAY_LEN(zone); i++) {
        layout_begin(1);
        layout_ram(0, GIB(1), GIB(1) + zone[i].size);
        CHECK_EQ(layout_start(&no_limits), OK);
        frame_pressure_info(0, &info);
        CHECK_EQ(info.marks.min, zone[i].min);
        CHECK_EQ(info.marks.high, 3 * zone[i].min);
        CHECK_EQ(info.marks.low, 2 * zone[i].min);
        CHECK_EQ(info.marks.critical, zone[i].min / 2);
        CHECK_EQ(info.level, FRAME_PRESSURE_NONE);
        layout_end();
    }
    layout_begin(1);
    layout_ram(0, GIB(1), GIB(2));
    layout_part(GIB(1), GIB(2), MEM_SPECIFIC);
    CHECK_EQ(layout_start(&no_limits), OK);
    frame_pressure_info(0, &info);
    CHECK_EQ(info.marks.high, 0);
    layout_end();
}

/* What goes through the caches, and is counted for the zone in batches, is seen by the watermarks. */
TEST(scarcity, pressure_through_the_cache)
{
    struct frame_request request = {.count = CHUNK_FRAMES, .align = CHUNK_FRAMES, .zone = ZONE_NORMAL};
    struct frame_pressure_info info;
    frame_pressure_t least = FRAME_PRESSURE_NONE;
    pfn_t first;

    layout_begin(1);
    layout_ram(0, GIB(1), GIB(2) + MIB(256));
    CHECK_EQ(layout_start(&no_limits), OK);
    while (frame_alloc(&request, &first) == OK) { /* bound: the chunks */
        frame_pressure_info(0, &info);
        CHECK(info.level >= least);
        CHECK(info.free >= info.marks.low || info.level >= FRAME_PRESSURE_LOW);
        CHECK(info.free >= info.marks.min || info.level >= FRAME_PRESSURE_MIN);
        CHECK(info.free >= info.marks.critical || info.level >= FRAME_PRESSURE_CRITICAL);
        least = info.level;
    }
    frame_pressure_info(0, &info);
    CHECK(info.free < info.marks.low && info.level >= FRAME_PRESSURE_LOW);
    layout_end();
}

/* Marks and protection follow when a zone grows. */
TEST(scarcity, late_memory_moves_the_marks)
{
    struct frame_pressure_info info;

    layout_begin(1);
    layout_ram(0, GIB(1), GIB(2));
    layout_part(GIB(1) + MIB(256), GIB(2), MEM_BOOT_RECLAIM);
    CHECK_EQ(layout_start(&no_limits), OK);
    frame_pressure_info(0, &info);
    CHECK_EQ(info.marks.min, 256);
    CHECK_EQ(frame_release(pfn((GIB(1) + MIB(256)) / FRAME_SIZE), MIB(768) / FRAME_SIZE), OK);
    frame_pressure_info(0, &info);
    CHECK_EQ(info.marks.min, 1024);
    layout_end();
}

/* A PC of 8 GiB, and one whose Normal zone is small beside HighMem. */
TEST(scarcity, protection_has_a_ratio_and_a_cap)
{
    const struct zone_limits pc = {.dma_end = MIB(16), .dma32_end = GIB(4), .direct_end = UINT64_MAX};
    const struct zone_limits high = {.direct_end = MIB(64)};
    struct frame_pressure_info info;

    layout_begin(1);
    layout_ram(0, 0, GIB(8));
    CHECK_EQ(layout_start(&pc), OK);
    frame_pressure_info(0, &info);
    CHECK_EQ(info.protect[ZONE_DMA], 0);
    CHECK_EQ(info.protect[ZONE_DMA32], MIB(8) / FRAME_SIZE); /* half of it: 1/256 of 4 GiB is more */
    CHECK_EQ(info.protect[ZONE_NORMAL], MIB(8) / FRAME_SIZE);
    frame_pressure_info(1, &info);
    CHECK_EQ(info.protect[ZONE_NORMAL], MIB(16) / FRAME_SIZE);
    CHECK_EQ(info.protect[ZONE_MOVABLE], MIB(16) / FRAME_SIZE);
    layout_end();

    layout_begin(1);
    layout_ram(0, 0, GIB(1));
    CHECK_EQ(layout_start(&high), OK);
    frame_pressure_info(0, &info);
    CHECK_EQ(info.protect[ZONE_HIGHMEM], MIB(960) / 32 / FRAME_SIZE);
    layout_end();
}

/* A zone that a node does not have protects nothing: its highest existing one is open to the last frame. */
TEST(scarcity, the_highest_zone_there_is_open)
{
    struct frame_request request = {.count = 1, .zone = ZONE_MOVABLE};
    const struct zone_limits limits = {.dma32_end = GIB(4), .direct_end = UINT64_MAX};
    uint64_t taken = 0;
    pfn_t first;

    layout_begin(2);
    layout_ram(0, GIB(4) - MIB(2), GIB(4));
    layout_ram(1, GIB(4), GIB(5));
    CHECK_EQ(layout_start(&limits), OK);
    request.flags = FRAME_THIS_NODE;
    while (frame_alloc(&request, &first) == OK)
        taken++;
    CHECK_EQ(taken, MIB(2) / FRAME_SIZE - reserved_on(0));
    layout_end();
}
