/* SPDX-License-Identifier: MIT
 *
 * The frame allocator on machines that nobody has at hand: holes, borders in awkward places, 64 nodes, 16
 * TiB.
 */
#include <stdlib.h>

#include <mm/frame_reserve.h>
#include <mm/frame_info.h>
#include <mm/frame_metrics.h>

#include "host.h"
#include "layout.h"
#include "quire_test.h"

static const struct zone_limits no_limits = {.direct_end = UINT64_MAX};
static const struct zone_limits pc_limits = {
    .dma_end = MIB(16), .dma32_end = GIB(4), .direct_end = UINT64_MAX};

static struct frame_request request_for(uint64_t count)
{
    return (struct frame_request){.count = count, .zone = ZONE_MOVABLE};
}

/* One frame from wherever there is one: for the last ones the lower zones must be named. */
static status_t take_any(pfn_t *first)
{
    status_t status = ERR_NO_MEMORY;

    for (unsigned kind = ZONE_MOVABLE + 1; kind-- > 0 && status != OK;)
        status = frame_alloc(&(struct frame_request){.count = 1, .zone = (zone_kind_t)kind}, first);
    return status;
}

/* Free or in a reserve: nobody's, at least. */
static bool unused(uint64_t frame, unsigned *zone)
{
    frame_state_t state = frame_query(pfn(frame), zone);

    return state == FRAME_FREE || state == FRAME_RESERVED;
}

/* Takes all frames one by one, checks that each was free before and none comes twice, gives them back. */
static bool drain_and_refill(void)
{
    uint64_t total = frame_free_count(), taken = 0;
    uint64_t *frame = malloc(total * sizeof(*frame));
    bool good = frame != NULL;
    unsigned zone;

    for (; good && taken < total; taken++) {
        pfn_t first;

        good = take_any(&first) == OK && frame_query(first, &zone) == FRAME_ALLOCATED;
        frame[taken] = first.v;
    }
    good = good && frame_free_count() == 0 && frame_check() == NULL;
    for (uint64_t i = 0; good && i < taken; i++) /* 7919 is coprime to all totals here: another order */
        good = frame_free(pfn(frame[i * 7919 % total]), 1) == OK;
    free(frame);
    return good && frame_free_count() == total && frame_check() == NULL;
}

TEST(layout, holes)
{
    struct frame_zone_stats stats;
    struct frame_request request = request_for(1);
    pfn_t first;

    layout_begin(1);
    layout_ram(0, 0x1000, 0x9fc00);
    layout_ram(0, MIB(1), GIB(3));
    layout_ram(0, GIB(4), GIB(5));
    layout_ram(0, TIB(7), TIB(7) + LAYOUT_RESERVE * FRAME_SIZE);
    layout_ram(0, TIB(8), TIB(8) + GIB(1));
    layout_part(MIB(100), MIB(300) + 0x123, MEM_RESERVED);
    CHECK_EQ(layout_start(&pc_limits), OK);
    CHECK(frame_check() == NULL);
    CHECK_EQ(frame_zone_count(), 3);
    CHECK_EQ(frame_managed(), layout_usable_frames());
    CHECK_EQ(frame_free_count() + frame_reserved(), layout_usable_frames());
    CHECK_EQ(frame_reserved(), LAYOUT_RESERVE);
    /* The 8 TiB without memory cost nothing. */
    CHECK(frame_metadata_bytes() * 20000 < frame_managed() * FRAME_SIZE);
    frame_zone_stats(2, &stats);
    CHECK_EQ(stats.managed, GIB(2) / FRAME_SIZE + LAYOUT_RESERVE);
    CHECK_EQ(stats.reserved, LAYOUT_RESERVE);
    CHECK_EQ(stats.largest_run, GIB(1) / FRAME_SIZE);
    CHECK_EQ(stats.free_blocks[18], 2);
    /* Across a hole no run exists, on both sides it does. */
    request.count = GIB(1) / FRAME_SIZE + 1;
    request.flags = FRAME_THIS_ZONE;
    request.zone = ZONE_NORMAL;
    CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY);
    request.count--;
    CHECK_EQ(frame_alloc(&request, &first), OK);
    CHECK_EQ(first.v, GIB(4) / FRAME_SIZE);
    CHECK_EQ(frame_alloc(&request, &first), OK);
    CHECK_EQ(first.v, TIB(8) / FRAME_SIZE);
    CHECK(frame_check() == NULL);
    layout_end();
}

