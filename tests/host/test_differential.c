/* SPDX-License-Identifier: MIT
 *
 * The frame allocator against a model that keeps one byte per frame and finds everything by looking at all of
 * them. Random requests of every kind; for each the model says which zone must serve it or that none can, and
 * for each free whether it is right. Statistics are compared with counted ones now and then.
 */
#include <string.h>

#include "layout.h"
#include "quire_test.h"

#define FRAMES 9000u
#define ROUNDS 30000u

enum { ABSENT, FREE, USED, RESERVED };

static uint8_t state[FRAMES];
static uint8_t zone_at[FRAMES];
static const char *what; /* went wrong */

/* Two nodes that alternate, holes, all four borders inside chunks, and device memory on both sides of one: some 15
 * chunks in 9 zones. */
static status_t start_machine(void)
{
    static const struct zone_limits limits = {
        .dma_end = MIB(5) + 0x2000, .dma32_end = MIB(17) + 0x5000, .direct_end = MIB(30) - 0x9000,
        .movable_start = MIB(32) - 0x3000};

    layout_begin(2);
    layout_ram(0, 0x1000, MIB(9) + 0x17000);
    layout_ram(1, MIB(9) + 0x17000, MIB(20));
    layout_ram(0, MIB(20), MIB(28) + 0x800);
    layout_ram(1, MIB(28) + 0x800, MIB(34));
    layout_part(0x9f000, MIB(1), MEM_RESERVED);
    layout_part(MIB(14), MIB(15), MEM_MMIO);
    layout_part(MIB(16) + 0x1000, MIB(18), MEM_SPECIFIC);
    layout_part(MIB(24) + 0x3000, MIB(24) + 0x4000, MEM_BAD);
    return layout_start(&limits);
}

static void read_machine(void)
{
    for (uint64_t frame = 0; frame < FRAMES; frame++) {
        unsigned zone = 0;
        frame_state_t found = frame_query(pfn(frame), &zone);

        state[frame] = found == FRAME_FREE ? FREE : found == FRAME_RESERVED ? RESERVED : ABSENT;
        zone_at[frame] = (uint8_t)zone;
    }
}

/* Whether a run of the request can start at a frame, in one zone. */
static bool could_start(const struct frame_request *request, unsigned zone, uint64_t first)
{
    uint64_t last = first + request->count - 1;

    if ((request->align != 0 && first % request->align != 0) || last >= FRAMES)
        return false;
    if (request->limit != 0 && (last + 1) * FRAME_SIZE > request->limit)
        return false;
    if (request->boundary != 0 && first / request->boundary != last / request->boundary)
        return false;
    if ((request->flags & FRAME_AT) != 0) {
        if (first != request->at.v)
            return false;
    } else if (request->count < CHUNK_FRAMES ? first / CHUNK_FRAMES != last / CHUNK_FRAMES
                                             : first % CHUNK_FRAMES != 0) {
        return false;
    }
    for (uint64_t frame = last + 1; frame-- > first;) {
        if (state[frame] != FREE || zone_at[frame] != zone)
            return false;
    }
    return true;
}

static bool zone_could(const struct frame_request *request, unsigned zone)
{
    for (uint64_t first = 0; first < FRAMES; first++) {
        if (could_start(request, zone, first))
            return true;
    }
    return false;
}

static uint64_t frames_in(unsigned zone, bool free_only)
{
    uint64_t frames = 0;

    for (uint64_t frame = 0; frame < FRAMES; frame++)
        frames += zone_at[frame] == zone && (free_only ? state[frame] == FREE : state[frame] != ABSENT);
    return frames;
}

/* Frames of a zone that a request leaves free which could go to the zones of the node up to `top`. */
static uint64_t protected_in(unsigned zone, unsigned top)
{
    uint64_t share = 0;

    for (unsigned other = zone + 1; other <= top; other++) { /* zones are in order of node, then kind */
        struct frame_zone_info info;

        frame_zone_info(other, &info);
        share += frames_in(other, false) / (info.kind <= ZONE_NORMAL ? 256 : 32);
    }
    return min_u64(share, frames_in(zone, false) / 2);
}

