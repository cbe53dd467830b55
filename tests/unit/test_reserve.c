/* SPDX-License-Identifier: MIT
 *
 * What happens when memory is scarce, on whatever machine runs it: emergency reserves, watermarks and their events,
 * reclaim, protection of lower zones.
 */
#include <stdatomic.h>

#include <mm/frame_pressure.h>
#include <mm/frame_reserve.h>
#include <mm/port.h>

#include "frame_support.h"

static struct frame_request classed(frame_reserve_t class)
{
    struct frame_request request = ANY_FRAMES(1);

    request.reserve = class;
    return request;
}

/* All that normal requests can have. */
static void take_all(struct chain *chain)
{
    chain_take_all(chain, ANY_FRAMES(1), FRAME_ORDERS - 1);
}

static uint64_t size_of_class(frame_reserve_t class)
{
    uint64_t size = 0;

    for (uint16_t node = 0; node < frame_topo()->node_count; node++) {
        struct frame_reserve_info info;

        frame_reserve_info(node, class, &info);
        size += info.size;
    }
    return size;
}

/* A call refills a part at most; so many are enough for any reserve here. */
static void refill_all(uint64_t reserved)
{
    frame_set_caching(false);
    for (unsigned i = 0; i < 64 * TOPO_MAX_NODES && frame_reserved() < reserved; i++) {
        struct frame_request request = ANY_FRAMES(1);
        pfn_t frame;

        request.node = (uint16_t)(i % frame_topo()->node_count);
        if (frame_alloc(&request, &frame) == OK && frame_free(frame, 1) != OK)
            break;
    }
    frame_set_caching(true);
}

/* Everything is back: free as before, all reserves full. */
#define CHECK_ALL_BACK(free_before, reserved_before)                                                         \
    do {                                                                                                     \
        refill_all(reserved_before);                                                                         \
        CHECK_RESTORED(free_before);                                                                         \
        CHECK_EQ(frame_reserved(), reserved_before);                                                         \
    } while (0)

/* ---- Reserves -------------------------------------------------------------------------------------------- */

TEST(reserve, pools_are_full_and_bounded)
{
    uint64_t sum = 0;

    for (uint16_t node = 0; node < frame_topo()->node_count; node++) {
        uint64_t size = 0, managed = 0;

        for (unsigned class = FRAME_RESERVE_NONE + 1; class < FRAME_RESERVE_CLASSES; class++) {
            struct frame_reserve_info info;

            frame_reserve_info(node, (frame_reserve_t)class, &info);
            CHECK_EQ(info.held, info.size);
            size += info.size;
        }
        for (unsigned i = 0; i < frame_zone_count(); i++) {
            struct frame_zone_info info;
            struct frame_zone_stats stats;

            frame_zone_info(i, &info);
            frame_zone_stats(i, &stats);
            managed += info.node == node && info.kind <= ZONE_NORMAL ? stats.managed : 0;
            CHECK(info.kind <= ZONE_NORMAL || stats.reserved == 0);
        }
        CHECK(size <= managed / FRAME_RESERVE_SHARE);
        sum += size;
    }
    CHECK(sum > 0);
    CHECK_EQ(frame_reserved(), sum);
    CHECK(frame_check() == NULL);
}

/* A request may ask only for what any mapped frame is. */
TEST(reserve, impossible_classed_requests_are_refused)
{
    uint64_t before = frame_free_count();
    struct frame_request bad[] = {
        [0 ... 9] = {.count = 1, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL, .reserve = FRAME_RESERVE_RECLAIM}};
    pfn_t frame = pfn(42);

    bad[0].count = 2;
    bad[1].align = 2;
    bad[2].limit = GIB(4);
    bad[3].zone = ZONE_DMA32;
    bad[4].zone = ZONE_DEVICE;
    bad[5].flags = FRAME_AT;
    bad[6].flags = FRAME_THIS_ZONE;
    bad[7].flags = FRAME_SPECULATIVE;
    bad[8].reserve = FRAME_RESERVE_CLASSES;
    bad[9].reserve = (frame_reserve_t)-1;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_EQ(frame_alloc(&bad[i], &frame), ERR_INVALID);
    CHECK_EQ(frame.v, 42);
    CHECK_RESTORED(before);
}

