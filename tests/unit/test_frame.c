/* SPDX-License-Identifier: MIT
 *
 * The frame allocator's contract, field by field, on whatever machine runs it. Storms and random sequences
 * are in test_frame_stress.c.
 */
#include <string.h>

#include <mm/frame_metrics.h>
#include <mm/frame_pressure.h>
#include <mm/port.h>

#include "frame_support.h"

/* Memory that the exhaustion tests touch frame by frame, at most; beyond it they take larger runs. */
#define SINGLE_FRAMES_MAX 8192

TEST(frame, zones_are_sane)
{
    uint64_t managed = 0, free = 0;

    CHECK(frame_zone_count() > 0 && frame_zone_count() <= FRAME_MAX_ZONES);
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_zone_info info;
        struct frame_zone_stats stats;

        frame_zone_info(i, &info);
        frame_zone_stats(i, &stats);
        CHECK(info.node < frame_topo()->node_count);
        CHECK(info.kind < ZONE_KINDS && zone_name(info.kind)[0] != '\0');
        CHECK(info.start.v < info.end.v);
        CHECK(stats.managed <= info.end.v - info.start.v && stats.free + stats.reserved <= stats.managed);
        CHECK(stats.largest_run <= stats.free);
        CHECK_EQ(zone_find(info.node, info.kind), i);
        managed += stats.managed;
        free += stats.free;
    }
    CHECK_EQ(frame_managed(), managed);
    CHECK_EQ(frame_free_count(), free);
    CHECK_RESTORED(free);
}

/* Blocks by order add up to the free frames, and whole chunks to the buddy's part. */
TEST(frame, statistics_add_up)
{
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_zone_stats stats;
        uint64_t small = 0, large = 0;

        frame_zone_stats(i, &stats);
        for (unsigned order = 0; order < FRAME_ORDERS; order++)
            *(order < CHUNK_SHIFT ? &small : &large) += stats.free_blocks[order] << order;
        CHECK_EQ(small + large, stats.free - stats.cached);
        CHECK_EQ(large / CHUNK_FRAMES, stats.whole_chunks - stats.cached_chunks);
        CHECK(stats.whole_chunks <= stats.chunks);
        for (unsigned order = 0; order < FRAME_ORDERS; order++)
            CHECK(stats.free_blocks[order] == 0 || stats.largest_run >= UINT64_C(1) << order);
    }
}

TEST(frame, counts_follow_each_call)
{
    uint64_t before = frame_free_count();
    struct frame_zone_stats old, new;
    unsigned zone = 0;
    pfn_t frame;

    CHECK_EQ(frame_alloc_one(0, &frame), OK);
    CHECK_EQ(frame_free_count(), before - 1);
    CHECK_EQ(frame_query(frame, &zone), FRAME_ALLOCATED);
    frame_zone_stats(zone, &old);
    CHECK_EQ(frame_free(frame, 1), OK);
    CHECK_EQ(frame_query(frame, &zone), FRAME_FREE);
    frame_zone_stats(zone, &new);
    CHECK_EQ(new.frees, old.frees + 1);
    CHECK_EQ(new.allocs, old.allocs);
    CHECK_EQ(new.free, old.free + 1);
    CHECK_RESTORED(before);
}

TEST(frame, no_two_share_a_frame)
{
    uint64_t before = frame_free_count();
    struct chain chain = {0};
    pfn_t frame[256];

    for (unsigned i = 0; i < ARRAY_LEN(frame); i++) {
        CHECK_EQ(frame_alloc_one(0, &frame[i]), OK);
        mark_frames(frame[i], 1, 7);
        chain_push(&chain, frame[i], 1);
    }
    for (unsigned i = 0; i < ARRAY_LEN(frame); i++)
        CHECK(marks_intact(frame[i], 1, 7));
    chain_free_all(&chain);
    CHECK(!chain.damaged);
    CHECK_RESTORED(before);
}

