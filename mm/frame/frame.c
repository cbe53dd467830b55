/* SPDX-License-Identifier: MIT
 *
 * The public face: requests are checked, turned into frame numbers, and offered to one zone after another.
 */
#include <mm/port.h>

#include "cache.h"
#include "pressure.h"
#include "reserve.h"
#include "debug.h"
#include "trace.h"

#define REQUEST_MAX (UINT64_C(1) << (FRAME_ORDERS - 1))
#define FRAMES_END  (UINT64_C(1) << (64 - FRAME_SHIFT)) /* beyond any frame number */
#define NO_BOUNDARY (UINT64_C(1) << 63)

struct frame_system frame_system;

/* ---- Allocation ---------------------------------------------------------------------------------------- */

/* A frame of a reserve is a mapped one, and no more can be said about it. */
static bool reserve_valid(const struct frame_request *request)
{
    const uint32_t refused = FRAME_AT | FRAME_THIS_ZONE | FRAME_SPECULATIVE;

    return (unsigned)request->reserve < FRAME_RESERVE_CLASSES && request->count == 1 && request->align <= 1 &&
           request->limit == 0 && request->zone >= ZONE_NORMAL && request->zone != ZONE_DEVICE &&
           (request->flags & refused) == 0;
}

static bool request_valid(const struct frame_request *request)
{
    uint64_t align = request->align != 0 ? request->align : 1, at = request->at.v;
    uint64_t boundary = request->boundary != 0 ? request->boundary : NO_BOUNDARY;

    if (request->count == 0 || request->count > REQUEST_MAX)
        return false;
    if (!is_power_of_two(align) || align > REQUEST_MAX)
        return false;
    if (!is_power_of_two(boundary) || boundary < request->count)
        return false;
    if ((request->flags & ~FRAME_FLAGS_ALL) != 0 || (unsigned)request->zone >= ZONE_KINDS)
        return false;
    if (request->node != FRAME_NODE_ANY && request->node >= frame_system.topo->node_count)
        return false;
    if (request->reserve != FRAME_RESERVE_NONE && !reserve_valid(request))
        return false;
    if (request->type >= FRAME_TYPES || request->type == FRAME_TYPE_FREE)
        return false;
    return (request->flags & FRAME_AT) == 0 || (at < FRAMES_END - request->count && is_aligned(at, align) &&
                                                align_down(at + request->count - 1, boundary) <= at);
}

static struct want want_of(const struct frame_request *request)
{
    return (struct want){
        .count = request->count,
        .align = request->align != 0 ? request->align : 1,
        .boundary = request->boundary != 0 ? request->boundary : NO_BOUNDARY,
        .end = request->limit != 0 ? request->limit >> FRAME_SHIFT : FRAMES_END,
        .mobile = (request->flags & FRAME_MOVABLE) != 0,
    };
}

/* Whether a request may use a kind of zone at all. */
static bool kind_suits(const struct frame_request *request, zone_kind_t kind)
{
    if (kind == request->zone)
        return true;
    return kind < request->zone && request->zone != ZONE_DEVICE && (request->flags & FRAME_THIS_ZONE) == 0;
}

static uint16_t first_node(const struct frame_request *request)
{
    if (request->node != FRAME_NODE_ANY)
        return request->node;
    return load_relaxed(&frame_system.cpu_node[port_cpu()]);
}

static bool alloc_at(const struct frame_request *request, const struct want *want, uint64_t *first,
                     struct zone **from)
{
    const struct frame_range *ram = range_find(frame_system.ram, frame_system.ram_count, request->at.v);
    struct zone *zone;

    *first = request->at.v;
    if (ram == NULL || want->count > ram->end - *first || *first + want->count > want->end)
        return false;
    zone = &frame_system.zone[ram->zone];
    if (!kind_suits(request, zone->kind))
        return false;
    if ((request->flags & FRAME_THIS_NODE) != 0 && zone->node != first_node(request))
        return false;
    *from = zone;
    return zone_alloc_at(zone, *first, want->count, want->mobile);
}

static uint32_t nodes_of(const struct frame_request *request)
{
    return (request->flags & FRAME_THIS_NODE) != 0 ? 1 : frame_system.topo->node_count;
}

/* Whether the wanted run fits into a zone at all, were all of it free. */
static bool could_hold(const struct zone *zone, const struct want *want)
{
    uint64_t end = min_u64(zone->end, want->end);

    return zone->start < end && end - zone->start >= want->count;
}

/* At most node_count × ZONE_KINDS zones. On each node the first that could serve is the one that the others are
 * protected from. */