/* As long as there is memory no class touches its reserve. */
TEST(reserve, ordinary_memory_comes_first)
{
    uint64_t before = frame_free_count(), reserved = frame_reserved();

    for (unsigned class = FRAME_RESERVE_NONE + 1; class < FRAME_RESERVE_CLASSES; class++) {
        struct frame_request request = classed((frame_reserve_t)class);
        pfn_t frame;

        CHECK_EQ(frame_alloc(&request, &frame), OK);
        CHECK_EQ(frame_reserved(), reserved);
        CHECK_EQ(frame_free(frame, 1), OK);
    }
    CHECK_ALL_BACK(before, reserved);
}

/* With memory gone each class has exactly its own frames, and nobody else gets one of them. */
TEST(reserve, each_class_has_its_own_when_memory_is_gone)
{
    uint64_t before = frame_free_count(), reserved = frame_reserved();
    struct chain all = {0}, emergency = {0};
    unsigned wrong = 0;
    pfn_t frame;

    take_all(&all);
    for (unsigned class = FRAME_RESERVE_NONE + 1; class < FRAME_RESERVE_CLASSES; class++) {
        struct frame_request request = classed((frame_reserve_t)class);
        uint64_t got = 0;

        for (; frame_alloc(&request, &frame) == OK; got++)
            chain_push(&emergency, frame, 1);
        wrong += got != size_of_class((frame_reserve_t)class);
        wrong += frame_alloc_one(0, &frame) != ERR_NO_MEMORY;
    }
    wrong += frame_check() != NULL;
    uint64_t left = frame_reserved();
    chain_free_all(&emergency);
    chain_free_all(&all);
    CHECK_EQ(wrong, 0);
    CHECK_EQ(left, 0);
    CHECK(!all.damaged && !emergency.damaged);
    CHECK_ALL_BACK(before, reserved);
}

/* The asked node's reserve first, then by distance; with FRAME_THIS_NODE no other. */
TEST(reserve, nodes_in_order_of_distance)
{
    const struct topo *topo = frame_topo();
    uint64_t before = frame_free_count(), reserved = frame_reserved();
    struct frame_request request = classed(FRAME_RESERVE_RECLAIM);
    struct chain all = {0}, emergency = {0};
    unsigned wrong = 0;
    pfn_t frame;

    take_all(&all);
    request.node = (uint16_t)(topo->node_count - 1);
    for (unsigned i = 0; i < topo->node_count; i++) {
        struct frame_reserve_info info;

        frame_reserve_info(topo->fallback[request.node][i], FRAME_RESERVE_RECLAIM, &info);
        for (uint64_t j = 0; j < info.size; j++) {
            request.flags = i == 0 ? FRAME_THIS_NODE : 0;
            if (frame_alloc(&request, &frame) == OK) {
                wrong += node_of(frame) != topo->fallback[request.node][i];
                chain_push(&emergency, frame, 1);
            }
        }
        request.flags = FRAME_THIS_NODE;
        wrong += frame_alloc(&request, &frame) != ERR_NO_MEMORY;
    }
    uint64_t got = emergency.runs;
    chain_free_all(&emergency);
    chain_free_all(&all);
    CHECK_EQ(wrong, 0);
    CHECK_EQ(got, size_of_class(FRAME_RESERVE_RECLAIM));
    CHECK_ALL_BACK(before, reserved);
}