/* Whether a request leaves enough in a zone. *top: the highest of the node that could serve it. */
static bool leaves_enough(const struct frame_request *request, unsigned zone, int *top)
{
    struct frame_zone_info info;

    frame_zone_info(zone, &info);
    if ((request->flags & FRAME_AT) != 0)
        return true;
    if (*top < 0 && (request->limit == 0 || info.start.v < request->limit / FRAME_SIZE))
        *top = (int)zone;
    return *top < 0 || frames_in(zone, true) >= protected_in(zone, (unsigned)*top) + request->count;
}

/* The zone that must serve a request, or -1. */
static int expected_zone(const struct frame_request *request)
{
    for (unsigned i = 0; i < ((request->flags & FRAME_THIS_NODE) != 0 ? 1u : 2u); i++) {
        int top = -1;

        for (unsigned zone = frame_zone_count(); zone-- > 0;) {
            struct frame_zone_info info;

            frame_zone_info(zone, &info);
            if (info.node != (request->node ^ i) || info.kind > request->zone)
                continue;
            if (request->zone == ZONE_DEVICE && info.kind != ZONE_DEVICE)
                continue;
            if ((request->flags & FRAME_THIS_ZONE) != 0 && info.kind != request->zone)
                continue;
            if (leaves_enough(request, zone, &top) && zone_could(request, zone))
                return (int)zone;
        }
    }
    return -1;
}

static struct frame_request random_request(uint64_t *seed)
{
    static const uint16_t most[] = {1, 3, 9, 64, 100, 511, 600, 1500};
    uint64_t pick = test_random(seed);
    struct frame_request request = {.count = 1 + pick / 8 % most[pick % 8]};

    request.node = pick >> 60 & 1;
    request.zone = (zone_kind_t)((pick >> 52) % ZONE_KINDS);
    pick = test_random(seed);
    request.flags = (pick % 8 == 0 ? FRAME_THIS_NODE : 0u) | (pick / 8 % 8 == 0 ? FRAME_THIS_ZONE : 0u);
    if (pick / 64 % 4 == 0)
        request.align = UINT64_C(1) << (pick / 256 % 13);
    if (pick >> 40 & 1) {
        for (request.boundary = 1; request.boundary < request.count;)
            request.boundary *= 2;
        request.boundary <<= pick >> 41 & 1;
    }
    if ((pick >> 50) % 4 == 0)
        request.limit = (pick >> 20) % (FRAMES * FRAME_SIZE);
    if (pick >> 60 == 0) {
        request.flags |= FRAME_AT;
        request.at = pfn((pick >> 44) % FRAMES);
        request.align = request.boundary = 0;
    }
    return request;
}

static void try_alloc(uint64_t *seed)
{
    struct frame_request request = random_request(seed);
    int expected = expected_zone(&request);
    pfn_t first;
    status_t status = frame_alloc(&request, &first);

    if (status != (expected < 0 ? ERR_NO_MEMORY : OK)) {
        what = expected < 0 ? "served where nothing fits" : "refused though there is room";
        return;
    }
    if (status != OK)
        return;
    if (!could_start(&request, (unsigned)expected, first.v))
        what = "served from the wrong zone or against the request";
    memset(state + first.v, USED, request.count);
}

/* Any run, right or wrong. */
static void try_free(uint64_t *seed)
{
    uint64_t pick = test_random(seed), first = pick % FRAMES, count = 1 + (pick >> 32) % 40;
    status_t expected = OK;

    if (pick >> 62 == 0)
        count *= 50;
    while (pick >> 61 != 0 && count > 1 &&
           (first + count > FRAMES || memchr(state + first, FREE, count) != NULL))
        count /= 2;
    for (uint64_t i = first; i < first + count; i++) {
        if (i >= FRAMES || state[i] == ABSENT || zone_at[i] != zone_at[first])
            expected = ERR_INVALID;
        else if (state[i] != USED && expected == OK)
            expected = ERR_BUSY;
    }
    if (frame_free(pfn(first), count) != expected)
        what = "a free was judged wrongly";
    else if (expected == OK)
        memset(state + first, FREE, count);
}