/* Takes everything, first in runs of 2^order, until SINGLE_FRAMES_MAX are left, then frame by frame. */
static void take_everything(struct chain *chain)
{
    unsigned order = FRAME_ORDERS - 1;

    while (free_mapped() > SINGLE_FRAMES_MAX) {
        struct frame_request request = ANY_FRAMES(UINT64_C(1) << order);
        pfn_t first;

        if (request.count <= free_mapped() - SINGLE_FRAMES_MAX / 2 && frame_alloc(&request, &first) == OK)
            chain_push(chain, first, request.count);
        else if (order-- == 0)
            break;
    }
    chain_take_all(chain, ANY_FRAMES(1), 0);
}

TEST(frame, exhaustion_and_refill_count_alike)
{
    uint64_t before = frame_free_count(), mapped = free_mapped(), runs = 0;

    for (unsigned round = 0; round < 2; round++) {
        struct chain chain = {0};

        take_everything(&chain);
        CHECK_EQ(chain.frames, mapped);
        CHECK_EQ(free_mapped(), 0);
        for (uint64_t count = 1; count <= 1024; count *= 2) {
            pfn_t first;

            CHECK_EQ(frame_alloc(&ANY_FRAMES(count), &first), ERR_NO_MEMORY);
        }
        CHECK(frame_check() == NULL);
        CHECK(round == 0 || chain.runs == runs);
        runs = chain.runs;
        chain_free_all(&chain);
        CHECK(!chain.damaged);
        CHECK_RESTORED(before);
    }
}

/* What small runs took goes back to the buddy as soon as it is whole again. */
TEST(frame, chunks_return_to_the_buddy)
{
    frame_drain();
    uint64_t before = frame_free_count();
    uint64_t blocks_before[FRAME_ORDERS] = {0}, blocks_after[FRAME_ORDERS] = {0};
    struct chain chain = {0};
    struct frame_zone_stats stats;

    for (unsigned i = 0; i < frame_zone_count(); i++) {
        frame_zone_stats(i, &stats);
        for (unsigned order = 0; order < FRAME_ORDERS; order++)
            blocks_before[order] += stats.free_blocks[order];
    }
    for (unsigned i = 0; i < SINGLE_FRAMES_MAX / 4; i++) {
        pfn_t first;

        if (frame_alloc(&ANY_FRAMES(1 + i % 7), &first) != OK)
            break;
        chain_push(&chain, first, 1 + i % 7);
    }
    chain_free_all(&chain);
    CHECK(!chain.damaged);
    frame_drain();
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        frame_zone_stats(i, &stats);
        for (unsigned order = 0; order < FRAME_ORDERS; order++)
            blocks_after[order] += stats.free_blocks[order];
    }
    CHECK(memcmp(blocks_before, blocks_after, sizeof(blocks_before)) == 0);
    CHECK_RESTORED(before);
}

/* The zone that a frame is in, and no other. */
static void from_zone_of(pfn_t frame, struct frame_request *request)
{
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_zone_info zone;
        frame_zone_info(i, &zone);
        if (frame.v >= zone.start.v && frame.v < zone.end.v) {
            request->node = zone.node;
            request->zone = zone.kind;
        }
    }
    request->flags = FRAME_THIS_NODE | FRAME_THIS_ZONE;
}

/* A run from the threshold on starts a chunk although a partly used one has room; below, it shares one. In
 * one zone: a node without a free chunk takes what it has. */