/* No machine has so much; firmware tables may say so all the same. */
TEST(layout, addresses_beyond_reach_are_refused)
{
    static uint8_t metadata[FRAME_SIZE];

    layout_begin(1);
    layout_ram(0, MIB(1), MIB(64));
    layout_ram(0, UINT64_C(1) << 55, (UINT64_C(1) << 56) + 1);
    CHECK_EQ(layout_settle(), OK);
    CHECK_EQ(frame_metadata_size(&layout_map, &layout_topo, &no_limits), UINT64_MAX);
    CHECK_EQ(frame_init(&layout_map, &layout_topo, &no_limits, metadata, UINT64_MAX), ERR_INVALID);
    layout_begin(1);
    layout_ram(0, UINT64_C(1) << 55, UINT64_C(1) << 56);
    CHECK_EQ(layout_settle(), OK);
    /* 2^43 frames, a descriptor and a bit each, and as much again as the bits at most. */
    uint64_t size = frame_metadata_size(&layout_map, &layout_topo, &no_limits);
    CHECK_EQ(frame_descriptor_size(&layout_map, &no_limits), UINT64_C(1) << 47);
    size -= UINT64_C(1) << 47;
    CHECK(size > UINT64_C(1) << 40 && size < UINT64_C(1) << 41);
}

/* Three nodes take turns inside chunks, and meet inside frames. */
TEST(layout, nodes_inside_chunks)
{
    uint64_t start = MIB(64) + 0x800;
    unsigned zone = 0;

    layout_begin(3);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t end = start + 0x21000 + i * 0x3400;

        layout_ram(i % 3, start, end);
        start = end;
    }
    CHECK_EQ(layout_start(&no_limits), OK);
    CHECK(frame_check() == NULL);
    CHECK_EQ(frame_managed(), layout_usable_frames());
    CHECK_EQ(frame_zone_count(), 3);
    for (uint64_t frame = MIB(64) / FRAME_SIZE + 1; frame < start / FRAME_SIZE; frame++) {
        struct frame_zone_info info;

        CHECK(unused(frame, &zone));
        frame_zone_info(zone, &info);
        CHECK_EQ(info.node, topo_node_of(&layout_topo, paddr(frame * FRAME_SIZE)));
    }
    CHECK(drain_and_refill());
    layout_end();
}

/* A cache that takes the last frames of its zone from a chunk that two nodes share keeps none of the other node's. */
TEST(layout, cache_at_a_border_inside_a_chunk)
{
    struct frame_request here = {.count = 1, .flags = FRAME_THIS_NODE, .zone = ZONE_NORMAL};
    uint64_t border = MIB(65) / FRAME_SIZE, end = MIB(128) / FRAME_SIZE, total;
    unsigned zone;
    pfn_t first;

    layout_begin(2);
    layout_ram(0, MIB(2), MIB(65));
    layout_ram(1, MIB(65), MIB(128));
    CHECK_EQ(layout_start(&no_limits), OK);
    total = frame_free_count();
    for (here.node = 0; here.node < 2; here.node++) {
        while (frame_alloc(&here, &first) == OK) /* bound: the frames of the node */
            ;
    }
    CHECK_EQ(frame_free_count(), 0);
    here.node = 0;
    CHECK_EQ(frame_free(pfn(border - 1), 1), OK);
    CHECK_EQ(frame_alloc(&here, &first), OK);
    CHECK_EQ(first.v, border - 1);
    for (uint64_t frame = end; frame-- > MIB(2) / FRAME_SIZE;)
        CHECK(frame_query(pfn(frame), &zone) == FRAME_RESERVED || frame_free(pfn(frame), 1) == OK);
    CHECK(frame_check() == NULL);
    CHECK_EQ(frame_free_count(), total);
    layout_end();
}

/* A CPU goes on taking from a chunk that was its own, though that has become whole and was broken by somebody else: its
 * hints keep up. */
