/* SPDX-License-Identifier: MIT
 *
 * The largest machines that Quire is built for: 64 nodes in a ring, 1,024 CPUs, up to 16 TiB. What must not grow
 * with memory is counted in pages of metadata; times are printed and prove nothing.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "host.h"
#include "layout.h"
#include "quire_test.h"
#include "touched.h"

#define NODES 64u
#define CPUS 1024u
#define GIB_ORDER 18

/* Of metadata per 2 MiB of memory: 0.5 % with everything, and 0.004 % before any of it is used. */
#define BYTES_MAX 10485
#define TOUCHED_MAX 83

static const struct zone_limits no_limits = {.direct_end = UINT64_MAX};

static uint64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* A ring in which one way round is a little shorter, so that no two nodes are equally far. */
static uint32_t ring_distance(unsigned from, unsigned to)
{
    unsigned steps = (to - from) % NODES;

    return steps <= NODES / 2 ? 10 + 2 * steps : 11 + 2 * (NODES - steps);
}

static uint16_t node_of_cpu(unsigned cpu)
{
    return (uint16_t)(cpu * NODES / CPUS);
}

static status_t add_cpus_and_distances(unsigned nodes)
{
    status_t status = OK;

    for (unsigned cpu = 0; cpu < CPUS && status == OK; cpu++)
        status = topo_add_cpu(&layout_topo, cpu, 0, (uint16_t)(node_of_cpu(cpu) % nodes), true);
    for (uint16_t from = 0; from < nodes; from++) {
        for (uint16_t to = 0; to < nodes && status == OK; to++)
            status = topo_set_distance(&layout_topo, from, to, ring_distance(from, to));
    }
    return status;
}

static uint64_t node_size; /* of the machine that was started */

static unsigned node_of(pfn_t frame)
{
    return (unsigned)((frame.v * FRAME_SIZE - GIB(4)) / node_size);
}