TEST(frame, threshold)
{
    struct frame_request request = ANY_FRAMES(CHUNK_FRAMES);
    uint64_t before = frame_free_count();
    pfn_t small, run;

    CHECK_EQ(frame_set_threshold(1), ERR_INVALID);
    CHECK_EQ(frame_set_threshold(CHUNK_FRAMES + 1), ERR_INVALID);
    frame_set_caching(false);
    CHECK_EQ(frame_alloc(&ANY_FRAMES(3), &small), OK); /* leaves its chunk partly used */
    from_zone_of(small, &request);
    bool chunk_free = frame_alloc(&request, &run) == OK && frame_free(run, CHUNK_FRAMES) == OK;
    CHECK_EQ(frame_set_threshold(64), OK);
    request.count = 64;
    if (chunk_free) {
        CHECK_EQ(frame_alloc(&request, &run), OK);
        CHECK(is_aligned(run.v, CHUNK_FRAMES));
        CHECK_EQ(frame_free(run, 64), OK);
    }
    CHECK_EQ(frame_alloc(&ANY_FRAMES(63), &run), OK);
    CHECK(!is_aligned(run.v, CHUNK_FRAMES));
    CHECK_EQ(frame_free(run, 63), OK);
    CHECK_EQ(frame_free(small, 3), OK);
    CHECK_EQ(frame_set_threshold(CHUNK_FRAMES), OK);
    frame_set_caching(true);
    CHECK_RESTORED(before);
    if (!chunk_free)
        SKIP("no chunk is free");
}

TEST(frame, lengths_are_exact)
{
    static const uint64_t length[] = {1, 2, 63, 64, 65, 511, 512, 513, 1000, 1024, 1537};
    uint64_t before = frame_free_count();

    for (unsigned i = 0; i < ARRAY_LEN(length); i++) {
        uint64_t count = length[i], part = (count + 1) / 2;
        pfn_t first;

        if (frame_alloc(&ANY_FRAMES(count), &first) != OK)
            SKIP("too little memory in one piece");
        CHECK_EQ(frame_free_count(), before - count);
        mark_frames(first, count, 3);
        CHECK(marks_intact(first, count, 3));
        CHECK(frame_check() == NULL);
        /* Back in two parts, the later first. */
        if (count > part)
            CHECK_EQ(frame_free(pfn(first.v + part), count - part), OK);
        CHECK_EQ(frame_free_count(), before - part);
        CHECK_EQ(frame_free(first, part), OK);
        CHECK_RESTORED(before);
    }
}

/* Whether any zone up to Normal has a whole chunk free. */
static bool chunk_is_free(void)
{
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_zone_info info;
        struct frame_zone_stats stats;

        frame_zone_info(i, &info);
        frame_zone_stats(i, &stats);
        if (info.kind <= ZONE_NORMAL && stats.whole_chunks > 0)
            return true;
    }
    return false;
}

TEST(frame, alignment)
{
    static const uint64_t length[] = {1, 3, 64, 512, 700};
    uint64_t before = frame_free_count();

    for (unsigned i = 0; i < ARRAY_LEN(length); i++) {
        for (unsigned order = 0; order < FRAME_ORDERS; order++) {
            struct frame_request request = ANY_FRAMES(length[i]);
            pfn_t first;

            request.align = UINT64_C(1) << order;
            if (frame_alloc(&request, &first) != OK) {
                CHECK(order > CHUNK_SHIFT || length[i] > CHUNK_FRAMES || !chunk_is_free());
                continue;
            }
            CHECK(is_aligned(first.v, request.align));
            CHECK_EQ(frame_free(first, length[i]), OK);
        }
    }
    CHECK_RESTORED(before);
}

TEST(frame, address_limit)
{
    static const uint64_t length[] = {1, 5, 512, 513};
    uint64_t before = frame_free_count();

    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_zone_info info;
        struct frame_zone_stats stats;

        frame_zone_info(i, &info);
        frame_zone_stats(i, &stats);
        for (unsigned j = 0; j < 4 * ARRAY_LEN(length); j++) {
            struct frame_request request = ANY_FRAMES(length[j / 4]);
            uint64_t span = info.end.v - info.start.v;
            pfn_t first;

            /* Limits inside the zone, also inside a frame. */
            request.node = info.node;
            request.limit = (info.start.v + span * (j % 4 + 1) / 4) * FRAME_SIZE - 1;
            if (info.kind > ZONE_NORMAL || frame_alloc(&request, &first) != OK) {
                /* Below a limit at the zone's end at most one whole chunk of it is lost. */
                CHECK(info.kind > ZONE_NORMAL || j % 4 < 3 || stats.whole_chunks < 2 ||
                      request.count > CHUNK_FRAMES);
                continue;
            }
            CHECK((first.v + request.count) * FRAME_SIZE <= request.limit);
            CHECK_EQ(frame_free(first, request.count), OK);
        }
    }
    CHECK_RESTORED(before);
}