/* Adds the maximal free blocks of one zone in [first, first + 2^order). */
static void count_blocks(unsigned zone, uint64_t first, unsigned order, uint64_t blocks[FRAME_ORDERS])
{
    bool all = true, any = false;

    for (uint64_t i = first; i < first + (UINT64_C(1) << order); i++) {
        bool free = i < FRAMES && state[i] == FREE && zone_at[i] == zone;

        all = all && free;
        any = any || free;
    }
    if (all)
        blocks[order]++;
    else if (any) {
        count_blocks(zone, first, order - 1, blocks);
        count_blocks(zone, first + (UINT64_C(1) << (order - 1)), order - 1, blocks);
    }
}

static void compare_statistics(void)
{
    for (unsigned zone = 0; zone < frame_zone_count(); zone++) {
        uint64_t blocks[FRAME_ORDERS] = {0}, run = 0, longest = 0, free = 0;
        struct frame_zone_stats stats;

        frame_zone_stats(zone, &stats);
        count_blocks(zone, 0, FRAME_ORDERS - 1, blocks);
        for (uint64_t i = 0; i < FRAMES; i++) {
            bool here = state[i] == FREE && zone_at[i] == zone;

            free += here;
            run = here ? run + 1 : 0;
            longest = run > longest ? run : longest;
        }
        if (free != stats.free || longest != stats.largest_run)
            what = "the free count or the largest run is wrong";
        if (memcmp(blocks, stats.free_blocks, sizeof(blocks)) != 0)
            what = "the free blocks are wrong";
    }
    if (frame_check() != NULL)
        what = frame_check();
}

TEST(layout, differential)
{
    uint64_t seed = 271828;

    what = NULL;
    CHECK_EQ(start_machine(), OK);
    frame_set_caching(false);
    CHECK(frame_zone_count() >= 6);
    read_machine();
    for (unsigned i = 0; i < ROUNDS && what == NULL; i++) {
        /* Fuller and emptier by turns. */
        if (test_random(&seed) % 8 < (i / 1000 % 2 == 0 ? 5 : 1))
            try_alloc(&seed);
        else
            try_free(&seed);
        if (i % 500 == 0)
            compare_statistics();
    }
    frame_set_caching(true);
    layout_end();
    if (what != NULL)
        test_fail(test_result_, __FILE__, __LINE__, "%s", what);
}

/* ---- Runs of many chunks ------------------------------------------------------------------------------- */

#define FIRST_CHUNK  37u
#define CHUNKS       300u
#define RUNS_MAX     64
#define CHUNK_ROUNDS 20000u

/* Of each chunk, how many frames from its first on are free; what lies behind them is taken for good. */
static uint16_t free_prefix[CHUNKS];
static struct {
    unsigned chunk;
    uint64_t count;
    uint16_t tail_before; /* free_prefix of the chunk that the run ends in */
} kept[RUNS_MAX];

static bool run_could_start(const struct frame_request *request, unsigned chunk)
{
    uint64_t first = (FIRST_CHUNK + chunk) * CHUNK_FRAMES, last = first + request->count - 1;

    if (first % request->align != 0 || (request->limit != 0 && (last + 1) * FRAME_SIZE > request->limit))
        return false;
    if (request->boundary != 0 && first / request->boundary != last / request->boundary)
        return false;
    for (uint64_t left = request->count; left > 0; chunk++) {
        uint64_t part = left < CHUNK_FRAMES ? left : CHUNK_FRAMES;

        if (chunk >= CHUNKS || free_prefix[chunk] < part)
            return false;
        left -= part;
    }
    return true;
}

static bool some_run_could(const struct frame_request *request)
{
    for (unsigned chunk = 0; chunk < CHUNKS; chunk++) {
        if (run_could_start(request, chunk))
            return true;
    }
    return false;
}