TEST(layout, cache_of_a_chunk_that_was_whole_meanwhile)
{
    struct frame_request last = {.count = 8, .zone = ZONE_NORMAL, .flags = FRAME_AT};
    struct frame_cpu_stats stats;
    uint64_t held[2 * CHUNK_FRAMES], count = 0, chunk;
    pfn_t first;

    layout_begin(1);
    layout_ram(0, MIB(64), MIB(80));
    layout_cpus(2);
    CHECK_EQ(layout_start(&no_limits), OK);
    do { /* until the cache is empty, and has a chunk that was whole */
        CHECK(count < ARRAY_LEN(held) && frame_alloc_one(0, &first) == OK);
        held[count++] = first.v;
        frame_cpu_stats(0, &stats);
    } while (stats.cached[0] > 0 || align_down(held[count - 1], CHUNK_FRAMES) == align_down(held[0], CHUNK_FRAMES));
    chunk = align_down(held[count - 1], CHUNK_FRAMES);
    host_set_cpu(1);
    for (uint64_t i = 0; i < count; i++)
        CHECK(align_down(held[i], CHUNK_FRAMES) != chunk || frame_free(pfn(held[i]), 1) == OK);
    frame_cpu_offline(1);
    last.at = pfn(chunk + CHUNK_FRAMES - 8);
    CHECK_EQ(frame_alloc(&last, &first), OK);
    host_set_cpu(0);
    for (unsigned i = 0; i < CHUNK_FRAMES; i++) {
        CHECK_EQ(frame_alloc_one(0, &first), OK);
        CHECK(frame_check() == NULL);
    }
    layout_end();
}

TEST(layout, zone_borders_anywhere)
{
    const struct zone_limits limits = {.dma_end = MIB(7) + 0x1234,
                                       .dma32_end = MIB(9),
                                       .direct_end = MIB(21) + 0x3000,
                                       .movable_start = MIB(25) + 0x7000};

    layout_begin(1);
    layout_ram(0, 0, MIB(32) - 0x10);
    CHECK_EQ(layout_start(&limits), OK);
    CHECK(frame_check() == NULL);
    CHECK_EQ(frame_zone_count(), 5);
    for (uint64_t frame = 0; frame < MIB(32) / FRAME_SIZE - 1; frame++) {
        uint64_t end = (frame + 1) * FRAME_SIZE;
        zone_kind_t kind = end <= limits.dma_end         ? ZONE_DMA
                           : end <= limits.dma32_end     ? ZONE_DMA32
                           : end <= limits.direct_end    ? ZONE_NORMAL
                           : end <= limits.movable_start ? ZONE_HIGHMEM
                                                         : ZONE_MOVABLE;
        struct frame_zone_info info;
        unsigned zone = 0;

        CHECK(unused(frame, &zone));
        frame_zone_info(zone, &info);
        CHECK_EQ(info.kind, kind);
        CHECK_EQ(zone_of(&limits, end - 1), kind);
        CHECK(info.start.v <= frame && frame < info.end.v);
    }
    CHECK(drain_and_refill());
    layout_end();
}

/* Sum of the frames to be filled with zeroes. */
static uint64_t zeroed;

static void count_zeroed(pfn_t frame)
{
    zeroed += frame.v;
}