static bool alloc_search(const struct frame_request *request, const struct want *want, uint64_t *first,
                         struct zone **from)
{
    const uint16_t *node = frame_system.topo->fallback[first_node(request)];
    uint32_t nodes = nodes_of(request);

    for (uint32_t i = 0; i < nodes; i++) {
        const uint16_t *zone_of = frame_system.zone_of[node[i]];
        zone_kind_t top = ZONE_KINDS;

        for (unsigned kind = request->zone + 1; kind-- > 0;) {
            struct zone *zone = &frame_system.zone[zone_of[kind]];

            if (zone_of[kind] == ZONE_NONE || !kind_suits(request, (zone_kind_t)kind) || !could_hold(zone, want))
                continue;
            top = top == ZONE_KINDS ? (zone_kind_t)kind : top;
            *from = zone;
            if (pressure_allows(zone, top, want->count, request->flags) && zone_alloc(zone, want, first))
                return true;
        }
    }
    return false;
}

/* Whether the cache of this CPU may answer: a frame or a chunk, any of those that would be looked at first. */
static bool cacheable(const struct frame_request *request, const struct frame_cpu *cpu)
{
    uint16_t node = load_relaxed(&frame_system.cpu_node[port_cpu()]);

    if ((request->count != 1 && request->count != CHUNK_FRAMES) || request->align > request->count)
        return false;
    if (request->limit != 0 || (request->flags & FRAME_AT) != 0)
        return false;
    if (cpu->zone == NULL || cpu->zone->node != node || (request->node != FRAME_NODE_ANY && request->node != node))
        return false;
    for (unsigned kind = request->zone; kind > cpu->zone->kind; kind--) {
        if (frame_system.zone_of[node][kind] != ZONE_NONE && kind_suits(request, (zone_kind_t)kind))
            return false;
    }
    return kind_suits(request, cpu->zone->kind) &&
           pressure_allows(cpu->zone, cpu->zone->kind, request->count, request->flags);
}

/* *from is the cache's zone if it had to be asked, or a chunk was taken; else untouched. */
static bool alloc_cached(const struct frame_request *request, uint64_t *first, struct zone **from)
{
    struct frame_cpu *cpu = frame_cpu_table[port_cache()];
    bool mobile = (request->flags & FRAME_MOVABLE) != 0, done;
    uint64_t filled = load_relaxed(&cpu->filled);

    if (!cacheable(request, cpu))
        return false;
    done = request->count == 1 ? cache_alloc(cpu, mobile, first) : cache_alloc_chunk(cpu, mobile, first);
    if (load_relaxed(&cpu->filled) != filled || (done && request->count > 1))
        *from = cpu->zone;
    return done;
}

/* From the zones themselves. */
static bool alloc_direct(const struct frame_request *request, const struct want *want, uint64_t *first,
                         struct zone **from)
{
    uint64_t begin = path_begin();
    bool at = (request->flags & FRAME_AT) != 0;
    bool found = at ? alloc_at(request, want, first, from) : alloc_search(request, want, first, from);

    path_done(FRAME_PATH_ALLOC, begin);
    trace_request(found ? FRAME_EVENT_ALLOC : FRAME_EVENT_ALLOC_FAILED, request, first_node(request), *first);
    return found;
}

/* *from: the zone that was asked last; NULL if no zone could ever serve the request. */
static bool alloc_any(const struct frame_request *request, const struct want *want, uint64_t *first,
                      struct zone **from)
{
    *from = NULL;
    return ((request->flags & FRAME_AT) == 0 && alloc_cached(request, first, from)) ||
           alloc_direct(request, want, first, from);
}

/* ---- When there is nothing ----------------------------------------------------------------------------- */

/* Other CPUs may cache again what a drain has brought before we come to it: so often we ask for it. */
#define DRAINS 8

/* The last report is made when other CPUs may have stopped and answer no fence; what is speculative costs nobody
 * else anything. */
static bool may_drain(const struct frame_request *request)
{
    return request->reserve != FRAME_RESERVE_REPORT && (request->flags & FRAME_SPECULATIVE) == 0;
}

static bool alloc_or_drain(const struct frame_request *request, const struct want *want, uint64_t *first,
                           struct zone **from)
{
    for (unsigned i = 0; i < DRAINS; i++) {
        uint64_t drains = cache_drains();

        if (alloc_any(request, want, first, from))
            return true;
        if (*from == NULL || !may_drain(request) || (!cache_drain_all() && cache_drains() == drains))
            return false;
    }
    return false;
}

