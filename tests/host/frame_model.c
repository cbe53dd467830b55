/* SPDX-License-Identifier: MIT
 *
 * The model knows the contract of <mm/frame.h> and nothing of how it is kept. Which of the places that suit a run is
 * taken is the allocator's business; the zone is not.
 */
#include "frame_model.h"

#include <string.h>

#include <mm/bits.h>
#include <mm/port.h>

#include "host.h"
#include "layout.h"

#define STRETCH 64 /* requests with caches as they are, then as many with caches drained */
#define COUNT_MAX (UINT64_C(1) << (FRAME_ORDERS - 1))
#define NO_ZONE UINT8_MAX

enum { ABSENT, HELD_BACK, FREE, USED };

static uint8_t state[MODEL_FRAMES];
static uint8_t zone_at[MODEL_FRAMES];
static struct frame_zone_info zone_info[FRAME_MAX_ZONES];
static unsigned zones;
static uint64_t frames; /* the machine has none from here on */
static unsigned releases, requests, reports;
static bool caching;

/* ---- The machine --------------------------------------------------------------------------------------- */

/* RAM belongs to the lowest kind that it does not reach beyond, memory for special purposes to Device. */
static zone_kind_t kind_of(uint64_t frame, mem_type_t type)
{
    zone_kind_t kind = type == MEM_SPECIFIC ? ZONE_DEVICE : ZONE_DMA;
    uint64_t start, end;

    for (; kind < ZONE_MOVABLE; kind++) {
        zone_bounds(&layout_limits, kind, &start, &end);
        if ((frame + 1) * FRAME_SIZE <= end)
            break;
    }
    return kind;
}

/* Whether every byte of a frame is in regions of a type. They do not overlap, so their shares add up. */
static bool consists_of(uint64_t frame, mem_type_t type)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < layout_map.region_count; i++) {
        const struct mem_region *region = &layout_map.region[i];
        uint64_t start = max_u64(region->start.v, frame * FRAME_SIZE);
        uint64_t end = min_u64(region->end.v, (frame + 1) * FRAME_SIZE);

        bytes += region->type == type && start < end ? end - start : 0;
    }
    return bytes == FRAME_SIZE;
}

static const char *check_free(uint64_t frame, unsigned zone)
{
    mem_type_t type = consists_of(frame, MEM_SPECIFIC) ? MEM_SPECIFIC : MEM_USABLE;
    uint64_t end;

    if (zone >= zones || !consists_of(frame, type))
        return "a frame is free that is not usable";
    return zone_info[zone].kind == kind_of(frame, type) &&
                   zone_info[zone].node ==
                       topo_piece(&layout_topo, frame * FRAME_SIZE, frame * FRAME_SIZE + 1, &end)
               ? NULL
               : "a frame is in the wrong zone";
}

const char *model_begin(bool caches)
{
    const char *wrong;

    caching = caches;
    frame_set_caching(caches);
    reports = host_reports;
    releases = requests = 0;
    zones = frame_zone_count();
    frames = 0;
    for (unsigned zone = 0; zone < zones; zone++) {
        frame_zone_info(zone, &zone_info[zone]);
        frames = max_u64(frames, zone_info[zone].end.v);
    }
    if (frames > MODEL_FRAMES)
        return "the machine is too large";
    for (uint64_t frame = 0; frame < frames; frame++) {
        unsigned zone = NO_ZONE;
        frame_state_t now = frame_query(pfn(frame), &zone);

        zone_at[frame] = (uint8_t)zone;
        state[frame] = now == FRAME_FREE ? FREE : zone != NO_ZONE ? HELD_BACK : ABSENT;
        if (now != FRAME_FREE && consists_of(frame, MEM_USABLE))
            return "a usable frame is not free";
        wrong = now == FRAME_FREE ? check_free(frame, zone) : NULL;
        if (wrong != NULL)
            return wrong;
    }
    return model_compare();
}

/* ---- Requests ------------------------------------------------------------------------------------------ */

static bool is_power(uint64_t value)
{
    return bit_count(value) == 1;
}

static bool is_valid(const struct frame_request *request)
{
    uint64_t last = request->at.v + request->count - 1;

    if (request->count < 1 || request->count > COUNT_MAX || (request->flags & ~FRAME_FLAGS_ALL) != 0)
        return false;
    if (request->align != 0 && (!is_power(request->align) || request->align > COUNT_MAX))
        return false;
    if (request->boundary != 0 && (!is_power(request->boundary) || request->boundary < request->count))
        return false;
    if ((unsigned)request->zone >= ZONE_KINDS ||
        (request->node != FRAME_NODE_ANY && request->node >= frame_topo()->node_count))
        return false;
    return (request->flags & FRAME_AT) == 0 ||
           ((request->align == 0 || request->at.v % request->align == 0) &&
            (request->boundary == 0 || request->at.v / request->boundary == last / request->boundary));
}

