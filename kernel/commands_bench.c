/* SPDX-License-Identifier: MIT
 *
 * `bench`: what the frame allocator, and slab caches, cost in instructions, on average and at worst.
 *
 * Memory is brought into one state after the other. All of it is allocated, in runs as large as there are, and
 * parts of the runs are freed again by a pattern of frame numbers; so the allocator itself made every state.
 * There the benchmarks that belong to the state run, and then requests of many kinds of which each call, like
 * each free that made the state, is counted for itself. At last everything is given back. Runs below a chunk
 * stay allocated until then: how much of its last chunk the image needs is not to be seen in the figures.
 *
 * Each figure is a line `name N`. The readings' own cost and the empty loop are subtracted. Interrupts are
 * enabled, as they are for callers, but nobody has armed the timer while a command runs; a run into which it
 * falls all the same is refused. Under QEMU's -icount, with one CPU, the figures are exact and every run prints
 * the same.
 */
#include "commands.h"

#include <arch/hal.h>
#include <kernel/console.h>
#include <kernel/cpus.h>
#include <kernel/options.h>
#include <kernel/reclaim.h>
#include <mm/frame_info.h>
#include <mm/port.h>
#include <mm/slab.h>
#include <stdatomic.h>
#include <string.h>

typedef unsigned long long ull;

/* ---- Counting ------------------------------------------------------------------------------------------- */

/* The most instructions that one call took; [1]: for CHUNK_FRAMES frames and more, the buddy's. */
struct worst {
    uint64_t alloc[2], free[2];
};

static struct worst worst;    /* in the present state of memory */
static uint64_t reading_cost; /* of two readings with nothing between them */

static void keep_most(uint64_t *most, uint64_t cost)
{
    *most = max_u64(*most, cost - reading_cost);
}

static status_t counted_alloc(const struct frame_request *request, pfn_t *first)
{
    uint64_t start = hal_instructions();
    status_t status = frame_alloc(request, first);
    keep_most(&worst.alloc[request->count >= CHUNK_FRAMES], hal_instructions() - start);
    return status;
}

static status_t counted_free(pfn_t first, uint64_t count)
{
    uint64_t start = hal_instructions();
    status_t status = frame_free(first, count);
    keep_most(&worst.free[count >= CHUNK_FRAMES], hal_instructions() - start);
    return status;
}

static void print_most(const char *state, const char *call, uint64_t most)
{
    if (most > 0) /* else there was no such call */
        kprintf("%s%s%s_max %llu\n", state, state[0] != '\0' ? "_" : "", call, (ull)most);
}

static void print_worst(const char *state, const struct worst *most)
{
    print_most(state, "alloc_small", most->alloc[0]);
    print_most(state, "free_small", most->free[0]);
    print_most(state, "alloc_large", most->alloc[1]);
    print_most(state, "free_large", most->free[1]);
}

/* ---- States of memory ----------------------------------------------------------------------------------- */

/* Of each `period` frames, counted from frame 0, the first `part` are free. */
enum state_index { EMPTY, FULL, CHECKERBOARD, SPARSE, HALVES, CHUNKS, RANDOM, STATES };

#define PERIOD_RANDOM UINT64_C(1)      /* each frame by itself, half of them free */
#define PERIOD_ALL (UINT64_C(1) << 52) /* beyond every frame */

static const struct state {
    const char *name;
    uint64_t period, part;
} states[STATES] = {
    [EMPTY] = {"empty", PERIOD_ALL, PERIOD_ALL},
    [FULL] = {"full", PERIOD_ALL, 0},
    [CHECKERBOARD] = {"checkerboard", 2, 1},
    [SPARSE] = {"sparse", 512, 1},
    [HALVES] = {"halves", 512, 256},
    [CHUNKS] = {"chunks", 1024, 512},
    [RANDOM] = {"random", PERIOD_RANDOM, 0},
};

#define HELD_MAX 256

static struct run {
    pfn_t first;
    uint64_t count;
} held[HELD_MAX];
static unsigned held_count;

/* Allocates all there is, if that is less than HELD_MAX runs; lower zones are named, of which a part is protected
 * otherwise. At most so many and FRAME_ORDERS failures for each kind of zone. */
