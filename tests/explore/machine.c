/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include <mm/frame_pressure.h>
#include <mm/frame_reserve.h>
#include <mm/port.h>

#include "../../mm/frame/zone.h"
#include "machine.h"

#define BASE_CHUNK 5u
#define BASE (BASE_CHUNK * CHUNK_FRAMES)
#define RUNS 16

_Static_assert(MACHINE_START == BASE * FRAME_SIZE, "port_impl.h");

static const struct zone_limits limits = {.direct_end = UINT64_MAX};

/* One per number of chunks, and the ragged one; described once. */
#define RAGGED 0
static struct memmap map[MACHINE_CHUNKS + 1];
static struct topo topo[MACHINE_CHUNKS + 1];
static void *metadata;
static uint64_t metadata_room;
static unsigned chunks; /* of the current one */
static bool without_caches;

/* In all reserves: so many at most, by FRAME_RESERVE_SHARE. */
#define RESERVED_MAX (MACHINE_CHUNKS * CHUNK_FRAMES / FRAME_RESERVE_SHARE + 1)
static uint64_t reserved; /* when the machine started */

/* Aligned like the chunks it stands for. */
static uint8_t arena[(MACHINE_CHUNKS * CHUNK_FRAMES + RESERVED_MAX) * FRAME_SIZE] __attribute__((aligned(2 << 20)));
uint8_t *machine_memory;

static bool held[MACHINE_CHUNKS * CHUNK_FRAMES + RESERVED_MAX];
static struct run run[RUNS]; /* count 0: unused */

static void must(status_t status)
{
    if (status != OK)
        port_panic("the tiny machine: %s", status_name(status));
}

/* `extra` frames more than the chunks have, for the emergency reserves. */
static void describe(struct memmap *memory, struct topo *nodes, uint64_t held_back, uint64_t extra)
{
    uint64_t start = BASE * FRAME_SIZE, size = chunks * CHUNK_FRAMES * FRAME_SIZE;
    uint64_t held_size = held_back * FRAME_SIZE;
    uint16_t node;

    memmap_init(memory);
    topo_init(nodes);
    must(topo_add_node(nodes, 0, &node));
    for (unsigned cpu = 0; cpu < EXPLORE_THREADS; cpu++)
        must(topo_add_cpu(nodes, cpu, cpu, node, true));
    must(topo_add_range(nodes, node, start, size + extra * FRAME_SIZE, false));
    must(memmap_claim(memory, start, size + extra * FRAME_SIZE, MEM_USABLE, SOURCE_KERNEL, 0, true));
    if (held_back > 0)
        must(memmap_claim(memory, start + size - held_size, held_size, MEM_MODULE, SOURCE_KERNEL, 0, true));
    topo_settle(nodes);
    must(memmap_settle(memory));
    must(topo_assign(nodes, memory));
}

static void start_described(unsigned index)
{
    uint64_t size = frame_metadata_size(&map[index], &topo[index], &limits);
    if (size > metadata_room) {
        free(metadata);
        metadata = aligned_alloc(FRAME_SIZE, size);
        metadata_room = size;
        EXPLORE_CHECK(metadata != NULL);
    }
    memset(metadata, 0, size);
    memset(&frame_system, 0, sizeof(frame_system)); /* an execution that failed may have left a lock held */
    memset(held, false, sizeof(held));
    memset(run, 0, sizeof(run));
    must(frame_init(&map[index], &topo[index], &limits, metadata, size));
}

/* No watermarks: scenarios that want some set them. */
static void start(unsigned index, uint64_t held_back)
{
    if (map[index].region_count == 0) {
        describe(&map[index], &topo[index], held_back, 0);
        start_described(index);
        describe(&map[index], &topo[index], held_back, frame_reserved());
    }
    start_described(index);
    reserved = frame_reserved();
    EXPLORE_CHECK(reserved <= RESERVED_MAX);
    must(frame_watermarks_set(0, &(struct frame_watermarks){0}));
    frame_set_caching(!without_caches);
    without_caches = false;
}