/* Frees fill the reserve of their node before anything is left for normal requests. */
TEST(reserve, refilled_before_anybody_is_served)
{
    uint64_t before = frame_free_count(), reserved = frame_reserved();
    struct frame_request request = classed(FRAME_RESERVE_INTERRUPT);
    struct chain all = {0}, emergency = {0};
    unsigned wrong = 0, served = 0;
    pfn_t frame;

    frame_set_caching(false);
    take_all(&all);
    while (frame_alloc(&request, &frame) == OK)
        chain_push(&emergency, frame, 1);
    uint64_t taken = emergency.runs;
    for (uint64_t i = 1; i <= taken; i++) {
        chain_pop(&emergency);
        served += frame_alloc_one(0, &frame) != ERR_NO_MEMORY;
        wrong += frame_reserved() != reserved - taken + i;
    }
    frame_set_caching(true);
    chain_free_all(&all);
    CHECK_EQ(taken, size_of_class(FRAME_RESERVE_INTERRUPT));
    CHECK_EQ(served, 0);
    CHECK_EQ(wrong, 0);
    CHECK(!all.damaged && !emergency.damaged);
    CHECK_ALL_BACK(before, reserved);
}

/* Frames that go no further than a cache refill nothing; the first allocation that then reaches the zone does. */
TEST(reserve, refilled_by_allocations)
{
    uint64_t before = frame_free_count(), reserved = frame_reserved(), lacking;
    struct frame_request request = classed(FRAME_RESERVE_RECLAIM), pair = ANY_FRAMES(2);
    struct chain all = {0};
    unsigned wrong = 0;
    pfn_t run, kept, got;

    for (unsigned i = 0; i < frame_zone_count(); i++)
        CHECK_EQ(frame_watermarks_set(i, &(struct frame_watermarks){0}), OK);
    CHECK_EQ(frame_alloc(&ANY_FRAMES(CHUNK_FRAMES), &run), OK);
    chain_push(&all, pfn(run.v + 8), CHUNK_FRAMES - 8);
    request.node = pair.node = node_of(run);
    request.flags = pair.flags = FRAME_THIS_NODE;
    take_all(&all);
    wrong += frame_alloc(&request, &kept) != OK;
    for (unsigned i = 0; i < 8; i++)
        wrong += frame_free(pfn(run.v + i), 1) != OK;
    lacking = reserved - frame_reserved();
    wrong += frame_alloc(&pair, &got) != OK || frame_reserved() != reserved;
    wrong += frame_free(got, 2) != OK || frame_free(kept, 1) != OK;
    chain_free_all(&all);
    for (unsigned i = 0; i < frame_zone_count(); i++)
        wrong += frame_watermarks_set(i, NULL) != OK;
    CHECK_EQ(wrong, 0);
    CHECK_ALL_BACK(before, reserved);
    if (lacking == 0)
        SKIP("the frames did not stay in a cache");
}

/* A frame that lies in a reserve belongs to nobody who could free it. */
TEST(reserve, frees_of_reserved_frames_are_refused)
{
    uint64_t before = frame_free_count(), reserved = frame_reserved();
    struct frame_request request = classed(FRAME_RESERVE_RECLAIM);
    struct chain all = {0};
    unsigned zone = 0, wrong = 0;
    pfn_t frame = pfn(0);

    frame_set_caching(false);
    take_all(&all);
    wrong += frame_alloc(&request, &frame) != OK;
    wrong += frame_query(frame, &zone) != FRAME_ALLOCATED;
    wrong += frame_free(frame, 1) != OK; /* and it is back in the reserve */
    chain_free_all(&all);
    wrong += frame_query(frame, &zone) != FRAME_RESERVED;
    wrong += frame_free(frame, 1) != ERR_BUSY;
    wrong += frame_query(frame, &zone) != FRAME_RESERVED;
    frame_set_caching(true);
    CHECK_EQ(wrong, 0);
    CHECK_ALL_BACK(before, reserved);
}

struct emergency {
    struct chain chain[16]; /* by CPU */
    _Atomic uint64_t got[FRAME_RESERVE_CLASSES];
    _Atomic uint64_t normal;
};

