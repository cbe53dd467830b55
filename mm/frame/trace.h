/* SPDX-License-Identifier: MIT
 *
 * Inside mm/frame: recording events. Each of these is one load while no trace is on.
 */
#ifndef MM_FRAME_TRACE_INTERNAL_H
#define MM_FRAME_TRACE_INTERNAL_H

#include <mm/frame_trace.h>
#include <mm/port.h>

#include "zone.h"

struct trace_record;

/* NULL: no trace is on. */
extern struct trace_record *_Atomic trace_ring;

static inline bool trace_is_on(void)
{
    return load_quiet(&trace_ring) != NULL;
}

/* The place of an event that is about to happen, or TRACE_NONE. A place must be filled, soon. */
#define TRACE_NONE UINT64_MAX
uint64_t trace_claim_slowly(void);
void trace_fill_slowly(uint64_t place, const struct frame_event *event);

static inline uint64_t trace_claim(void)
{
    return trace_is_on() ? trace_claim_slowly() : TRACE_NONE;
}

static inline void trace_fill(uint64_t place, enum frame_event_kind kind, uint64_t first, uint64_t count)
{
    if (place != TRACE_NONE)
        trace_fill_slowly(place, &(struct frame_event){.kind = kind, .first = pfn(first), .count = (uint32_t)count});
}

static inline void trace_event(enum frame_event_kind kind, uint64_t first, uint64_t count)
{
    trace_fill(trace_claim(), kind, first, count);
}

/* FRAME_EVENT_ALLOC, _RESERVE or _ALLOC_FAILED. node: that was asked. */
void trace_request_slowly(enum frame_event_kind kind, const struct frame_request *request, uint16_t node,
                          uint64_t first);

static inline void trace_request(enum frame_event_kind kind, const struct frame_request *request, uint16_t node,
                                 uint64_t first)
{
    if (trace_is_on())
        trace_request_slowly(kind, request, node, first);
}

/* FRAME_EVENT_BROKEN or _WHOLE. */
static inline void trace_chunk(enum frame_event_kind kind, const struct zone *zone, uint64_t slot)
{
    if (trace_is_on())
        trace_event(kind, zone_frame(zone, slot), CHUNK_FRAMES);
}

/* `count` frames were drained from the cache of CPU `of_cpu`. */
static inline void trace_drain(unsigned of_cpu, uint64_t count)
{
    uint64_t place = trace_claim();

    if (place != TRACE_NONE)
        trace_fill_slowly(place, &(struct frame_event){.kind = FRAME_EVENT_DRAIN, .of_cpu = (uint16_t)of_cpu,
                                                       .count = (uint32_t)count});
}

#endif