static bool hold_all(void)
{
    struct frame_request request = {.node = FRAME_NODE_ANY};
    for (unsigned i = (ZONE_NORMAL + 1) * FRAME_ORDERS; i-- > 0;) {
        pfn_t first;
        request.zone = (zone_kind_t)(i / FRAME_ORDERS);
        request.count = UINT64_C(1) << i % FRAME_ORDERS;
        while (held_count < HELD_MAX && frame_alloc(&request, &first) == OK)
            held[held_count++] = (struct run){first, request.count};
    }
    return held_count < HELD_MAX;
}

/* The number of frames from `at` on that the state treats alike. */
static uint64_t stretch(const struct state *state, uint64_t at, bool *free)
{
    if (state->period == PERIOD_RANDOM) {
        *free = (at + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 40 & 1;
        return 1;
    }
    uint64_t place = at % state->period;
    *free = place < state->part;
    return (*free ? state->part : state->period) - place;
}

/* Frees those parts of the held chunks that are free in the state, or those that are not. */
static bool free_chunks(const struct state *state, bool which)
{
    for (unsigned i = 0; i < held_count; i++) {
        uint64_t at = held[i].first.v, end = at + held[i].count;
        for (uint64_t length; at < end && held[i].count >= CHUNK_FRAMES; at += length) {
            bool free;
            length = min_u64(stretch(state, at, &free), end - at);
            if (free == which && counted_free(pfn(at), length) != OK)
                return false;
        }
    }
    return true;
}

static bool free_rest(void)
{
    bool done = true;
    for (unsigned i = 0; i < held_count; i++)
        if (held[i].count < CHUNK_FRAMES)
            done &= frame_free(held[i].first, held[i].count) == OK;
    return done;
}

/* Where all is free one frame is taken all the same: in real life there is a chunk in use. */
static bool state_make(const struct state *state)
{
    held_count = 0;
    if (!hold_all()) {
        kprintf("bench: free memory is in %u pieces or more\n", HELD_MAX);
        if (!free_chunks(&states[EMPTY], true) || !free_rest())
            kprintf("bench: a run cannot be freed\n");
        return false;
    }
    bool done = free_chunks(state, true);
    if (state == &states[EMPTY] && done) {
        held[held_count].count = 1;
        done = frame_alloc_one(0, &held[held_count].first) == OK;
        held_count += done;
    }
    return done;
}

static bool state_end(const struct state *state)
{
    return free_chunks(state, false) && free_rest();
}

/* ---- Benchmarks ----------------------------------------------------------------------------------------- */

#define REPEATS 3
#define BULK 4096u

/* prepare and finish (NULL: nothing to do) surround each of REPEATS bodies; what counts is the cheapest body,
 * divided by its rounds and rounded up. */
struct bench {
    const char *name;
    enum state_index state;
    unsigned rounds;
    uint64_t count; /* frames per operation */
    bool (*prepare)(void);
    bool (*body)(const struct bench *bench);
    bool (*finish)(void);
};

static bool empty_loop(const struct bench *bench)
{
    for (unsigned i = 0; i < bench->rounds; i++)
        atomic_signal_fence(memory_order_seq_cst);
    return true;
}

static bool one_pair(const struct bench *bench)
{
    pfn_t frame;
    for (unsigned i = 0; i < bench->rounds; i++)
        if (frame_alloc_one(0, &frame) != OK || frame_free(frame, 1) != OK)
            return false;
    return true;
}

static bool run_pair(const struct bench *bench)
{
    struct frame_request request = {.count = bench->count, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL};
    pfn_t first;
    for (unsigned i = 0; i < bench->rounds; i++)
        if (frame_alloc(&request, &first) != OK || frame_free(first, bench->count) != OK)
            return false;
    return true;
}

static bool failure(const struct bench *bench)
{
    struct frame_request request = {.count = bench->count, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL};
    pfn_t first;
    for (unsigned i = 0; i < bench->rounds; i++)
        if (frame_alloc(&request, &first) != ERR_NO_MEMORY)
            return false;
    return true;
}

#define BULK_TABLE (BULK * sizeof(pfn_t) / FRAME_SIZE)

static struct {
    pfn_t table; /* the frames that hold frame[BULK] */
    pfn_t *frame;
    unsigned count;
} bulk;

static bool bulk_prepare(void)
{
    struct frame_request request = {.count = BULK_TABLE, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL};
    bulk.count = 0;
    if (frame_alloc(&request, &bulk.table) != OK)
        return false;
    bulk.frame = port_phys_to_virt(paddr_of(bulk.table));
    return true;
}

static bool bulk_alloc(const struct bench *bench)
{
    pfn_t *frame = bulk.frame;
    unsigned i;
    for (i = 0; i < bench->rounds; i++)
        if (frame_alloc_one(0, &frame[i]) != OK)
            break;
    bulk.count = i;
    return i == bench->rounds;
}

static bool bulk_free(const struct bench *bench)
{
    const pfn_t *frame = bulk.frame;
    for (unsigned i = 0; i < bench->rounds; i++)
        if (frame_free(frame[i], 1) != OK)
            return false;
    bulk.count = 0;
    return true;
}

static bool bulk_finish(void)
{
    bool done = true;
    for (unsigned i = 0; i < bulk.count; i++)
        done &= frame_free(bulk.frame[i], 1) == OK;
    return frame_free(bulk.table, BULK_TABLE) == OK && done;
}

static bool bulk_prepare_full(void)
{
    const struct bench all = {.rounds = BULK};
    return bulk_prepare() && (bulk_alloc(&all) || (bulk_finish() && false));
}

/* ---- Objects -------------------------------------------------------------------------------------------- */

static struct slab_cache objects; /* of 64 bytes; made by the first `bench` */
static void **object;             /* BULK of them, in bulk's table */

_Static_assert(sizeof(*object) == sizeof(pfn_t), "they share a table");

static bool objects_init(void)
{
    static const struct slab_type type = {.name = "bench", .size = 64};
    return objects.cpu != NULL || slab_cache_init(&objects, &type) == OK;
}

static bool object_pair(const struct bench *bench)
{
    void *pair;
    for (unsigned i = 0; i < bench->rounds; i++) {
        if (slab_alloc(&objects, &pair) != OK)
            return false;
        slab_free(&objects, pair);
    }
    return true;
}

static bool object_bulk_alloc(const struct bench *bench)
{
    for (unsigned i = 0; i < bench->rounds; i++)
        if (slab_alloc(&objects, &object[i]) != OK)
            return false;
    return true;
}

static bool object_bulk_free(const struct bench *bench)
{
    for (unsigned i = 0; i < bench->rounds; i++)
        slab_free(&objects, object[i]);
    return true;
}

static const struct bench all_objects = {.rounds = BULK};

static bool objects_prepare(void)
{
    bool done = bulk_prepare();
    object = (void **)bulk.frame;
    return done;
}

static bool objects_prepare_used(void)
{
    return objects_prepare() && object_bulk_alloc(&all_objects);
}

static bool objects_finish(void)
{
    slab_cpu_offline(port_cpu());
    (void)slab_shrink_all();
    return bulk_finish();
}

static bool objects_finish_used(void)
{
    return object_bulk_free(&all_objects) && objects_finish();
}

static bool debug_owner(void)
{
    return frame_debug_set(FRAME_DEBUG_OWNER) == OK;
}

static bool debug_poison(void)
{
    return frame_debug_set(FRAME_DEBUG_POISON) == OK;
}

static bool debug_back(void)
{
    return frame_debug_set(options.debug) == OK;
}

static const struct bench benches[] = {
    {"order0_pair", EMPTY, 1000, 1, NULL, one_pair, NULL},
    {"order0_pair_owner", EMPTY, 1000, 1, debug_owner, one_pair, debug_back},
    {"order0_pair_poison", EMPTY, 100, 1, debug_poison, one_pair, debug_back},
    {"order0_bulk_alloc", EMPTY, BULK, 1, bulk_prepare, bulk_alloc, bulk_finish},
    {"order0_bulk_free", EMPTY, BULK, 1, bulk_prepare_full, bulk_free, bulk_finish},
    {"order3_pair", EMPTY, 1000, 8, NULL, run_pair, NULL},
    {"order6_pair", EMPTY, 1000, 64, NULL, run_pair, NULL},
    {"order9_pair", EMPTY, 1000, 512, NULL, run_pair, NULL},
    {"order10_pair", EMPTY, 1000, 1024, NULL, run_pair, NULL},
    {"run_511_pair", EMPTY, 1000, 511, NULL, run_pair, NULL},
    {"run_513_pair", EMPTY, 1000, 513, NULL, run_pair, NULL},
    {"slab_pair", EMPTY, 1000, 1, objects_prepare, object_pair, objects_finish},
    {"slab_bulk_alloc", EMPTY, BULK, 1, objects_prepare, object_bulk_alloc, objects_finish_used},
    {"slab_bulk_free", EMPTY, BULK, 1, objects_prepare_used, object_bulk_free, objects_finish},
    {"fail_order6", CHECKERBOARD, 1000, 64, NULL, failure, NULL},
    {"fail_order9", CHECKERBOARD, 1000, 512, NULL, failure, NULL},
};

static bool measure(const struct bench *bench, uint64_t *cost)
{
    if (bench->prepare != NULL && !bench->prepare())
        return false;
    uint64_t start = hal_instructions();
    bool done = bench->body(bench);
    *cost = hal_instructions() - start;
    if (bench->finish != NULL)
        done &= bench->finish();
    return done;
}

/* Through a volatile pointer: a compiler that sees which body it is makes another loop of it. */
static uint64_t measure_empty(unsigned rounds)
{
    const struct bench empty = {.rounds = rounds, .body = empty_loop};
    const struct bench *volatile some = &empty;
    uint64_t cost = 0;
    (void)measure(some, &cost);
    return cost;
}

static bool bench_run(const struct bench *bench)
{
    uint64_t overhead = measure_empty(bench->rounds), best = UINT64_MAX, cost = 0;
    bool done = true;
    for (unsigned i = 0; i < REPEATS && done; i++) {
        done = measure(bench, &cost);
        best = min_u64(best, cost - overhead);
    }
    if (done)
        kprintf("%s %llu\n", bench->name, (ull)((best + bench->rounds - 1) / bench->rounds));
    else
        kprintf("bench: %s failed\n", bench->name);
    return done;
}

/* ---- Single calls --------------------------------------------------------------------------------------- */

#define SERIES 300u /* more than any per-CPU cache holds */

/* A series of like requests, up to the first that fails, and then the frees of what it got. */
static const struct probe {
    uint64_t count, align, boundary;
    unsigned series;
    bool below; /* in the lower half of the largest zone */
    bool at;    /* from the middle of the largest zone on */
} probes[] = {
    {1, 0, 0, SERIES, false, false},
    {1, 0, 0, SERIES, true, false},
    {1, 0, 0, 2, false, true},
    {1, 512, 0, 16, false, false},
    {2, 0, 0, SERIES, false, false},
    {3, 0, 4, 64, false, false},
    {7, 0, 0, 64, false, false},
    {8, 0, 0, 64, false, false},
    {8, 64, 0, 64, true, false},
    {63, 0, 64, 16, false, false},
    {64, 0, 0, 16, false, false},
    {65, 0, 0, 16, false, false},
    {100, 128, 0, 16, false, false},
    {255, 0, 0, 4, false, false},
    {256, 0, 0, 4, false, false},
    {257, 0, 0, 4, true, false},
    {511, 0, 0, 4, false, false},
    {511, 0, 0, 1, false, true},
    {512, 0, 0, 4, false, false},
    {512, 0, 0, 4, true, false},
    {512, 0, 0, 1, false, true},
    {513, 0, 0, 4, false, false},
    {1000, 2, 1024, 4, false, false},
    {1024, 0, 0, 4, false, false},
    {4096, 4096, 0, 4, false, false},
    {UINT64_C(1) << 15, 0, 0, 2, false, false},
    {(UINT64_C(1) << 15) + 1, 0, 0, 2, true, false},
    {UINT64_C(1) << 18, UINT64_C(1) << 18, 0, 2, false, false},
    {UINT64_C(1) << 20, 0, 0, 2, false, false},
};

static pfn_t middle_of_memory(void)
{
    struct frame_zone_info info;
    struct frame_zone_stats stats;
    uint64_t most = 0, middle = 0;
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        frame_zone_info(i, &info);
        frame_zone_stats(i, &stats);
        if (stats.managed > most) {
            most = stats.managed;
            middle = align_down(info.start.v + (info.end.v - info.start.v) / 2, CHUNK_FRAMES);
        }
    }
    return pfn(middle);
}