/* What the request and the contract say about a place, whoever has it. */
static bool may_start(const struct frame_request *request, uint64_t first)
{
    uint64_t last = first + request->count - 1;

    if (request->limit != 0 && (last + 1) * FRAME_SIZE > request->limit)
        return false;
    if ((request->flags & FRAME_AT) != 0)
        return first == request->at.v;
    if ((request->align != 0 && first % request->align != 0) ||
        (request->boundary != 0 && first / request->boundary != last / request->boundary))
        return false;
    return request->count < CHUNK_FRAMES ? first / CHUNK_FRAMES == last / CHUNK_FRAMES
                                         : first % CHUNK_FRAMES == 0;
}

static bool all_free(unsigned zone, uint64_t first, uint64_t count)
{
    if (first >= frames || count > frames - first)
        return false;
    for (uint64_t frame = first; frame < first + count; frame++) {
        if (state[frame] != FREE || zone_at[frame] != zone)
            return false;
    }
    return true;
}

static bool zone_could(const struct frame_request *request, unsigned zone)
{
    uint64_t run = 0; /* free frames before and with this one */

    for (uint64_t frame = 0; frame < frames; frame++) {
        run = state[frame] == FREE && zone_at[frame] == zone ? run + 1 : 0;
        if (run >= request->count && may_start(request, frame + 1 - request->count))
            return true;
    }
    return false;
}

static bool zone_suits(const struct frame_request *request, unsigned zone, uint16_t node)
{
    zone_kind_t kind = zone_info[zone].kind;

    if (zone_info[zone].node != node)
        return false;
    return kind == request->zone ||
           (kind < request->zone && request->zone != ZONE_DEVICE && (request->flags & FRAME_THIS_ZONE) == 0);
}

#define NOWHERE (-1)

/* The zone that must serve a request; `got` is the one that did. What caches keep from other CPUs may be why one was
 * passed over, unless they were just drained. A node's zones are numbered in rising order. */
static int expected_zone(const struct frame_request *request, int got, bool drained)
{
    const struct topo *topo = frame_topo();
    uint16_t home = request->node == FRAME_NODE_ANY ? layout_topo.cpu[port_cpu()].node : request->node;

    for (uint32_t i = 0; i < ((request->flags & FRAME_THIS_NODE) != 0 ? 1 : topo->node_count); i++) {
        for (unsigned zone = zones; zone-- > 0;) {
            if (zone_suits(request, zone, topo->fallback[home][i]) && zone_could(request, zone) &&
                (drained || (int)zone == got || got == NOWHERE))
                return (int)zone;
        }
    }
    return NOWHERE;
}

static const char *judge_alloc(const struct frame_request *request, status_t status, uint64_t first,
                               bool drained)
{
    bool valid = zones == 0 || is_valid(request);
    int got = status == OK && first < frames ? zone_at[first] : NOWHERE, zone;

    if ((status == ERR_INVALID) == valid)
        return valid ? "a valid request was called invalid" : "an invalid request was not called invalid";
    zone = valid ? expected_zone(request, got, drained) : NOWHERE;
    if (valid && status != (zone == NOWHERE ? ERR_NO_MEMORY : OK))
        return status == OK ? "served where nothing fits" : "refused though there is room";
    if (status != OK)
        return first == UINT64_MAX ? NULL : "a refused request got a frame";
    if (got != zone)
        return "served from the wrong zone";
    return may_start(request, first) && all_free((unsigned)zone, first, request->count)
               ? NULL
               : "served from used frames, or against the request";
}

const char *model_alloc(const struct frame_request *request, struct model_run *taken)
{
    bool drained = !caching || requests++ / STRETCH % 2 == 1;
    pfn_t first = pfn(UINT64_MAX);
    const char *wrong;
    status_t status;

    if (drained)
        frame_drain();
    status = frame_alloc(request, &first);
    wrong = judge_alloc(request, status, first.v, drained);
    *taken = (struct model_run){0, 0};
    if (wrong != NULL || status != OK)
        return wrong;
    memset(state + first.v, USED, request->count);
    *taken = (struct model_run){first.v, request->count};
    return NULL;
}

