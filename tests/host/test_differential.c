/* SPDX-License-Identifier: MIT
 *
 * The frame allocator against models: random requests of every kind against one byte per frame (frame_model.h), and
 * runs of many chunks against how much of each chunk is free.
 */
#include <string.h>

#include "frame_model.h"
#include "host.h"
#include "layout.h"
#include "quire_test.h"

#define ROUNDS 30000u
#define CPUS 3u

static const char *what; /* went wrong */

/* Two nodes that alternate, holes, all four borders inside chunks, and device memory on both sides of one: some 15
 * chunks in 9 zones. */
static status_t start_machine(void)
{
    static const struct zone_limits limits = {.dma_end = MIB(5) + 0x2000,
                                              .dma32_end = MIB(17) + 0x5000,
                                              .direct_end = MIB(30) - 0x9000,
                                              .movable_start = MIB(32) - 0x3000};

    layout_begin(2);
    layout_cpus(CPUS);
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

static struct frame_request random_request(uint64_t *seed)
{
    static const uint16_t most[] = {1, 3, 9, 64, 100, 511, 600, 1500};
    uint64_t pick = test_random(seed);
    struct frame_request request = {.count = 1 + pick / 8 % most[pick % 8]};

    request.node = pick >> 60 & 1 ? FRAME_NODE_ANY : pick >> 61 & 1;
    request.zone = (zone_kind_t)((pick >> 52) % ZONE_KINDS);
    pick = test_random(seed);
    request.flags = (pick % 8 == 0 ? FRAME_THIS_NODE : 0u) | (pick / 8 % 8 == 0 ? FRAME_THIS_ZONE : 0u) |
                    (pick >> 44 & 1 ? FRAME_MOVABLE : 0u);
    if (pick / 64 % 4 == 0)
        request.align = UINT64_C(1) << (pick / 256 % 13);
    if (pick >> 40 & 1) {
        for (request.boundary = 1; request.boundary < request.count;)
            request.boundary *= 2;
        request.boundary <<= pick >> 41 & 1;
    }
    if ((pick >> 50) % 4 == 0)
        request.limit = (pick >> 20) % (MODEL_FRAMES * FRAME_SIZE);
    if (pick >> 60 == 0) {
        request.flags |= FRAME_AT;
        request.at = pfn((pick >> 44) % MODEL_FRAMES);
        request.align = request.boundary = 0;
    }
    return request;
}

/* Any run, right or wrong. */
static const char *random_free(uint64_t *seed)
{
    uint64_t pick = test_random(seed), first = pick % MODEL_FRAMES, count = 1 + (pick >> 32) % 40, used = 0;

    if (pick >> 62 == 0)
        count *= 50;
    while (pick >> 61 != 0 && used < count && model_used(first + used))
        used++;
    return model_free(first, used > 0 ? used : count);
}

static const char *run_random(bool caches)
{
    const char *wrong = model_begin(caches);
    struct model_run taken;
    uint64_t seed = 271828;

    for (unsigned i = 0; i < ROUNDS && wrong == NULL; i++) {
        struct frame_request request = random_request(&seed);

        host_set_cpu((unsigned)(test_random(&seed) % CPUS));
        /* Fuller and emptier by turns. */
        if (test_random(&seed) % 8 < (i / 1000 % 2 == 0 ? 5 : 1))
            wrong = model_alloc(&request, &taken);
        else
            wrong = random_free(&seed);
        if (i % 500 == 0 && wrong == NULL)
            wrong = model_compare();
    }
    host_set_cpu(0);
    return wrong != NULL ? wrong : model_end();
}

TEST(layout, differential)
{
    CHECK_EQ(start_machine(), OK);
    CHECK(frame_zone_count() >= 6);
    what = run_random(false);
    layout_end();
    if (what != NULL)
        test_fail(test_result_, __FILE__, __LINE__, "%s", what);
}

TEST(layout, differential_with_caches)
{
    CHECK_EQ(start_machine(), OK);
    what = run_random(true);
    layout_end();
    if (what != NULL)
        test_fail(test_result_, __FILE__, __LINE__, "%s", what);
}

/* ---- Runs of many chunks ------------------------------------------------------------------------------- */

#define FIRST_CHUNK 37u
#define CHUNKS 300u
#define RUNS_MAX 64
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
    layout_ram(0, start * FRAME_SIZE, (start + CHUNKS * CHUNK_FRAMES) * FRAME_SIZE);
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