static bool probe_run(const struct probe *probe, pfn_t middle)
{
    static pfn_t got[SERIES];
    struct frame_request request = {.count = probe->count,
                                    .align = probe->align,
                                    .boundary = probe->boundary,
                                    .limit = probe->below ? paddr_of(middle).v : 0,
                                    .at = middle,
                                    .flags = probe->at ? FRAME_AT : 0,
                                    .node = FRAME_NODE_ANY,
                                    .zone = ZONE_NORMAL};
    unsigned count = 0;
    status_t status = OK;
    while (count < probe->series && (status = counted_alloc(&request, &got[count])) == OK)
        count++;
    bool done = status == OK || status == ERR_NO_MEMORY;
    while (count > 0)
        done &= counted_free(got[--count], probe->count) == OK;
    return done;
}

static bool probes_run(void)
{
    pfn_t middle = middle_of_memory();
    bool done = true;
    for (unsigned i = 0; i < ARRAY_LEN(probes); i++)
        done &= probe_run(&probes[i], middle);
    if (!done)
        kprintf("bench: a request or its free was refused\n");
    return done;
}

/* ---- All of it ------------------------------------------------------------------------------------------ */

static bool state_run(enum state_index index, struct worst *total)
{
    const struct state *state = &states[index];
    worst = (struct worst){{0}, {0}};
    if (!state_make(state))
        return false;
    bool done = true;
    for (unsigned i = 0; i < ARRAY_LEN(benches); i++)
        if (benches[i].state == index)
            done &= bench_run(&benches[i]);
    done &= probes_run();
    done &= state_end(state);
    print_worst(state->name, &worst);
    for (unsigned i = 0; i < ARRAY_LEN(worst.alloc); i++) {
        total->alloc[i] = max_u64(total->alloc[i], worst.alloc[i]);
        total->free[i] = max_u64(total->free[i], worst.free[i]);
    }
    return done;
}

