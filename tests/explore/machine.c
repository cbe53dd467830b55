/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include <mm/port.h>

#include "machine.h"

#define BASE_CHUNK 5u
#define BASE (BASE_CHUNK * CHUNK_FRAMES)
#define RUNS 16

static const struct zone_limits limits = {.direct_end = UINT64_MAX};

/* One per size, described once. */
static struct memmap map[MACHINE_CHUNKS + 1];
static struct topo topo[MACHINE_CHUNKS + 1];
static void *metadata;
static uint64_t metadata_size, metadata_room;
static unsigned chunks; /* of the current one */

static bool held[MACHINE_CHUNKS * CHUNK_FRAMES];
static struct run run[RUNS]; /* count 0: unused */

static void must(status_t status)
{
    if (status != OK)
        port_panic("the tiny machine: %s", status_name(status));
}

static void describe(struct memmap *memory, struct topo *nodes)
{
    uint64_t bytes = chunks * CHUNK_FRAMES * FRAME_SIZE;
    uint16_t node;

    memmap_init(memory);
    topo_init(nodes);
    must(topo_add_node(nodes, 0, &node));
    for (unsigned cpu = 0; cpu < EXPLORE_THREADS; cpu++)
        must(topo_add_cpu(nodes, cpu, cpu, node, true));
    must(topo_add_range(nodes, node, BASE * FRAME_SIZE, bytes, false));
    must(memmap_claim(memory, BASE * FRAME_SIZE, bytes, MEM_USABLE, SOURCE_KERNEL, 0, true));
    topo_settle(nodes);
    must(memmap_settle(memory));
    must(topo_assign(nodes, memory));
}

void machine_start(unsigned chunks_)
{
    struct memmap *memory = &map[chunks_];

    if (memory->region_count == 0 || chunks != chunks_) {
        chunks = chunks_;
        if (memory->region_count == 0)
            describe(memory, &topo[chunks]);
        metadata_size = frame_metadata_size(memory, &topo[chunks], &limits);
    }
    if (metadata_size > metadata_room) {
        free(metadata);
        metadata = aligned_alloc(FRAME_SIZE, metadata_size);
        metadata_room = metadata_size;
        EXPLORE_CHECK(metadata != NULL);
    }
    memset(metadata, 0, metadata_size);
    memset(held, false, sizeof(held));
    memset(run, 0, sizeof(run));
    must(frame_init(memory, &topo[chunks], &limits, metadata, metadata_size));
}

/* ---- Runs ---------------------------------------------------------------------------------------------- */

static struct run *run_enter(uint64_t first, uint64_t count)
{
    struct run *entry = run;

    while (entry < run + RUNS && entry->count != 0)
        entry++;
    EXPLORE_CHECK(entry < run + RUNS);
    *entry = (struct run){first, count};
    return entry;
}

static struct run *take(struct frame_request request)
{
    pfn_t first = {0};
    status_t status;

    request.zone = ZONE_NORMAL;
    status = frame_alloc(&request, &first);
    EXPLORE_CHECK(status == OK || status == ERR_NO_MEMORY);
    if (status != OK)
        return NULL;
    EXPLORE_CHECK(first.v >= BASE && first.v + request.count <= BASE + chunks * CHUNK_FRAMES);
    for (uint64_t i = first.v - BASE; i < first.v - BASE + request.count; i++) {
        if (held[i])
            explore_fail("frame %llu of the machine is handed out twice", (unsigned long long)i);
        held[i] = true;
    }
    return run_enter(first.v, request.count);
}

struct run *run_take(uint64_t count)
{
    return take((struct frame_request){.count = count});
}

struct run *run_take_at(uint64_t at, uint64_t count)
{
    struct run *taken = take((struct frame_request){.count = count, .flags = FRAME_AT, .at = pfn(BASE + at)});

    EXPLORE_CHECK(taken == NULL || taken->first == BASE + at);
    return taken;
}

static struct run *needed(struct run *taken, uint64_t count)
{
    if (taken == NULL)
        explore_fail("a request for %llu frames is refused", (unsigned long long)count);
    return taken;
}

struct run *run_need(uint64_t count)
{
    return needed(run_take(count), count);
}

struct run *run_need_at(uint64_t at, uint64_t count)
{
    return needed(run_take_at(at, count), count);
}

struct run *run_split(struct run *from, uint64_t count)
{
    from->count -= count;
    return run_enter(from->first + from->count, count);
}

void run_give(struct run *given)
{
    struct run frames = *given;

    /* From the call on somebody else may get them. */
    given->count = 0;
    memset(held + (frames.first - BASE), false, frames.count);
    EXPLORE_CHECK(frame_free(pfn(frames.first), frames.count) == OK);
}

bool run_try_give(struct run *given, uint64_t count)
{
    status_t status = frame_free(pfn(given->first), count);

    EXPLORE_CHECK(status == OK || status == ERR_BUSY);
    if (status == OK) {
        memset(held + (given->first - BASE), false, count);
        given->count = 0;
    }
    return status == OK;
}

unsigned runs_held(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < RUNS; i++)
        count += run[i].count != 0;
    return count;
}

/* ---- The end ------------------------------------------------------------------------------------------- */

static void check(uint64_t free_expected)
{
    const char *broken = frame_check();

    if (broken != NULL)
        explore_fail("%s", broken);
    if (frame_free_count() != free_expected)
        explore_fail("%llu frames are free, expected %llu", (unsigned long long)frame_free_count(),
                     (unsigned long long)free_expected);
}

void machine_finish(void)
{
    struct frame_zone_stats stats;
    uint64_t frames = 0;

    for (unsigned i = 0; i < RUNS; i++)
        frames += run[i].count;
    check(chunks * CHUNK_FRAMES - frames);
    for (unsigned i = 0; i < RUNS; i++) {
        if (run[i].count != 0)
            run_give(&run[i]);
    }
    if (frame_drain != NULL)
        frame_drain();
    check(chunks * CHUNK_FRAMES);
    frame_zone_stats(0, &stats);
    EXPLORE_CHECK(stats.whole_chunks == chunks);
}