/* A limit one byte short of where a run would end: it must lie elsewhere or nowhere. */
TEST(frame, address_limit_to_the_byte)
{
    static const uint64_t length[] = {1, 5, 511, 512, 513, 1024};
    uint64_t before = frame_free_count();

    for (unsigned i = 0; i < ARRAY_LEN(length); i++) {
        struct frame_request request = ANY_FRAMES(length[i]);
        pfn_t first, other;

        if (frame_alloc(&request, &first) != OK)
            SKIP("too little memory in one piece");
        CHECK_EQ(frame_free(first, length[i]), OK);
        for (uint64_t less = 0; less < 2; less++) {
            request.limit = (first.v + length[i]) * FRAME_SIZE - less;
            if (frame_alloc(&request, &other) == OK) {
                CHECK((other.v + length[i]) * FRAME_SIZE <= request.limit);
                CHECK_EQ(frame_free(other, length[i]), OK);
            } else {
                CHECK_EQ(less, 1);
            }
        }
    }
    CHECK_RESTORED(before);
}

/* With a limit everything below it can be had, and nothing else. */
TEST(frame, everything_below_a_limit)
{
    uint64_t before = frame_free_count(), below = 0, end;
    struct frame_request request = ANY_FRAMES(1);
    struct frame_zone_info info;
    struct chain chain = {0};
    unsigned zone;

    frame_zone_info(0, &info);
    end = min_u64(info.end.v, info.start.v + 3 * CHUNK_FRAMES + 77);
    for (uint64_t frame = info.start.v; frame < end; frame++)
        below += frame_query(pfn(frame), &zone) == FRAME_FREE && zone == 0;
    request.node = info.node;
    request.zone = info.kind;
    request.flags = FRAME_THIS_NODE | FRAME_THIS_ZONE;
    request.limit = end * FRAME_SIZE;
    chain_take_all(&chain, request, 9);
    CHECK_EQ(chain.frames, below);
    for (const struct link *link = chain.top; link != NULL; link = link->next)
        CHECK(port_virt_to_phys(link).v + link->count * FRAME_SIZE <= request.limit);
    chain_free_all(&chain);
    CHECK(!chain.damaged);
    CHECK_RESTORED(before);
}

TEST(frame, boundary)
{
    static const uint64_t length[] = {1, 2, 3, 5, 8, 100, 511, 512, 513, 1024};
    uint64_t before = frame_free_count();
    struct chain chain = {0};

    for (unsigned i = 0; i < ARRAY_LEN(length); i++) {
        for (unsigned j = 0; j < 8; j++) {
            struct frame_request request = ANY_FRAMES(length[i]);
            pfn_t first;

            request.boundary = 1;
            while (request.boundary < length[i])
                request.boundary *= 2;
            request.boundary <<= j / 4;
            if (frame_alloc(&request, &first) != OK) {
                CHECK(length[i] > CHUNK_FRAMES || !chunk_is_free()); /* shorter ones fit into any */
                continue;
            }
            CHECK_EQ(align_down(first.v, request.boundary),
                     align_down(first.v + length[i] - 1, request.boundary));
            chain_push(&chain, first, length[i]);
        }
    }
    chain_free_all(&chain);
    CHECK(!chain.damaged);
    CHECK_RESTORED(before);
}