static void need_frames(void *context, unsigned index)
{
    struct emergency *emergency = context;
    uint64_t seed = 4711 + index;
    unsigned empty = 0;

    while (empty != (1u << FRAME_RESERVE_CLASSES) - 1) {
        unsigned class = (unsigned)(test_random(&seed) % FRAME_RESERVE_CLASSES);
        struct frame_request request = classed((frame_reserve_t)class);
        pfn_t frame;

        if ((empty >> class & 1) != 0)
            continue;
        if (frame_alloc(&request, &frame) != OK) {
            empty |= 1u << class; /* and it stays so: nobody frees */
            continue;
        }
        mark_frames(frame, 1, 5);
        chain_push(&emergency->chain[index], frame, 1);
        atomic_fetch_add(class == FRAME_RESERVE_NONE ? &emergency->normal : &emergency->got[class], 1);
    }
}

/* With caches every failure waits for a fence on all CPUs, which under an emulator takes its time. */
#define CACHING __STDC_HOSTED__

/* All CPUs at once: no class gets more than it has, none loses a frame, and no frame goes out twice. */
TEST(reserve, exhaustion_on_all_cpus)
{
    static struct emergency emergency;
    uint64_t before = frame_free_count(), reserved = frame_reserved();
    unsigned cpus = test_cpus() < ARRAY_LEN(emergency.chain) ? test_cpus() : ARRAY_LEN(emergency.chain);
    struct chain all = {0};
    unsigned wrong = 0;

    emergency = (struct emergency){.normal = 0};
    take_all(&all);
    frame_set_caching(CACHING);
    test_parallel(cpus, need_frames, &emergency);
    wrong += frame_check() != NULL;
    for (unsigned class = FRAME_RESERVE_NONE + 1; class < FRAME_RESERVE_CLASSES; class++)
        wrong += atomic_load(&emergency.got[class]) != size_of_class((frame_reserve_t)class);
    for (unsigned i = 0; i < cpus; i++) {
        for (const struct link *link = emergency.chain[i].top; link != NULL; link = link->next)
            wrong += !marks_intact(pfn_of(port_virt_to_phys(link)), 1, 5);
        chain_free_all(&emergency.chain[i]);
        wrong += emergency.chain[i].damaged;
    }
    frame_set_caching(true);
    chain_free_all(&all);
    CHECK_EQ(wrong, 0);
    CHECK_EQ(atomic_load(&emergency.normal), 0);
    CHECK_ALL_BACK(before, reserved);
}

/* Takes and gives back, by classes, while memory is gone: reserves are emptied and refilled at the same time. */
static void take_and_give(void *context, unsigned index)
{
    struct emergency *emergency = context;
    uint64_t seed = 99 + index;

    for (unsigned i = 0; i < ROUNDS(200, 20000) / test_cpus(); i++) {
        struct frame_request request = classed((frame_reserve_t)(test_random(&seed) % FRAME_RESERVE_CLASSES));
        struct chain *chain = &emergency->chain[index];
        pfn_t frame;

        if (chain->runs < 24 && frame_alloc(&request, &frame) == OK)
            chain_push(chain, frame, 1);
        else if (chain->runs > 0)
            chain_pop(chain);
    }
}

TEST(reserve, refill_on_all_cpus)
{
    static struct emergency emergency;
    uint64_t before = frame_free_count(), reserved = frame_reserved();
    unsigned cpus = test_cpus() < ARRAY_LEN(emergency.chain) ? test_cpus() : ARRAY_LEN(emergency.chain);
    struct chain all = {0};
    unsigned wrong = 0;

    emergency = (struct emergency){.normal = 0};
    take_all(&all);
    frame_set_caching(CACHING);
    test_parallel(cpus, take_and_give, &emergency);
    wrong += frame_check() != NULL;
    for (unsigned i = 0; i < cpus; i++) {
        chain_free_all(&emergency.chain[i]);
        wrong += emergency.chain[i].damaged;
    }
    frame_set_caching(true);
    chain_free_all(&all);
    CHECK_EQ(wrong, 0);
    CHECK_ALL_BACK(before, reserved);
}
