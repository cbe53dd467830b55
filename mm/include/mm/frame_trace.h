/* SPDX-License-Identifier: MIT
 *
 * A trace of what the frame allocator does: the last so many events of all CPUs in one ring. While it is off it
 * costs the slow paths one load each, and hits in caches nothing.
 *
 * The ring's memory comes from the allocator itself. Events are numbered from 0 in the order in which they took
 * effect, as far as frames are concerned: a free has a lower number than any later allocation of the same frames.
 */
#ifndef MM_FRAME_TRACE_H
#define MM_FRAME_TRACE_H

#include <mm/frame.h>

enum frame_event_kind {
    FRAME_EVENT_ALLOC,        /* first, count: what was handed out */
    FRAME_EVENT_ALLOC_FAILED, /* count: what was asked for */
    FRAME_EVENT_FREE,         /* first, count */
    FRAME_EVENT_FREE_REFUSED, /* first, count */
    FRAME_EVENT_REFILL,       /* count frames, `first` one of them, went from the zone into the CPU's cache */
    FRAME_EVENT_SPILL,        /* count: frames of the CPU's cache went back for want of room */
    FRAME_EVENT_DRAIN,        /* count: the cache of CPU `of_cpu` was emptied of so many frames */
    FRAME_EVENT_BROKEN,       /* first: of the chunk that became a partly used one */
    FRAME_EVENT_WHOLE,        /* first: of the chunk whose last frame came back */
    FRAME_EVENT_PRESSURE,     /* count: what the reporter makes of it */
    FRAME_EVENT_RESERVE,      /* first, count: handed out from a reserve */
    FRAME_EVENT_KINDS,
};

const char *frame_event_name(enum frame_event_kind kind); /* "alloc", "alloc failed", … */

struct frame_event {
    uint64_t number;
    uint64_t ticks; /* port_ticks() */
    enum frame_event_kind kind;
    pfn_t first;
    uint32_t count;
    uint16_t cpu;   /* on which it happened */
    uint16_t node;  /* allocations: the node that was asked */
    uint16_t of_cpu;
    uint16_t flags; /* allocations: frame_flags_t */
    bool aligned;   /* allocations: a power of two frames, to be aligned to as many */
};

/* Room for `entries` events of 32 bytes. */
#define FRAME_TRACE_MIN     128u
#define FRAME_TRACE_DEFAULT 4096u
#define FRAME_TRACE_MAX     65536u

/* Begins a trace. With every_call per-CPU caches are emptied and stay off until the trace ends, so that every
 * allocation and every free is an event; without, those that a cache answers leave none.
 * ERR_INVALID: entries is not a power of two in [FRAME_TRACE_MIN, FRAME_TRACE_MAX]. ERR_BUSY: a trace is on.
 * ERR_NO_MEMORY. Context as frame_drain. */
MUST_CHECK status_t frame_trace_start(uint32_t entries, bool every_call);

/* Ends it, forgets its events and gives the ring back; caches are as they were before. Waits for CPUs that are about to
 * record an event: not from an interrupt handler. ERR_NOT_FOUND: no trace is on. */
MUST_CHECK status_t frame_trace_stop(void);

struct frame_trace_state {
    bool on, every_call;
    uint32_t entries;
    uint64_t oldest, next; /* the ring has, or had, events [oldest, next) */
    uint64_t dropped;      /* events for which there was no place: the ring went round while one was recorded */
};

/* What events before `oldest` were is lost. Any context. */
void frame_trace_state(struct frame_trace_state *state);

/* One event. ERR_NOT_FOUND: no trace is on, or the event has been overwritten, was dropped, or is still being
 * recorded. Any context. */
MUST_CHECK status_t frame_trace_read(uint64_t number, struct frame_event *event);

struct frame_trace_dumped {
    uint64_t allocs, frees; /* lines */
    uint64_t lost;          /* events that were overwritten, dropped, or too new */
};

/* Prints allocations and frees as a page trace (docs/traces.md) from its header to its end, one call of `print` a line,
 * each line ended by a newline. An id is the number of the allocation's event; what is freed without having been
 * allocated in the trace has an id of 2^63 + its frame. name: printable, without blanks. Of a free, the events before
 * it are looked through until its allocation is found: at most entries² / 2 steps in all. What is allocated meanwhile
 * is not in it. ERR_NOT_FOUND: no trace of every call is on. */
MUST_CHECK status_t frame_trace_dump(const char *name, void (*print)(const char *format, ...),
                                     struct frame_trace_dumped *dumped);

#endif