TEST(layout, highmem_only_for_those_who_can)
{
    const struct zone_limits limits = {.direct_end = GIB(1)};
    struct frame_request request = request_for(1);
    pfn_t first;

    layout_begin(1);
    layout_ram(0, GIB(1) - MIB(4) - 14 * FRAME_SIZE, GIB(1) + MIB(4)); /* 14 frames for the reserves */
    CHECK_EQ(layout_start(&limits), OK);
    request.zone = ZONE_HIGHMEM;
    CHECK_EQ(frame_alloc(&request, &first), OK);
    CHECK(first.v >= GIB(1) / FRAME_SIZE);
    request.count = 3;
    request.flags = FRAME_THIS_ZONE | FRAME_ZEROED;
    host_zero_observer = count_zeroed;
    zeroed = 0;
    CHECK_EQ(frame_alloc(&request, &first), OK);
    host_zero_observer = NULL;
    CHECK_EQ(zeroed, 3 * first.v + 3);
    request = request_for(1024);
    request.zone = ZONE_NORMAL;
    CHECK_EQ(frame_alloc(&request, &first), OK);
    CHECK_EQ(first.v, (GIB(1) - MIB(4)) / FRAME_SIZE);
    CHECK_EQ(frame_alloc_one(0, &first), ERR_NO_MEMORY);
    request.count = 1;
    request.flags = FRAME_AT;
    request.at = pfn(GIB(1) / FRAME_SIZE + 5);
    CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY); /* Normal was the highest that would do */
    request.zone = ZONE_MOVABLE;
    CHECK_EQ(frame_alloc(&request, &first), OK);
    CHECK(frame_check() == NULL);
    layout_end();
}

/* Movable takes what lies above its border, mapped (node 0) or not (node 1). */
TEST(layout, movable_only_for_those_who_can)
{
    const struct zone_limits limits = {.direct_end = GIB(1), .movable_start = GIB(1) - MIB(2)};
    struct frame_request request = request_for(1);
    struct frame_zone_info info;
    pfn_t first;

    layout_begin(2);
    layout_ram(0, GIB(1) - MIB(4), GIB(1));
    layout_ram(1, GIB(1), GIB(1) + MIB(4));
    CHECK_EQ(layout_start(&limits), OK);
    CHECK_EQ(frame_zone_count(), 3);
    for (unsigned zone = 0; zone < 3; zone++) {
        frame_zone_info(zone, &info);
        CHECK_EQ(info.kind, zone == 0 ? ZONE_NORMAL : ZONE_MOVABLE);
        CHECK_EQ(info.start.v, (GIB(1) - MIB(4) + zone * MIB(2)) / FRAME_SIZE);
    }
    request.zone = ZONE_HIGHMEM;
    for (unsigned i = 0; i < MIB(2) / FRAME_SIZE - frame_reserved(); i++) {
        CHECK_EQ(frame_alloc(&request, &first), OK);
        CHECK(first.v < limits.movable_start / FRAME_SIZE);
    }
    CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY);
    CHECK_EQ(frame_alloc_one(0, &first), ERR_NO_MEMORY);
    request.zone = ZONE_MOVABLE;
    for (unsigned i = 0; i < MIB(6) / FRAME_SIZE; i++) {
        CHECK_EQ(frame_alloc(&request, &first), OK);
        CHECK(first.v >= limits.movable_start / FRAME_SIZE);
    }
    CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY);
    layout_end();
}

/* Memory set aside for a device, in the midst of a zone and with a border inside, is one zone of its own. */
TEST(layout, device_memory_on_request_only)
{
    const struct zone_limits limits = {.dma32_end = MIB(20), .direct_end = MIB(24), .movable_start = MIB(30)};
    const uint64_t start = MIB(16) / FRAME_SIZE, end = MIB(22) / FRAME_SIZE;
    struct frame_request request = request_for(1);
    struct frame_zone_info info = {0};
    unsigned zone = 0;
    pfn_t first;

    layout_begin(1);
    layout_ram(0, MIB(8), MIB(32));
    layout_part(MIB(16), MIB(22), MEM_SPECIFIC);
    layout_part(MIB(18), MIB(19), MEM_RESERVED);
    CHECK_EQ(layout_start(&limits), OK);
    CHECK_EQ(frame_zone_count(), 5);
    CHECK_EQ(frame_query(pfn(start), &zone), FRAME_FREE);
    frame_zone_info(zone, &info);
    CHECK_EQ(info.kind, ZONE_DEVICE);
    CHECK(info.start.v == start && info.end.v == end);
    CHECK_EQ(frame_managed(), MIB(23) / FRAME_SIZE);
    for (unsigned i = 0; i < MIB(18) / FRAME_SIZE - frame_reserved(); i++) {
        CHECK_EQ(take_any(&first), OK);
        CHECK(first.v < start || first.v >= end);
    }
    CHECK_EQ(take_any(&first), ERR_NO_MEMORY);
    request.flags = FRAME_AT;
    request.at = pfn(start);
    CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY);
    request.zone = ZONE_DEVICE;
    CHECK_EQ(frame_alloc(&request, &first), OK);
    request.flags = 0;
    for (unsigned i = 0; i < MIB(5) / FRAME_SIZE - 1; i++) {
        CHECK_EQ(frame_alloc(&request, &first), OK);
        CHECK(first.v > start && first.v < end);
    }
    CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY); /* and it falls back to nothing */
    CHECK_EQ(frame_free_count(), 0);
    CHECK(frame_check() == NULL);
    layout_end();
}