TEST(frame, given_frames)
{
    static const uint64_t length[] = {1, 70, 512, 1300};
    uint64_t before = frame_free_count();

    for (unsigned i = 0; i < ARRAY_LEN(length); i++) {
        struct frame_request request = ANY_FRAMES(length[i] + 8);
        pfn_t area, first;

        if (frame_alloc(&request, &area) != OK)
            SKIP("too little memory in one piece");
        CHECK_EQ(frame_free(area, request.count), OK);
        request.count = length[i];
        request.flags = FRAME_AT;
        request.at = pfn(area.v + 3);
        CHECK_EQ(frame_alloc(&request, &first), OK);
        CHECK_EQ(first.v, area.v + 3);
        CHECK_EQ(frame_free_count(), before - length[i]);
        CHECK(frame_check() == NULL);
        /* Once more, and overlapping by one frame at either end. */
        CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY);
        request.at = pfn(area.v + 3 + length[i] - 1);
        CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY);
        request.count = 4;
        request.at = area;
        CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY);
        CHECK_EQ(frame_free_count(), before - length[i]);
        CHECK_EQ(frame_free(pfn(area.v + 3), length[i]), OK);
        CHECK_RESTORED(before);
    }
}

TEST(frame, zeroed)
{
    struct frame_request request = ANY_FRAMES(3);
    uint64_t before = frame_free_count();
    pfn_t first;
    const uint64_t *word;

    CHECK_EQ(frame_alloc(&request, &first), OK);
    memset(port_phys_to_virt(paddr_of(first)), 0xa5, 3 * FRAME_SIZE);
    CHECK_EQ(frame_free(first, 3), OK);
    request.flags = FRAME_AT | FRAME_ZEROED;
    request.at = first;
    CHECK_EQ(frame_alloc(&request, &first), OK);
    word = port_phys_to_virt(paddr_of(first));
    for (unsigned i = 0; i < 3 * FRAME_SIZE / 8; i++)
        CHECK_EQ(word[i], 0);
    CHECK_EQ(frame_free(first, 3), OK);
    CHECK_RESTORED(before);
}

TEST(frame, invalid_requests)
{
    uint64_t before = frame_free_count();
    pfn_t first = pfn(42);
    struct frame_request bad[] = {
        {.count = 0, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL},
        {.count = (1 << 20) + 1, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL},
        {.count = UINT64_MAX, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL},
        {.count = 1, .align = 3, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL},
        {.count = 1, .align = 1 << 21, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL},
        {.count = 4, .boundary = 2, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL},
        {.count = 4, .boundary = 12, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL},
        {.count = 1, .node = (uint16_t)frame_topo()->node_count, .zone = ZONE_NORMAL},
        {.count = 1, .node = FRAME_NODE_ANY, .zone = ZONE_KINDS},
        {.count = 1, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL, .flags = FRAME_FLAGS_ALL + 1},
        {.count = 1, .align = 4, .at = {5}, .flags = FRAME_AT, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL},
        {.count = 4,
         .boundary = 4,
         .at = {6},
         .flags = FRAME_AT,
         .node = FRAME_NODE_ANY,
         .zone = ZONE_NORMAL},
        {.count = 1, .at = {UINT64_MAX}, .flags = FRAME_AT, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL},
    };

    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_EQ(frame_alloc(&bad[i], &first), ERR_INVALID);
    CHECK_EQ(first.v, 42);
    CHECK_RESTORED(before);
}

static uint64_t all_drains(void)
{
    struct frame_cpu_stats stats;
    uint64_t drains = 0;

    for (unsigned i = 0; i < frame_topo()->cpu_count; i++) {
        frame_cpu_stats(i, &stats);
        drains += stats.drains;
    }
    return drains;
}

