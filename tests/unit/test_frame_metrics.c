/* SPDX-License-Identifier: MIT
 *
 * What the allocator says about itself, asked while other CPUs storm, and when they are done.
 */
#include <stdatomic.h>

#include <mm/frame_metrics.h>
#include <mm/port.h>

#include "frame_support.h"

#define HELD 48 /* frames that a storming CPU holds at most */

/* By how much `used` may be wrong for each storming CPU. Its counters are read one after the other: those of the
 * cache lie between -HELD and HELD + 128 frames, its stacks between 0 and 128, what it took from the zones directly
 * between 0 and HELD; and it may really hold HELD. */
#define TOLERANCE (4 * HELD + 2 * 128)

struct watch {
    _Atomic unsigned storming;
    struct frame_totals before;
    uint64_t looks, wrong_sums, wrong_used, most; /* `most`: frames by which used was off */
};

/* Singles, which the cache serves, and runs, which it does not; all are given back on the CPU that took them. */
static void storm(unsigned index)
{
    struct chain chain = {0};
    uint64_t seed = 31 + index;

    for (unsigned i = 0; i < ROUNDS(3000, 60000); i++) {
        uint64_t pick = test_random(&seed), count = pick >> 61 == 0 ? 1 + (pick & 7) : 1;
        pfn_t first;

        if (chain.frames + count > HELD || (pick >> 32 & 3) == 0) {
            if (chain.top != NULL)
                chain_pop(&chain);
        } else if (frame_alloc(&ANY_FRAMES(count), &first) == OK) {
            chain_push(&chain, first, count);
        }
    }
    chain_free_all(&chain);
}

static void look(struct watch *watch, unsigned cpus)
{
    struct frame_totals now;
    uint64_t off;

    frame_totals(FRAME_NODE_ANY, &now);
    off = now.used > watch->before.used ? now.used - watch->before.used : watch->before.used - now.used;
    watch->looks++;
    watch->wrong_sums += now.free + now.cached + now.used != now.managed || now.managed != watch->before.managed;
    watch->wrong_used += off > (uint64_t)cpus * TOLERANCE;
    watch->most = max_u64(watch->most, off);
}

static void watch_body(void *context, unsigned index)
{
    struct watch *watch = context;

    if (index > 0) {
        storm(index);
        atomic_fetch_sub(&watch->storming, 1);
        return;
    }
    do /* bound: the storms; they may be over when this CPU comes to run */
        look(watch, test_cpus() - 1);
    while (atomic_load(&watch->storming) > 0);
}

TEST(metrics, free_used_and_cached_are_what_is_managed)
{
    static struct watch watch;
    struct frame_totals after;

    if (test_cpus() < 2)
        SKIP("there is one CPU");
    frame_drain();
    watch = (struct watch){.storming = test_cpus() - 1};
    frame_totals(FRAME_NODE_ANY, &watch.before);
    test_parallel(test_cpus(), watch_body, &watch);
    CHECK(watch.looks > 0);
    CHECK_EQ(watch.wrong_sums, 0);
    CHECK_EQ(watch.wrong_used, 0);
    frame_totals(FRAME_NODE_ANY, &after); /* exact, with frames still in caches */
    CHECK_EQ(after.used, watch.before.used);
    CHECK_EQ(after.free + after.cached, watch.before.free);
    CHECK_EQ(after.free + after.cached, frame_free_count());
    frame_drain();
    frame_totals(FRAME_NODE_ANY, &after);
    CHECK_EQ(after.free, watch.before.free);
    CHECK_EQ(after.cached, 0);
}

/* What a walk finds while nobody allocates is what the counters say. */
TEST(metrics, walks_agree_with_counters)
{
    struct frame_metrics machine, node;
    struct frame_totals totals;
    uint64_t sum = 0;

    frame_totals(FRAME_NODE_ANY, &totals);
    frame_node_metrics(FRAME_NODE_ANY, &machine);
    CHECK_EQ(machine.free, totals.free);
    CHECK_EQ(machine.cached, totals.cached);
    CHECK(machine.runs > 0 && machine.mean_run <= machine.largest_run * 1000);
    for (unsigned i = 0; i < frame_topo()->node_count; i++) {
        frame_node_metrics((uint16_t)i, &node);
        sum += node.free;
        CHECK(node.largest_run <= machine.largest_run);
    }
    CHECK_EQ(sum, totals.free);
    CHECK_EQ(machine.unusable[0], 0);
    for (unsigned order = 1; order < FRAME_ORDERS; order++)
        CHECK(machine.unusable[order] >= machine.unusable[order - 1] && machine.unusable[order] <= 1000);
}

static uint64_t path_calls(enum frame_path path)
{
    struct frame_latency latency;
    uint64_t sum = 0;

    frame_cpu_latency(port_cpu(), path, &latency);
    for (unsigned i = 0; i < FRAME_LATENCY_BUCKETS; i++)
        sum += latency.bucket[i];
    return sum == latency.calls ? sum : UINT64_MAX;
}