/* 64 nodes of 256 GiB: 16 TiB. */
TEST(layout, sixteen_tib_on_64_nodes)
{
    const uint64_t node_size = GIB(256), total = 64 * node_size;
    struct frame_request request = request_for(1 << 20);
    uint64_t blocks = 0;
    pfn_t first;

    layout_begin(64);
    for (unsigned i = 0; i < 64; i++)
        layout_ram(i, GIB(4) + i * node_size, GIB(4) + (i + 1) * node_size);
    for (unsigned i = 0; i < 64; i++)
        layout_ram(i, TIB(20) + i * MIB(2), TIB(20) + i * MIB(2) + LAYOUT_RESERVE * FRAME_SIZE);
    CHECK_EQ(layout_start(&pc_limits), OK);
    CHECK_EQ(frame_zone_count(), 64);
    CHECK_EQ(frame_free_count(), total / FRAME_SIZE);
    CHECK_EQ(frame_reserved(), 64 * LAYOUT_RESERVE);
    CHECK(frame_metadata_bytes() * 25000 < total); /* 0.004 % */
    CHECK(frame_check() == NULL);
    request.align = request.count;
    request.node = 17;
    CHECK_EQ(frame_alloc(&request, &first), OK);
    CHECK_EQ(first.v, (GIB(4) + 17 * node_size) / FRAME_SIZE);
    CHECK_EQ(frame_free(first, request.count), OK);
    for (; frame_alloc(&request, &first) == OK; blocks++)
        CHECK(is_aligned(first.v, request.count));
    CHECK_EQ(blocks, total / GIB(4));
    CHECK_EQ(frame_free_count(), 0);
    for (uint64_t i = 0; i < blocks; i++)
        CHECK_EQ(frame_free(pfn(GIB(4) / FRAME_SIZE + i * request.count), request.count), OK);
    CHECK_EQ(frame_free_count(), total / FRAME_SIZE);
    /* 64 GiB of descriptors, of which nothing is there until it is used. */
    CHECK_EQ(frame_descriptor_bytes(), (total / FRAME_SIZE + frame_reserved()) * sizeof(struct frame_info));
    CHECK_EQ(layout_descriptors_touched(), 0);
    CHECK_EQ(frame_alloc(&request, &first), OK);
    CHECK_EQ(frame_ref(first), OK);
    CHECK_EQ(frame_ref(pfn(first.v + request.count - 1)), OK);
    CHECK_EQ(layout_descriptors_touched(), 2);
    layout_end();
}

/* All memory once taken in single frames; afterwards 1 GiB comes in one piece. */
TEST(layout, small_runs_then_one_gib)
{
    struct frame_request request = request_for(1 << 18);
    pfn_t first;

    layout_begin(1);
    layout_ram(0, GIB(2) - MIB(3), GIB(3) + MIB(1));
    CHECK_EQ(layout_start(&no_limits), OK);
    CHECK(drain_and_refill());
    request.align = request.count;
    CHECK_EQ(frame_alloc(&request, &first), OK);
    CHECK_EQ(first.v, GIB(2) / FRAME_SIZE);
    CHECK(frame_check() == NULL);
    layout_end();
}