/* Calls of the reclaimer for one node on behalf of one request. */
#define RECLAIM_ROUNDS 8

/* A handler must not wait, a reclaimer not recurse, and while the last report is made the reclaimer may be what is
 * broken. Given frames and longer runs than a chunk cannot be had by freeing some at random. */
static bool may_reclaim(const struct frame_request *request)
{
    return request->reserve <= FRAME_RESERVE_PAGE_TABLE && request->count <= CHUNK_FRAMES &&
           (request->flags & (FRAME_AT | FRAME_SPECULATIVE)) == 0;
}

/* Each node of the request until the reclaimer finds nothing there. Bound: RECLAIM_ROUNDS for each. */
static bool alloc_reclaiming(const struct frame_request *request, const struct want *want, uint64_t *first,
                             struct zone **from)
{
    const uint16_t *node = frame_system.topo->fallback[first_node(request)];

    for (uint32_t i = 0; i < nodes_of(request); i++) {
        for (unsigned round = 0; round < RECLAIM_ROUNDS && pressure_reclaim(node[i], want->count) > 0; round++) {
            if (alloc_or_drain(request, want, first, from))
                return true;
        }
    }
    return false;
}

/* Zones and caches have nothing; *from as alloc_any left it. */
static __attribute__((noinline)) bool alloc_hard(const struct frame_request *request, const struct want *want,
                                                 uint64_t *first, struct zone **from)
{
    if (*from != NULL && pressure_has_reclaimer() && may_reclaim(request) &&
        alloc_reclaiming(request, want, first, from))
        return true;
    *from = NULL;
    return request->reserve != FRAME_RESERVE_NONE &&
           reserve_take(first_node(request), (request->flags & FRAME_THIS_NODE) != 0, request->reserve, first);
}

status_t frame_alloc(const struct frame_request *request, pfn_t *first)
{
    struct zone *from;
    struct want want;
    uint64_t found = 0;

    if (frame_system.zone_count == 0)
        return ERR_NO_MEMORY;
    if (!request_valid(request))
        return ERR_INVALID;
    want = want_of(request);
    if (!alloc_or_drain(request, &want, &found, &from) && !alloc_hard(request, &want, &found, &from))
        return ERR_NO_MEMORY;
    if (from != NULL && pressure_taken(from) && may_reclaim(request))
        pressure_relieve(from);
    *first = pfn(found);
    if (debugging())
        debug_allocated(request, found, (uintptr_t)__builtin_return_address(0));
    if ((request->flags & FRAME_ZEROED) != 0) {
        for (uint64_t i = 0; i < want.count; i++)
            port_frame_zero(pfn(found + i));
    }
    return OK;
}

/* Calls of their own, so that the usual case stays small. */
static __attribute__((noinline)) status_t alloc_one_slowly(uint32_t flags, pfn_t *frame)
{
    const struct frame_request request = {.count = 1,
                                          .node = FRAME_NODE_ANY,
                                          .zone = ZONE_NORMAL,
                                          .flags = flags,
                                          .site = debugging() ? port_caller() : 0};

    struct frame_cpu *cpu = frame_cpu_table[port_cache()];

    if ((flags & ~(uint32_t)FRAME_MOVABLE) == 0 && cache_alloc(cpu, flags != 0, &frame->v)) {
        if (pressure_taken(cpu->zone))
            pressure_relieve(cpu->zone);
        return OK;
    }
    return frame_alloc(&request, frame);
}

static inline bool pop(unsigned index, pfn_t *frame)
{
    uint64_t found = cache_pop(frame_cpu_table[port_cache()], index);

    if (found == CACHE_EMPTY)
        return false;
    *frame = pfn(found);
    return true;
}

status_t frame_alloc_one(uint32_t flags, pfn_t *frame)
{
    if (flags == 0 ? pop(STACK_FIXED, frame) : flags == FRAME_MOVABLE && pop(STACK_MOBILE, frame))
        return OK;
    return alloc_one_slowly(flags, frame);
}

/* To its zone. The event gets its number before the frames can be allocated again. */
static status_t free_direct(struct zone *zone, uint64_t first, uint64_t count)
{
    uint64_t begin = path_begin(), place = trace_claim();
    status_t status = zone_free(zone, first, count);

    trace_fill(place, status == OK ? FRAME_EVENT_FREE : FRAME_EVENT_FREE_REFUSED, first, count);
    path_done(FRAME_PATH_FREE, begin);
    return status;
}