/* ---- Frees --------------------------------------------------------------------------------------------- */

bool model_used(uint64_t frame)
{
    return frame < frames && state[frame] == USED;
}

static status_t judge_free(uint64_t first, uint64_t count)
{
    status_t verdict = count == 0 ? ERR_INVALID : OK;

    for (uint64_t i = 0; i < count && verdict != ERR_INVALID; i++) {
        uint64_t frame = first + i;

        if (frame >= frames || state[frame] < FREE || zone_at[frame] != zone_at[first])
            verdict = ERR_INVALID;
        else if (state[frame] == FREE)
            verdict = ERR_BUSY;
    }
    return verdict;
}

const char *model_free(uint64_t first, uint64_t count)
{
    status_t verdict = judge_free(first, count);

    if (caching && verdict != OK)
        return NULL;
    if (frame_free(pfn(first), count) != verdict)
        return "a free was judged wrongly";
    if (verdict == OK)
        memset(state + first, FREE, count);
    return NULL;
}

static status_t judge_release(uint64_t first, uint64_t count)
{
    status_t verdict = count == 0 ? ERR_INVALID : OK;

    for (uint64_t i = 0; i < count && verdict != ERR_INVALID; i++) {
        if (first + i >= frames || state[first + i] == ABSENT)
            verdict = ERR_INVALID;
        else if (state[first + i] != HELD_BACK)
            verdict = ERR_BUSY;
    }
    return verdict;
}

const char *model_release(uint64_t first, uint64_t count)
{
    status_t verdict = judge_release(first, count), status = frame_release(pfn(first), count);

    if (status == ERR_FULL && verdict == OK && releases > 32) /* there is room for some at least */
        return NULL;
    if (status != verdict)
        return "a release was judged wrongly";
    releases += verdict == OK;
    if (verdict == OK)
        memset(state + first, FREE, count);
    return NULL;
}

/* ---- Statistics ---------------------------------------------------------------------------------------- */

struct counted {
    uint64_t managed, free, longest;
    uint64_t blocks[FRAME_ORDERS];
};

/* Adds the run [first, end) of free frames, cut into the largest aligned blocks. */
static void count_run(struct counted *counted, uint64_t first, uint64_t end)
{
    counted->free += end - first;
    counted->longest = max_u64(counted->longest, end - first);
    while (first < end) {
        unsigned order = 0;

        while (order + 1 < FRAME_ORDERS && is_aligned(first, UINT64_C(2) << order) &&
               first + (UINT64_C(2) << order) <= end)
            order++;
        counted->blocks[order]++;
        first += UINT64_C(1) << order;
    }
}

static const char *compare_zone(unsigned zone)
{
    struct counted counted = {0};
    struct frame_zone_stats stats;

    frame_zone_stats(zone, &stats);
    for (uint64_t first = 0, end; first < frames; first = end) {
        bool here = zone_at[first] == zone && state[first] >= FREE;

        end = first + 1;
        while (end < frames && state[end] == state[first] && zone_at[end] == zone_at[first])
            end++;
        counted.managed += here ? end - first : 0;
        if (here && state[first] == FREE)
            count_run(&counted, first, end);
    }
    if (counted.managed != stats.managed || counted.free != stats.free ||
        counted.longest != stats.largest_run)
        return "the count of managed or free frames or the largest run is wrong";
    return memcmp(counted.blocks, stats.free_blocks, sizeof(counted.blocks)) != 0
               ? "the free blocks are wrong"
               : NULL;
}

const char *model_compare(void)
{
    const char *wrong;
    uint64_t free = 0;

    frame_drain();
    wrong = host_reports != reports ? "a wrong free was reported that was none" : frame_check();
    for (unsigned zone = 0; zone < zones && wrong == NULL; zone++)
        wrong = compare_zone(zone);
    for (uint64_t frame = 0; frame < frames; frame++)
        free += state[frame] == FREE;
    return wrong == NULL && free != frame_free_count() ? "the sum of free frames is wrong" : wrong;
}

const char *model_end(void)
{
    const char *wrong = NULL;

    for (uint64_t first = 0; first < frames && wrong == NULL; first++) {
        uint64_t count = 0;

        while (model_used(first + count) && zone_at[first + count] == zone_at[first])
            count++;
        if (count > 0)
            wrong = model_free(first, count);
    }
    if (wrong == NULL)
        wrong = model_compare();
    frame_set_caching(true);
    return wrong;
}