/* No chunk is whole and none has two free frames side by side, save where a run was made; it is found. */
TEST(layout, odd_run_in_a_checkerboard)
{
    const uint64_t start = MIB(256) / FRAME_SIZE, frames = MIB(128) / FRAME_SIZE;
    struct frame_request request = request_for(3);
    pfn_t first;

    layout_begin(1);
    layout_ram(0, start * FRAME_SIZE, (start + frames + LAYOUT_RESERVE) * FRAME_SIZE);
    CHECK_EQ(layout_start(&no_limits), OK);
    for (uint64_t i = 0; i < frames / CHUNK_FRAMES; i++)
        CHECK_EQ(frame_alloc(&(struct frame_request){.count = 512, .zone = ZONE_NORMAL}, &first), OK);
    for (uint64_t i = 0; i < frames; i += 4) /* pairs, aligned */
        CHECK_EQ(frame_free(pfn(start + i), 2), OK);
    CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY);
    CHECK_EQ(frame_free(pfn(start + frames - 297), 1), OK); /* before a pair */
    CHECK_EQ(frame_alloc(&request, &first), OK);
    CHECK_EQ(first.v, start + frames - 297);
    CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY);
    request.count = 2;
    request.align = 4;
    CHECK_EQ(frame_alloc(&request, &first), OK);
    CHECK(frame_check() == NULL);
    layout_end();
}

/* Two nodes, memory held back over the DMA border and the node border, and one chunk held back as a whole. */
static status_t start_with_late_memory(void)
{
    layout_begin(2);
    layout_ram(0, MIB(8), MIB(20));
    layout_ram(1, MIB(20), MIB(64));
    layout_part(MIB(15), MIB(22), MEM_BOOT_RECLAIM);
    layout_part(MIB(32), MIB(34), MEM_MODULE);
    layout_part(MIB(40), MIB(42), MEM_RESERVED);
    return layout_start(&pc_limits);
}

TEST(layout, late_memory_is_refused)
{
    const uint64_t base = MIB(32) / FRAME_SIZE;
    uint64_t managed;
    unsigned zone = 9;

    CHECK_EQ(start_with_late_memory(), OK);
    managed = frame_managed();
    CHECK_EQ(managed, layout_usable_frames());
    CHECK_EQ(frame_query(pfn(base), &zone), FRAME_UNMANAGED);
    CHECK_EQ(frame_free(pfn(base), 1), ERR_INVALID);
    CHECK_EQ(frame_release(pfn(base), 0), ERR_INVALID);
    CHECK_EQ(frame_release(pfn(base - 1), 2), ERR_BUSY);                /* the first is managed */
    CHECK_EQ(frame_release(pfn(MIB(40) / FRAME_SIZE), 1), ERR_INVALID); /* not ours */
    CHECK_EQ(frame_release(pfn(MIB(63) / FRAME_SIZE), 512), ERR_INVALID);
    CHECK_EQ(frame_release(pfn(UINT64_MAX), 2), ERR_INVALID);
    CHECK_EQ(frame_managed(), managed);
    CHECK(frame_check() == NULL);
    layout_end();
}

TEST(layout, late_memory_in_parts)
{
    const uint64_t base = MIB(32) / FRAME_SIZE;
    uint64_t managed;
    unsigned zone;

    CHECK_EQ(start_with_late_memory(), OK);
    managed = frame_managed();
    /* A chunk in three parts, the last making it whole. */
    CHECK_EQ(frame_release(pfn(base + 100), 7), OK);
    CHECK_EQ(frame_query(pfn(base + 100), &zone), FRAME_FREE);
    CHECK_EQ(frame_query(pfn(base + 99), &zone), FRAME_UNMANAGED);
    CHECK_EQ(frame_free(pfn(base + 99), 1), ERR_INVALID);
    CHECK_EQ(frame_free(pfn(base + 100), 7), ERR_BUSY);
    CHECK_EQ(frame_free(pfn(base + 100), 8), ERR_INVALID);
    CHECK_EQ(frame_release(pfn(base + 106), 5), ERR_BUSY);
    CHECK(frame_check() == NULL);
    CHECK_EQ(frame_release(pfn(base), 100), OK);
    CHECK_EQ(frame_release(pfn(base + 107), 405), OK);
    CHECK_EQ(frame_managed(), managed + 512);
    CHECK(frame_check() == NULL);
    /* Over two borders at once. */
    CHECK_EQ(frame_release(pfn(MIB(15) / FRAME_SIZE), MIB(7) / FRAME_SIZE), OK);
    CHECK_EQ(frame_managed(), managed + 512 + MIB(7) / FRAME_SIZE);
    CHECK_EQ(frame_free_count() + frame_reserved(), frame_managed());
    CHECK(frame_check() == NULL);
    CHECK(drain_and_refill());
    layout_end();
}