status_t free_judged(uint64_t first, uint64_t count)
{
    struct frame_cpu *cpu = frame_cpu_table[port_cache()];
    const struct frame_range *ram;
    struct zone *zone;
    status_t status;

    if (count == 1 && cache_free(cpu, first)) {
        pressure_given(cpu->zone);
        return OK;
    }
    ram = range_find(frame_system.ram, frame_system.ram_count, first);
    if (ram == NULL || count == 0 || count > ram->end - first)
        return ERR_INVALID;
    zone = &frame_system.zone[ram->zone];
    if (reserve_holds(zone, first, count))
        return managed_contains(first, count) ? ERR_BUSY : ERR_INVALID;
    status = free_direct(zone, first, count);
    pressure_given(zone);
    return status;
}

/* Caches are off where frees are to be judged first. */
static __attribute__((noinline)) status_t free_slowly(uint64_t first, uint64_t count)
{
    struct frame_cpu *cpu = frame_cpu_table[port_cache()];
    status_t status;

    if (count == CHUNK_FRAMES && cache_free_chunk(cpu, first)) {
        pressure_given(cpu->zone);
        return OK;
    }
    status = debugging() ? debug_freeing(first, count, port_caller()) : OK;
    return status == OK ? free_judged(first, count) : status;
}

status_t frame_free(pfn_t first, uint64_t count)
{
    if (count == 1) {
        struct frame_cpu *cpu = frame_cpu_table[port_cache()];

        if (cache_push(cpu, first.v) || cache_push_other(cpu, first.v))
            return OK;
    }
    return free_slowly(first.v, count);
}

void frame_drain(void)
{
    (void)cache_drain_all();
}

status_t frame_set_threshold(uint64_t frames)
{
    if (frames < 2 || frames > CHUNK_FRAMES)
        return ERR_INVALID;
    store_relaxed(&frame_system.threshold, frames);
    return OK;
}

void frame_set_caching(bool on)
{
    cache_switch(debug_lets_cache(on));
}

void frame_cpu_offline(unsigned cpu)
{
    cache_drain(cpu);
}

status_t frame_release(pfn_t first, uint64_t count)
{
    uint64_t end = first.v + count;
    struct frame_range piece;
    status_t status;

    if (count == 0 || first.v >= FRAMES_END || count > FRAMES_END - first.v)
        return ERR_INVALID;
    status = managed_add(first.v, end);
    for (uint64_t at = first.v; status == OK && at < end && ram_piece(at, end, &piece); at = piece.end)
        zone_manage(&frame_system.zone[piece.zone], at, piece.end - at);
    pressure_settle();
    return status;
}

void frame_cpu_node(unsigned cpu, uint16_t node)
{
    store_relaxed(&frame_system.cpu_node[cpu], node);
    if (cpu < frame_system.cpu_count) {
        cache_drain(cpu);
        cache_set_home(&frame_system.cpu[cpu], cpu, node);
    }
}

/* ---- Questions ----------------------------------------------------------------------------------------- */

const struct topo *frame_topo(void)
{
    return frame_system.topo;
}

unsigned frame_zone_count(void)
{
    return frame_system.zone_count;
}

void frame_zone_info(unsigned index, struct frame_zone_info *info)
{
    const struct zone *zone = &frame_system.zone[index];

    *info = (struct frame_zone_info){zone->node, zone->kind, pfn(zone->start), pfn(zone->end)};
}

void frame_zone_stats(unsigned index, struct frame_zone_stats *stats)
{
    zone_stats(&frame_system.zone[index], stats);
}

uint64_t frame_managed(void)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < frame_system.zone_count; i++)
        sum += load_relaxed(&frame_system.zone[i].managed);
    return sum;
}

uint64_t frame_free_count(void)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < frame_system.zone_count; i++)
        sum += zone_free_frames(&frame_system.zone[i]) + cache_sums(&frame_system.zone[i]).cached;
    return sum;
}

uint64_t frame_metadata_bytes(void)
{
    return frame_system.metadata_bytes;
}

frame_state_t frame_query(pfn_t frame, unsigned *zone)
{
    const struct frame_range *ram = range_find(frame_system.ram, frame_system.ram_count, frame.v);

    if (ram == NULL)
        return FRAME_UNMANAGED;
    *zone = ram->zone;
    if (reserve_holds(&frame_system.zone[ram->zone], frame.v, 1))
        return FRAME_RESERVED;
    if (cache_holds(&frame_system.zone[ram->zone], frame.v))
        return FRAME_FREE;
    return zone_query(&frame_system.zone[ram->zone], frame.v);
}