/* Each slow call counts once, on its own path; and only while it is measured. */
TEST(metrics, slow_paths_are_measured)
{
    struct frame_cpu_stats stats;
    pfn_t frame, run;

    frame_cpu_stats(port_cpu(), &stats);
    if (!stats.has_cache)
        SKIP("this CPU has no cache");
    frame_drain();
    CHECK_EQ(frame_latency_measure(true), OK);
    CHECK(frame_latency_measured());
    frame_drain(); /* the first measurement's memory came from a cache */
    CHECK_EQ(frame_latency_measure(true), OK);
    CHECK_EQ(frame_alloc_one(0, &frame), OK);        /* refill */
    CHECK_EQ(frame_alloc(&ANY_FRAMES(3), &run), OK); /* alloc */
    CHECK_EQ(frame_free(run, 3), OK);                /* free */
    frame_drain();                                   /* drain */
    CHECK_EQ(frame_latency_measure(false), OK);
    CHECK_EQ(frame_free(frame, 1), OK);
    CHECK_EQ(frame_alloc(&ANY_FRAMES(3), &run), OK);
    CHECK_EQ(frame_free(run, 3), OK);
    frame_drain();
    CHECK(!frame_latency_measured());
    CHECK_EQ(path_calls(FRAME_PATH_REFILL), 1);
    CHECK_EQ(path_calls(FRAME_PATH_ALLOC), 1);
    CHECK_EQ(path_calls(FRAME_PATH_FREE), 1);
    CHECK_EQ(path_calls(FRAME_PATH_DRAIN), 1);
    CHECK_EQ(path_calls(FRAME_PATH_SPILL), 0);
    CHECK_EQ(frame_latency_measure(true), OK); /* from zero */
    CHECK_EQ(frame_latency_measure(false), OK);
    CHECK_EQ(path_calls(FRAME_PATH_ALLOC), 0);
}

/* Allocates a chunk, empties the cache, and gives the first `count` frames back one by one; *before: in between. False:
 * no chunk is free (then nothing was done), or this CPU's cache took none of them. */
static bool free_of_a_chunk(unsigned count, pfn_t *chunk, struct frame_cpu_stats *before)
{
    struct frame_request request = ANY_FRAMES(CHUNK_FRAMES);
    struct frame_cpu_stats after;
    bool freed = true;

    request.align = CHUNK_FRAMES;
    if (frame_alloc(&request, chunk) != OK)
        return false;
    frame_drain();
    frame_cpu_stats(port_cpu(), before);
    for (unsigned i = 0; i < count; i++)
        freed = frame_free(pfn(chunk->v + i), 1) == OK && freed;
    frame_cpu_stats(port_cpu(), &after);
    return freed && after.frees > before->frees;
}

/* A hit in the cache is no slow call. */
TEST(metrics, hits_are_not_measured)
{
    struct frame_cpu_stats before, after;
    pfn_t chunk, frame;

    if (!free_of_a_chunk(16, &chunk, &before))
        SKIP("no whole chunk, or no cache for it");
    frame_cpu_stats(port_cpu(), &before);
    for (unsigned i = 0; i < 100; i++) {
        CHECK_EQ(frame_alloc_one(0, &frame), OK);
        CHECK_EQ(frame_free(frame, 1), OK);
    }
    frame_cpu_stats(port_cpu(), &after);
    CHECK_EQ(frame_free(pfn(chunk.v + 16), CHUNK_FRAMES - 16), OK);
    CHECK_EQ(after.allocs, before.allocs + 100);
    CHECK_EQ(after.frees, before.frees + 100);
    CHECK_EQ(after.refills + after.spills + after.direct_allocs + after.direct_frees,
             before.refills + before.spills + before.direct_allocs + before.direct_frees);
}

/* Frames that came from the zone, less those that went back or wait in the cache: those that somebody has. */
static uint64_t handed_out(const struct frame_cpu_stats *stats)
{
    return stats->filled - stats->spilled - stats->chunks * CHUNK_FRAMES - stats->cached[0] - stats->cached[1] -
           stats->cached[2];
}

/* Frames that the cache does not want go back when there is no more room. */
TEST(metrics, spills_are_counted)
{
    struct frame_cpu_stats before, after;
    pfn_t chunk;

    if (!free_of_a_chunk(CHUNK_FRAMES, &chunk, &before))
        SKIP("no whole chunk, or no cache for it");
    frame_cpu_stats(port_cpu(), &after);
    CHECK(after.spills >= before.spills + CHUNK_FRAMES / 64);
    CHECK(after.spilled >= before.spilled + CHUNK_FRAMES / 2);
    CHECK_EQ(after.frees + after.direct_frees, before.frees + before.direct_frees + CHUNK_FRAMES);
    CHECK_EQ(handed_out(&after), handed_out(&before) - (after.frees - before.frees));
}

TEST(metrics, refills_are_counted)
{
    struct frame_cpu_stats before, after;
    struct chain chain = {0};

    frame_drain();
    frame_cpu_stats(port_cpu(), &before);
    for (unsigned i = 0; i < 600; i++) {
        pfn_t frame;

        CHECK_EQ(frame_alloc_one(0, &frame), OK);
        chain_push(&chain, frame, 1);
    }
    frame_cpu_stats(port_cpu(), &after);
    chain_free_all(&chain);
    CHECK(!chain.damaged);
    if (after.direct_allocs - before.direct_allocs == 600)
        SKIP("this CPU has no cache");
    CHECK(after.refills >= before.refills + 600 / 64);
    /* What the node has no more comes from another, past the cache. */
    CHECK_EQ(after.allocs + after.direct_allocs, before.allocs + before.direct_allocs + 600);
    CHECK_EQ(handed_out(&after), handed_out(&before) + (after.allocs - before.allocs));
}