/* They are refused, and no cache is emptied for what emptying it could not help. */
TEST(frame, impossible_requests)
{
    uint64_t before = frame_free_count(), drains;
    struct frame_request request = ANY_FRAMES(2);
    struct frame_zone_info last;
    pfn_t first;

    CHECK_EQ(frame_alloc_one(0, &first), OK); /* the cache is open now */
    CHECK_EQ(frame_free(first, 1), OK);
    drains = all_drains();
    request.limit = FRAME_SIZE; /* two frames below the second one */
    CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY);
    request = ANY_FRAMES(1);
    request.zone = ZONE_DEVICE; /* never served from RAM */
    CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY);
    frame_zone_info(frame_zone_count() - 1, &last);
    request = ANY_FRAMES(1);
    request.flags = FRAME_AT;
    request.at = pfn(last.end.v + (UINT64_C(1) << 40)); /* no such frame */
    CHECK_EQ(frame_alloc(&request, &first), ERR_NO_MEMORY);
    CHECK_EQ(all_drains(), drains);
    CHECK_RESTORED(before);
}

TEST(frame, wrong_frees_change_nothing)
{
    frame_set_caching(false);
    uint64_t before = frame_free_count();
    pfn_t first;

    CHECK_EQ(frame_alloc(&ANY_FRAMES(16), &first), OK);
    CHECK_EQ(frame_free(first, 0), ERR_INVALID);
    CHECK_EQ(frame_free(pfn(UINT64_MAX), 1), ERR_INVALID);
    CHECK_EQ(frame_free(pfn(UINT64_C(1) << 51), 1), ERR_INVALID);
    CHECK_EQ(frame_free(first, UINT64_MAX), ERR_INVALID);
    CHECK_EQ(frame_free(pfn(first.v + 4), 8), OK);
    CHECK_EQ(frame_free(pfn(first.v + 4), 8), ERR_BUSY); /* twice */
    CHECK_EQ(frame_free(first, 16), ERR_BUSY);           /* a part is free */
    CHECK_EQ(frame_free(pfn(first.v + 3), 2), ERR_BUSY);
    CHECK_EQ(frame_free_count(), before - 8);
    CHECK(frame_check() == NULL);
    CHECK_EQ(frame_free(first, 4), OK);
    CHECK_EQ(frame_free(pfn(first.v + 12), 4), OK);
    CHECK_EQ(frame_free(first, 1), ERR_BUSY);
    frame_set_caching(true);
    CHECK_RESTORED(before);
}

TEST(frame, wrong_frees_of_large_runs)
{
    frame_set_caching(false);
    uint64_t before = frame_free_count();
    pfn_t first;

    if (frame_alloc(&ANY_FRAMES(1300), &first) != OK)
        SKIP("too little memory in one piece");
    CHECK_EQ(frame_free(pfn(first.v + 600), 1), OK);
    CHECK_EQ(frame_free(first, 1300), ERR_BUSY);
    CHECK_EQ(frame_free_count(), before - 1299);
    CHECK_EQ(frame_free(first, 600), OK);
    CHECK_EQ(frame_free(pfn(first.v + 601), 699), OK);
    CHECK_EQ(frame_free(first, 512), ERR_BUSY);
    frame_set_caching(true);
    CHECK_RESTORED(before);
}

/* Everywhere around and inside the zones: what is not managed cannot be freed. */
TEST(frame, unmanaged_frames_are_refused)
{
    frame_set_caching(false);
    uint64_t before = frame_free_count();

    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_zone_info info;
        unsigned zone;

        frame_zone_info(i, &info);
        for (uint64_t j = 0; j < 64; j++) {
            pfn_t frame = pfn(info.start.v + (info.end.v - info.start.v) * j / 64);

            if (frame_query(frame, &zone) == FRAME_UNMANAGED)
                CHECK_EQ(frame_free(frame, 1), ERR_INVALID);
        }
        if (frame_query(info.end, &zone) == FRAME_UNMANAGED)
            CHECK_EQ(frame_free(info.end, 1), ERR_INVALID);
    }
    frame_set_caching(true);
    CHECK_RESTORED(before);
}

/* ---- Order of search ----------------------------------------------------------------------------------- */

/* Takes every frame of a node that a Normal request may have. */
static void take_node(struct chain *chain, uint16_t node)
{
    struct frame_request request = ANY_FRAMES(1);

    request.node = node;
    request.flags = FRAME_THIS_NODE;
    chain_take_all(chain, request, FRAME_ORDERS - 1);
}