/* Every second frame: the table of ranges fills up, and says so. */
TEST(layout, late_memory_in_too_many_pieces)
{
    uint64_t frame = MIB(4) / FRAME_SIZE, managed;
    status_t status = OK;

    layout_begin(1);
    layout_ram(0, MIB(2), MIB(16));
    layout_part(MIB(4), MIB(12), MEM_KERNEL);
    CHECK_EQ(layout_start(&no_limits), OK);
    for (; frame < MIB(12) / FRAME_SIZE && status == OK; frame += 2)
        status = frame_release(pfn(frame + 1), 1);
    CHECK_EQ(status, ERR_FULL);
    managed = frame_managed();
    CHECK(frame_check() == NULL);
    CHECK_EQ(frame_free_count() + frame_reserved(), managed);
    CHECK(managed > layout_usable_frames() + 100);
    layout_end();
}

/* The kernel sizes the metadata first and then takes memory for it and for page tables out of the map. */
TEST(layout, early_memory_after_sizing)
{
    uint64_t size;
    void *memory;

    layout_begin(2);
    layout_ram(0, MIB(1), MIB(128));
    layout_ram(1, MIB(128), MIB(256));
    CHECK_EQ(layout_settle(), OK);
    size = frame_metadata_size(&layout_map, &layout_topo, &pc_limits);
    for (unsigned i = 0; i < 30; i++)
        layout_part(MIB(2) + i * MIB(7), MIB(2) + i * MIB(7) + 0x5000, MEM_EARLY);
    CHECK_EQ(layout_settle(), OK);
    memory = aligned_alloc(FRAME_SIZE, size);
    CHECK(memory != NULL);
    for (uint64_t i = 0; i < size; i++)
        ((uint8_t *)memory)[i] = 0;
    CHECK_EQ(frame_init(&layout_map, &layout_topo, &pc_limits, memory, size), OK);
    CHECK_EQ(frame_managed(), layout_usable_frames());
    CHECK(frame_check() == NULL);
    CHECK_EQ(frame_init(&layout_map, &layout_topo, &pc_limits, memory, 4096), ERR_INVALID);
    free(memory);
}

TEST(layout, no_memory_at_all)
{
    pfn_t first;
    unsigned zone;

    layout_begin(1);
    layout_part(MIB(1), MIB(2), MEM_RESERVED);
    CHECK_EQ(layout_start(&pc_limits), OK);
    CHECK_EQ(frame_zone_count(), 0);
    CHECK_EQ(frame_alloc_one(0, &first), ERR_NO_MEMORY);
    CHECK_EQ(frame_free(pfn(256), 1), ERR_INVALID);
    CHECK_EQ(frame_query(pfn(256), &zone), FRAME_UNMANAGED);
    CHECK_EQ(frame_free_count() + frame_managed(), 0);
    CHECK(frame_check() == NULL);
    layout_end();
}

/* A CPU's own node comes first for requests that name none. */
TEST(layout, local_node_first)
{
    struct frame_request request = {.count = 1, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL};
    pfn_t first;

    layout_begin(3);
    for (unsigned i = 0; i < 3; i++)
        layout_ram(i, GIB(1) + i * MIB(16), GIB(1) + (i + 1) * MIB(16));
    CHECK_EQ(layout_start(&no_limits), OK);
    for (unsigned node = 0; node < 3; node++) {
        frame_cpu_node(0, (uint16_t)node);
        CHECK_EQ(frame_alloc(&request, &first), OK);
        CHECK_EQ(first.v / (MIB(16) / FRAME_SIZE), GIB(1) / MIB(16) + node);
    }
    layout_end();
}

/* ---- Descriptors --------------------------------------------------------------------------------------- */