/* Nodes of equal size, one behind the other from 4 GiB on. Returns nanoseconds; 0: failed. */
static uint64_t start_machine(unsigned nodes, uint64_t memory)
{
    uint64_t size = memory / nodes, start;

    node_size = size;
    layout_begin(nodes);
    for (unsigned node = 0; node < nodes; node++)
        layout_ram(node, GIB(4) + node * size, GIB(4) + (node + 1) * size);
    if (add_cpus_and_distances(nodes) != OK)
        return 0;
    start = now_ns();
    if (layout_start(&no_limits) != OK)
        return 0;
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        frame_cpu_node(cpu, (uint16_t)(node_of_cpu(cpu) % nodes));
    return now_ns() - start;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Whether all memory is there again: takes it as aligned blocks of an order, all different, and gives them back.
 * What caches hold has to come out for that by itself. */
static bool comes_whole(unsigned order)
{
    struct frame_request request = {.count = UINT64_C(1) << order,
                                    .align = UINT64_C(1) << order,
                                    .node = FRAME_NODE_ANY,
                                    .zone = ZONE_NORMAL};
    uint64_t blocks = frame_managed() >> order, taken = 0;
    uint64_t *block = calloc(blocks, sizeof(*block));
    bool good = block != NULL;
    pfn_t first;

    while (good && taken < blocks && frame_alloc(&request, &first) == OK)
        block[taken++] = first.v;
    good =
        good && taken == blocks && frame_free_count() == 0 && frame_alloc(&request, &first) == ERR_NO_MEMORY;
    if (good)
        qsort(block, blocks, sizeof(*block), compare_numbers);
    for (uint64_t i = 0; i < taken; i++) {
        good = good && is_aligned(block[i], request.align) && (i == 0 || block[i] > block[i - 1]);
        good = frame_free(pfn(block[i]), request.count) == OK && good;
    }
    free(block);
    return good && frame_free_count() == frame_managed();
}

/* ---- Set-up -------------------------------------------------------------------------------------------- */

/* Within 1/16. */
static bool about_double(uint64_t less, uint64_t more)
{
    return more >= 2 * less - less / 8 && more <= 2 * less + less / 8;
}

TEST(scale, setup_and_metadata_are_linear)
{
    uint64_t bytes[3], touched[3];

    for (unsigned i = 0; i < 3; i++) {
        uint64_t memory = TIB(4) << i, chunks = memory >> 21;
        uint64_t ns = start_machine(NODES, memory);

        CHECK(ns != 0);
        CHECK_EQ(frame_managed(), memory / FRAME_SIZE);
        bytes[i] = frame_metadata_bytes();
        touched[i] = touched_bytes();
        printf(
            "# scale: %llu TiB: set-up %llu ms; per 2 MiB %.2f bytes of metadata, %.2f touched by set-up\n",
            (unsigned long long)(memory >> 40), (unsigned long long)ns / 1000000,
            (double)bytes[i] / (double)chunks, (double)touched[i] / (double)chunks);
        layout_end();
        CHECK(bytes[i] <= BYTES_MAX * chunks);
        CHECK(touched[i] <= TOUCHED_MAX * chunks);
    }
    /* What CPUs and nodes cost is the same each time. */
    CHECK(about_double(bytes[1] - bytes[0], bytes[2] - bytes[1]));
    CHECK(about_double(touched[1] - touched[0], touched[2] - touched[1]));
}

/* ---- Placement ----------------------------------------------------------------------------------------- */

#define RUNS_PER_CPU 128u

struct spread {
    uint64_t *run; /* CPUS × RUNS_PER_CPU: first frame << 16 | count - 1 */
    _Atomic uint64_t refused, remote;
};

static uint64_t run_length(uint64_t pick)
{
    if (pick % 4 != 0)
        return 1;
    return pick / 4 % 16 != 0 ? 1 + pick / 64 % 600 : 512 * (1 + pick / 64 % 16);
}

/* Each thread plays every fourth CPU, one after the other. */
static void spread_take(void *context, unsigned index)
{
    struct spread *spread = context;

    for (unsigned cpu = index; cpu < CPUS; cpu += test_cpus()) {
        uint64_t seed = 977 + cpu;

        host_set_cpu(cpu);
        for (unsigned i = 0; i < RUNS_PER_CPU; i++) {
            struct frame_request request = {
                .count = run_length(test_random(&seed)), .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL};
            pfn_t first = pfn(0);

            if (frame_alloc(&request, &first) != OK)
                atomic_fetch_add(&spread->refused, 1);
            else if (node_of(first) != node_of_cpu(cpu))
                atomic_fetch_add(&spread->remote, 1);
            spread->run[cpu * RUNS_PER_CPU + i] = first.v << 16 | (request.count - 1);
        }
    }
}

/* Freed by a CPU of another node than the one that took them. */
static void spread_give(void *context, unsigned index)
{
    struct spread *spread = context;

    for (unsigned i = index; i < CPUS * RUNS_PER_CPU; i += test_cpus()) {
        host_set_cpu((i / RUNS_PER_CPU * 31 + index) % CPUS / test_cpus() * test_cpus() + index);
        if (frame_free(pfn(spread->run[i] >> 16), (spread->run[i] & 0xffff) + 1) != OK)
            atomic_fetch_add(&spread->refused, 1);
    }
}

static bool runs_disjoint(uint64_t *run, uint64_t runs)
{
    qsort(run, runs, sizeof(*run), compare_numbers);
    for (uint64_t i = 1; i < runs; i++) {
        if (run[i] >> 16 < (run[i - 1] >> 16) + (run[i - 1] & 0xffff) + 1)
            return false;
    }
    return true;
}

TEST(scale, cpus_take_from_their_own_nodes)
{
    struct spread spread = {.run = malloc(CPUS * RUNS_PER_CPU * sizeof(uint64_t))};
    uint64_t used = 0, start, ns;

    CHECK(start_machine(NODES, TIB(16)) != 0);
    CHECK(spread.run != NULL);
    start = now_ns();
    test_parallel(test_cpus(), spread_take, &spread);
    ns = now_ns() - start;
    CHECK_EQ(atomic_load(&spread.refused), 0);
    CHECK_EQ(atomic_load(&spread.remote), 0);
    for (unsigned i = 0; i < CPUS * RUNS_PER_CPU; i++)
        used += (spread.run[i] & 0xffff) + 1;
    CHECK_EQ(frame_free_count(), frame_managed() - used);
    CHECK(runs_disjoint(spread.run, CPUS * RUNS_PER_CPU));
    test_parallel(test_cpus(), spread_give, &spread);
    CHECK_EQ(atomic_load(&spread.refused), 0);
    CHECK_EQ(frame_free_count(), frame_managed());
    printf("# scale: %u CPUs: %llu ns per run taken\n", CPUS,
           (unsigned long long)(ns / (CPUS * RUNS_PER_CPU)));
    free(spread.run);
    CHECK(comes_whole(GIB_ORDER));
    layout_end();
}

/* The nearest node to `home` among those that are not exhausted, by the distances alone. */
static unsigned nearest(unsigned home, const bool exhausted[NODES])
{
    unsigned best = NODES;

    for (unsigned node = 0; node < NODES; node++) {
        if (!exhausted[node] && (best == NODES || ring_distance(home, node) < ring_distance(home, best)))
            best = node;
    }
    return best;
}

/* As one node after the other runs dry, a CPU gets the nearest memory that there is, up to the last. */
TEST(scale, exhausted_nodes_fall_back_by_distance)
{
    const unsigned cpu = 700, home = node_of_cpu(cpu);
    bool exhausted[NODES] = {false};
    struct frame_request block = {
        .count = 1 << GIB_ORDER, .align = 1 << GIB_ORDER, .zone = ZONE_NORMAL, .flags = FRAME_THIS_NODE};
    struct frame_request one = {.count = 1, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL};
    pfn_t first;

    CHECK(start_machine(NODES, TIB(16)) != 0);
    host_set_cpu(cpu);
    for (unsigned i = 0; i < NODES; i++) {
        unsigned node = nearest(home, exhausted);

        CHECK_EQ(frame_alloc(&one, &first), OK);
        CHECK_EQ(node_of(first), node);
        CHECK_EQ(frame_free(first, 1), OK);
        block.node = (uint16_t)node;
        for (unsigned j = 0; j < TIB(16) / NODES / GIB(1); j++)
            CHECK_EQ(frame_alloc(&block, &first), OK);
        CHECK_EQ(frame_alloc(&block, &first), ERR_NO_MEMORY);
        exhausted[node] = true;
    }
    CHECK_EQ(frame_free_count(), 0);
    CHECK_EQ(frame_alloc(&one, &first), ERR_NO_MEMORY);
    for (uint64_t gib = 0; gib < TIB(16) / GIB(1); gib++)
        CHECK_EQ(frame_free(pfn((4 + gib) << GIB_ORDER), block.count), OK);
    CHECK(comes_whole(GIB_ORDER));
    host_set_cpu(0);
    layout_end();
}

/* Frames one by one from a whole node of a machine of moderate size, every invariant checked on the way. */
TEST(scale, frames_of_a_node_come_together_again)
{
    struct frame_request request = {.count = 1, .zone = ZONE_NORMAL, .flags = FRAME_THIS_NODE, .node = 5};
    const uint64_t frames = GIB(1) / FRAME_SIZE;
    uint64_t *frame = malloc(frames * sizeof(*frame));

    CHECK(frame != NULL);
    CHECK(start_machine(NODES, GIB(64)) != 0);
    CHECK(frame_check() == NULL);
    for (uint64_t i = 0; i < frames; i++) {
        pfn_t first;

        host_set_cpu((unsigned)(i % 3));
        CHECK_EQ(frame_alloc(&request, &first), OK);
        CHECK_EQ(node_of(first), 5);
        frame[i] = first.v;
    }
    CHECK(frame_check() == NULL);
    CHECK_EQ(frame_free_count(), frame_managed() - frames);
    for (uint64_t i = 0; i < frames; i++) { /* 7919 is coprime to 2^18 */
        host_set_cpu((unsigned)(i % 1000));
        CHECK_EQ(frame_free(pfn(frame[i * 7919 % frames]), 1), OK);
    }
    CHECK(frame_check() == NULL);
    CHECK(comes_whole(9));
    CHECK(comes_whole(GIB_ORDER));
    CHECK(frame_check() == NULL);
    host_set_cpu(0);
    free(frame);
    layout_end();
}

/* ---- Cost ---------------------------------------------------------------------------------------------- */

struct probe {
    struct frame_request request;
    pfn_t first;
    status_t status;
};

static void probe_alloc(void *context)
{
    struct probe *probe = context;

    probe->status = frame_alloc(&probe->request, &probe->first);
}

static void probe_free(void *context)
{
    struct probe *probe = context;

    probe->status = frame_free(probe->first, probe->request.count);
}

#define SAMPLES 200u

/* The most pages that one call of `count` frames touched, at any of many CPUs; 0: a call failed. */
static unsigned worst_call(uint64_t count)
{
    struct probe probe = {.request = {.count = count, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL}};
    pfn_t kept[SAMPLES];
    unsigned worst = 0;

    for (unsigned i = 0; i < SAMPLES; i++) {
        unsigned pages;

        host_set_cpu(i % 5 * 200);
        pages = touched_by(probe_alloc, &probe);
        kept[i] = probe.first;
        worst = pages > worst ? pages : worst;
        if (probe.status != OK)
            return 0;
    }
    for (unsigned i = 0; i < SAMPLES; i++) {
        unsigned pages;

        host_set_cpu(i % 7 * 140);
        probe.first = kept[i];
        pages = touched_by(probe_free, &probe);
        worst = pages > worst ? pages : worst;
        if (probe.status != OK)
            return 0;
    }
    host_set_cpu(0);
    return worst;
}

/* Pages that a call may touch where a machine of a 128th or less of the memory touches so many. Sets that share a page
 * there lie apart here, with a level of each on another page; but to look at all of `whole` once is 256 at 16 TiB. */
static bool as_flat_as(unsigned small, unsigned large)
{
    return small != 0 && large != 0 && large <= 2 * small + 8;
}

TEST(scale, calls_touch_no_more_on_large_machines)
{
    static const uint64_t counts[] = {1, 7, 64, 300, 512, 513, 4096};
    unsigned small[ARRAY_LEN(counts)], large[ARRAY_LEN(counts)];

    CHECK(start_machine(1, GIB(64)) != 0);
    for (unsigned i = 0; i < ARRAY_LEN(counts); i++)
        small[i] = worst_call(counts[i]);
    layout_end();
    CHECK(start_machine(1, TIB(16)) != 0);
    for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
        large[i] = worst_call(counts[i]);
        printf("# scale: %llu frames: at most %u pages of metadata touched at 64 GiB, %u at 16 TiB\n",
               (unsigned long long)counts[i], small[i], large[i]);
    }
    layout_end();
    for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
        CHECK(as_flat_as(small[i], large[i]));
    }
}