static void take_run(uint64_t *seed, unsigned index)
{
    uint64_t pick = test_random(seed);
    struct frame_request request = {
        .count = CHUNK_FRAMES * (1 + (pick & 15)), .align = 1, .zone = ZONE_NORMAL};
    unsigned chunk, tail;
    status_t status;
    pfn_t first;

    request.count += pick >> 10 & 1 ? (pick >> 20) % CHUNK_FRAMES : 0;
    if (pick >> 11 & 1)
        request.align = CHUNK_FRAMES << (pick >> 30) % 9;
    if ((pick >> 12 & 3) == 0) {
        for (request.boundary = 1; request.boundary < request.count;)
            request.boundary *= 2;
    }
    if ((pick >> 14 & 3) == 0)
        request.limit = (FIRST_CHUNK + (pick >> 40) % CHUNKS) * CHUNK_FRAMES * FRAME_SIZE - (pick >> 16 & 1);
    status = frame_alloc(&request, &first);
    if ((status == OK) != some_run_could(&request)) {
        what = status == OK ? "a long run was served where nothing fits" : "a long run was refused";
        return;
    }
    if (status != OK)
        return;
    chunk = (unsigned)(first.v / CHUNK_FRAMES) - FIRST_CHUNK;
    if (first.v % CHUNK_FRAMES != 0 || !run_could_start(&request, chunk)) {
        what = "a long run lies where it must not";
        return;
    }
    tail = chunk + (unsigned)((request.count - 1) / CHUNK_FRAMES);
    kept[index].chunk = chunk;
    kept[index].count = request.count;
    kept[index].tail_before = free_prefix[tail];
    for (unsigned i = chunk; i <= tail; i++)
        free_prefix[i] = 0;
}

static void drop_run(unsigned index)
{
    unsigned chunk = kept[index].chunk, tail = chunk + (unsigned)((kept[index].count - 1) / CHUNK_FRAMES);

    if (frame_free(pfn((FIRST_CHUNK + chunk) * CHUNK_FRAMES), kept[index].count) != OK)
        what = "a long run cannot be freed";
    for (unsigned i = chunk; i < tail; i++)
        free_prefix[i] = CHUNK_FRAMES;
    free_prefix[tail] = kept[index].tail_before;
    kept[index].count = 0;
}

TEST(layout, differential_of_long_runs)
{
    static const struct zone_limits limits = {.direct_end = UINT64_MAX};
    uint64_t seed = 161803, start = FIRST_CHUNK * CHUNK_FRAMES;

    what = NULL;
    layout_begin(1);
    layout_ram(0, start * FRAME_SIZE, (start + CHUNKS * CHUNK_FRAMES + LAYOUT_RESERVE) * FRAME_SIZE);
    CHECK_EQ(layout_start(&limits), OK);
    for (unsigned i = 0; i < CHUNKS; i++) {
        struct frame_request request = {.zone = ZONE_NORMAL, .flags = FRAME_AT};
        pfn_t first;

        free_prefix[i] = i % 11 == 10 ? (uint16_t)(i % 512) : CHUNK_FRAMES;
        request.count = CHUNK_FRAMES - free_prefix[i];
        request.at = pfn(start + i * CHUNK_FRAMES + free_prefix[i]);
        if (request.count > 0)
            CHECK_EQ(frame_alloc(&request, &first), OK);
    }
    memset(kept, 0, sizeof(kept));
    for (unsigned i = 0; i < CHUNK_ROUNDS && what == NULL; i++) {
        unsigned index = (unsigned)(test_random(&seed) % RUNS_MAX);

        if (kept[index].count != 0)
            drop_run(index);
        else
            take_run(&seed, index);
        if (i % 1000 == 0 && frame_check() != NULL)
            what = frame_check();
    }
    layout_end();
    if (what != NULL)
        test_fail(test_result_, __FILE__, __LINE__, "%s", what);
}