/* Every frame has its own, over all zones and holes, and frame_info_next goes over exactly these. */
TEST(layout, descriptors_of_all_frames)
{
    const struct frame_info *info, *last = NULL;
    uint64_t frames = 0, visited = 0, end = MIB(64) / FRAME_SIZE + 9;
    unsigned zone;

    CHECK_EQ(start_with_late_memory(), OK);
    for (uint64_t frame = 0; frame < end; frame++) {
        bool ram = frame >= MIB(8) / FRAME_SIZE && frame < MIB(64) / FRAME_SIZE &&
                   !(frame >= MIB(40) / FRAME_SIZE && frame < MIB(42) / FRAME_SIZE);

        info = frame_info(pfn(frame));
        CHECK_EQ(info != NULL, ram);
        if (!ram)
            continue;
        CHECK(info > last && info->owner == 0);
        frame_info(pfn(frame))->owner = frame;
        last = info;
        frames++;
    }
    for (pfn_t frame = pfn(0); (info = frame_info_next(&frame)) != NULL; frame.v++, visited++)
        CHECK_EQ(info->owner, frame.v);
    CHECK_EQ(visited, frames);
    CHECK_EQ(frame_descriptor_bytes(), frames * sizeof(struct frame_info));
    /* Memory for descriptors alone, or nearly so, is not enough. */
    for (uint64_t size = 0; size < 3; size++) {
        uint64_t bytes = frame_descriptor_bytes() + (size - 1) * FRAME_SIZE;

        CHECK_EQ(frame_init(&layout_map, &layout_topo, &pc_limits, NULL, bytes), ERR_INVALID);
    }
    CHECK_EQ(frame_query(pfn(MIB(40) / FRAME_SIZE), &zone), FRAME_UNMANAGED);
    layout_end();
}

/* More sites than there is room for: all that have a number have the right one, the others have none. */
TEST(layout, sites_without_end)
{
    struct frame_request request = request_for(1);
    uint64_t known = 0;
    pfn_t first;

    layout_begin(1);
    layout_ram(0, MIB(8), MIB(25));
    CHECK_EQ(layout_start(&no_limits), OK);
    CHECK_EQ(frame_debug_set(FRAME_DEBUG_OWNER), OK);
    for (uintptr_t site = 1; site < 4 * FRAME_SITES; site++) {
        uint16_t number;

        request.site = 16 * site;
        CHECK_EQ(frame_alloc(&request, &first), OK);
        number = frame_info(first)->site;
        CHECK(number <= FRAME_SITES && (number == 0 || frame_site_address(number) == request.site));
        known += number != 0;
        if (site == FRAME_SITES / 2)
            CHECK_EQ(known, site);
    }
    CHECK(known <= FRAME_SITES && known > FRAME_SITES * 9 / 10);
    CHECK(frame_check() == NULL);
    CHECK_EQ(frame_debug_set(0), OK);
    layout_end();
}

/* A run that ends where its zone does: the frames behind it are another's. */
TEST(layout, frees_over_a_border_in_debug_mode)
{
    struct frame_request request = request_for(MIB(12) / FRAME_SIZE);
    unsigned reports;
    pfn_t first;

    layout_begin(2);
    layout_ram(0, MIB(8), MIB(20));
    layout_ram(1, MIB(20), MIB(32));
    layout_add_reserves(&no_limits);
    CHECK_EQ(layout_start(&no_limits), OK);
    CHECK_EQ(frame_debug_set(FRAME_DEBUG_OWNER | FRAME_DEBUG_POISON), OK); /* with nothing to fill */
    for (request.node = 0; request.node < 2; request.node++)
        CHECK_EQ(frame_alloc(&request, &first), OK);
    reports = test_reports();
    CHECK_EQ(frame_free(pfn(MIB(20) / FRAME_SIZE - 1), 2), ERR_INVALID);
    CHECK_EQ(test_reports(), reports + 1);
    CHECK_EQ(frame_free_count(), 0);
    CHECK_EQ(frame_free(pfn(MIB(8) / FRAME_SIZE), request.count), OK);
    CHECK_EQ(frame_free(pfn(MIB(20) / FRAME_SIZE), request.count), OK);
    CHECK(frame_check() == NULL);
    CHECK_EQ(frame_debug_set(0), OK);
    layout_end();
}