/* All taken but the first frame of each chunk, then requests for a block that nothing serves. Returns pages; 0: went wrong. */
static unsigned pages_of_failure(uint64_t memory, unsigned order)
{
    struct frame_request block = {.count = 1 << GIB_ORDER, .zone = ZONE_NORMAL};
    struct probe probe = {
        .request = {.count = UINT64_C(1) << order, .align = UINT64_C(1) << order, .zone = ZONE_NORMAL}};
    unsigned pages;

    if (start_machine(1, memory) == 0)
        return 0;
    for (uint64_t gib = 0; gib < memory / GIB(1); gib++) {
        if (frame_alloc(&block, &probe.first) != OK)
            return 0;
    }
    for (uint64_t chunk = 0; chunk < memory / MIB(2); chunk++) {
        if (frame_free(pfn(GIB(4) / FRAME_SIZE + chunk * 512), 1) != OK)
            return 0;
    }
    probe_alloc(&probe); /* the first may find caches to drain */
    pages = touched_by(probe_alloc, &probe);
    layout_end();
    return probe.status == ERR_NO_MEMORY ? pages : 0;
}

TEST(scale, failures_touch_no_more_on_large_machines)
{
    static const unsigned orders[] = {3, 6, 9};

    for (unsigned i = 0; i < ARRAY_LEN(orders); i++) {
        unsigned small = pages_of_failure(GIB(8), orders[i]), large = pages_of_failure(TIB(1), orders[i]);

        printf("# scale: order %u fails after %u pages of metadata at 8 GiB, %u at 1 TiB\n", orders[i], small,
               large);
        CHECK(as_flat_as(small, large));
    }
}