/* Learns what a reading costs. False: an empty loop does not cost the same each time, so nothing is exact. */
static bool calibrate(void)
{
    uint64_t start = hal_instructions();
    reading_cost = hal_instructions() - start;
    uint64_t least = UINT64_MAX, most = 0;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t cost = measure_empty(1000);
        least = min_u64(least, cost);
        most = max_u64(most, cost);
    }
    return least == most;
}

static bool nothing_changed(uint64_t free_before, uint64_t ticks_before)
{
    const char *broken = frame_check();
    uint64_t free_now = frame_free_count();
    if (broken != NULL)
        kprintf("bench: the allocator is damaged: %s\n", broken);
    if (free_now != free_before)
        kprintf("bench: %llu frames were free, now %llu\n", (ull)free_before, (ull)free_now);
    if (timer_ticks != ticks_before)
        kprintf("bench: the timer fired, so figures are too high\n");
    return broken == NULL && free_now == free_before && timer_ticks == ticks_before;
}

static bool is_asked(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return argc == 1;
}

static bool are_states(int argc, char **argv)
{
    int known = 0;
    for (unsigned i = 0; i < STATES; i++)
        for (int word = 1; word < argc; word++)
            known += strcmp(argv[word], states[i].name) == 0;
    return known == argc - 1;
}

bool command_bench(int argc, char **argv)
{
    if (!are_states(argc, argv))
        return usage(argv);
    if (hal_instructions() == 0) {
        kprintf("bench: this machine does not count instructions\n");
        return true;
    }
    if (!calibrate())
        kprintf("bench: counts are exact under QEMU's -icount only (x86_64 counts cycles elsewhere)\n");
    if (!objects_init())
        return false;
    reclaim_enable(false); /* failures are the allocator's own */
    struct worst total = {{0}, {0}};
    uint64_t free_before = frame_free_count(), ticks_before = timer_ticks;
    bool done = true;
    for (unsigned i = 0; i < STATES && done; i++)
        if (is_asked(argc, argv, states[i].name))
            done = state_run((enum state_index)i, &total);
    reclaim_enable(true);
    if (done)
        print_worst("", &total);
    return nothing_changed(free_before, ticks_before) && done;
}