TEST(frame, nodes_in_order_of_distance)
{
    const struct topo *topo = frame_topo();
    uint64_t before = frame_free_count();

    if (topo->node_count < 2)
        SKIP("one node");
    for (uint16_t start = 0; start < topo->node_count && start < 4; start++) {
        struct chain chain = {0};

        for (unsigned i = 0; i < topo->node_count; i++) {
            uint16_t node = topo->fallback[start][i];
            struct frame_request request = ANY_FRAMES(1);
            pfn_t frame;

            if (free_on_node(node) == 0)
                continue;
            request.node = start;
            CHECK_EQ(frame_alloc(&request, &frame), OK);
            CHECK_EQ(node_of(frame), node);
            CHECK_EQ(frame_free(frame, 1), OK);
            take_node(&chain, node);
            CHECK_EQ(free_on_node(node), 0);
            request.node = node;
            request.flags = FRAME_THIS_NODE;
            CHECK_EQ(frame_alloc(&request, &frame), ERR_NO_MEMORY);
        }
        chain_free_all(&chain);
        CHECK(!chain.damaged);
    }
    CHECK_RESTORED(before);
}

TEST(frame, lower_zones_stand_in)
{
    uint64_t before = frame_free_count();
    bool tried = false;

    for (unsigned i = 0; i + 1 < frame_zone_count(); i++) {
        struct frame_zone_info low, high, got;
        struct frame_zone_stats stats;
        struct frame_pressure_info pressure;
        struct frame_request request = ANY_FRAMES(1);
        struct chain chain = {0};
        unsigned zone = 0;
        pfn_t frame;

        frame_zone_info(i, &low);
        frame_zone_info(i + 1, &high);
        if (low.node != high.node || high.kind > ZONE_NORMAL)
            continue;
        tried = true;
        request.node = high.node;
        request.zone = high.kind;
        request.flags = FRAME_THIS_NODE | FRAME_THIS_ZONE;
        chain_take_all(&chain, request, FRAME_ORDERS - 1);
        CHECK_EQ(frame_alloc(&request, &frame), ERR_NO_MEMORY);
        frame_zone_stats(i, &stats);
        frame_pressure_info(i, &pressure);
        request.flags = FRAME_THIS_NODE;
        if (stats.free > pressure.protect[high.kind]) {
            CHECK_EQ(frame_alloc(&request, &frame), OK);
            CHECK_EQ(frame_query(frame, &zone), FRAME_ALLOCATED);
            frame_zone_info(zone, &got);
            CHECK_EQ(got.node, low.node);
            CHECK_EQ(got.kind, low.kind);
            CHECK_EQ(frame_free(frame, 1), OK);
        }
        chain_free_all(&chain);
        CHECK(!chain.damaged);
    }
    CHECK_RESTORED(before);
    if (!tried)
        SKIP("no node has two zones");
}

/* One frame, from the zone if it has one. */
static struct frame_request request_from_zone(unsigned zone)
{
    struct frame_request request = ANY_FRAMES(1);
    struct frame_zone_info info;

    frame_zone_info(zone, &info);
    request.node = info.node;
    request.zone = info.kind;
    return request;
}

TEST(frame, requested_zone_is_the_highest_used)
{
    uint64_t before = frame_free_count();

    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_request request = ANY_FRAMES(1);
        struct frame_zone_stats stats;
        unsigned zone = 0;
        pfn_t frame;

        frame_zone_stats(i, &stats);
        if (stats.free == 0)
            continue;
        request = request_from_zone(i);
        CHECK_EQ(frame_alloc(&request, &frame), OK);
        CHECK_EQ(frame_query(frame, &zone), FRAME_ALLOCATED);
        CHECK_EQ(zone, i);
        CHECK_EQ(frame_free(frame, 1), OK);
    }
    CHECK_RESTORED(before);
}