void machine_start(unsigned chunks_)
{
    machine_memory = NULL;
    chunks = chunks_;
    start(chunks, 0);
}

void machine_start_with_memory(unsigned chunks_)
{
    machine_start(chunks_);
    machine_memory = arena;
}

void machine_start_ragged(void)
{
    machine_memory = NULL;
    chunks = 1;
    start(RAGGED, MACHINE_HELD_BACK);
}

bool machine_release(uint64_t at, uint64_t count)
{
    status_t status = frame_release(pfn(BASE + at), count);

    EXPLORE_CHECK(status == OK || status == ERR_BUSY);
    return status == OK;
}

void machine_without_caches(void)
{
    without_caches = true;
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
    EXPLORE_CHECK(first.v >= BASE && first.v + request.count <= BASE + chunks * CHUNK_FRAMES + reserved);
    for (uint64_t i = first.v - BASE; i < first.v - BASE + request.count; i++) {
        if (held[i])
            explore_fail("frame %llu of the machine is handed out twice", (unsigned long long)i);
        held[i] = true;
    }
    return run_enter(first.v, request.count);
}

status_t machine_free(uint64_t at, uint64_t count)
{
    return frame_free(pfn(BASE + at), count);
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

struct run *run_take_classed(frame_reserve_t class)
{
    return take((struct frame_request){.count = 1, .reserve = class});
}

static struct run *needed(struct run *taken, uint64_t count)
{
    if (taken == NULL)
        explore_fail("a request for %llu frames is refused", (unsigned long long)count);
    return taken;
}

struct run *run_need_classed(frame_reserve_t class)
{
    return needed(run_take_classed(class), 1);
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

void run_gone(struct run *given, uint64_t count)
{
    memset(held + (given->first - BASE), false, count);
    given->count = 0;
}

bool run_try_give(struct run *given, uint64_t count)
{
    status_t status = frame_free(pfn(given->first), count);

    EXPLORE_CHECK(status == OK || status == ERR_BUSY);
    if (status == OK)
        run_gone(given, count);
    return status == OK;
}

/* The last frame of all: scenarios use up no reserve of the class that is filled last. */
void machine_free_reserved(void)
{
    EXPLORE_CHECK(frame_free(pfn(BASE + chunks * CHUNK_FRAMES + reserved - 1), 1) == ERR_BUSY);
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

/* Chunks of which a reserve has a frame. None unless some were taken and others put there. */
static uint64_t chunks_with_reserved(void)
{
    struct frame_reserve_info info;
    uint64_t taken = 0, count = 0;

    for (unsigned class = FRAME_RESERVE_NONE + 1; class < FRAME_RESERVE_CLASSES; class++) {
        frame_reserve_info(0, (frame_reserve_t)class, &info);
        taken += info.taken;
    }
    for (uint64_t chunk = 0; taken > 0 && chunk < chunks; chunk++) {
        unsigned zone = 0;
        bool any = false;

        for (uint64_t i = 0; i < CHUNK_FRAMES && !any; i++)
            any = frame_query(pfn(BASE + chunk * CHUNK_FRAMES + i), &zone) == FRAME_RESERVED;
        count += any;
    }
    return count;
}

void machine_finish(void)
{
    struct frame_zone_stats stats;
    uint64_t frames = 0;

    for (unsigned i = 0; i < RUNS; i++)
        frames += run[i].count;
    check(frame_managed() - frame_reserved() - frames);
    for (unsigned i = 0; i < RUNS; i++) {
        if (run[i].count != 0)
            run_give(&run[i]);
    }
    frame_drain();
    check(frame_managed() - frame_reserved());
    frame_zone_stats(0, &stats);
    EXPLORE_CHECK(stats.whole_chunks == frame_managed() / CHUNK_FRAMES - chunks_with_reserved());
}
