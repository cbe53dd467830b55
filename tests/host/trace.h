/* SPDX-License-Identifier: MIT
 *
 * Reads page traces (docs/traces.md): what a machine asked of its frame allocator, in order.
 */
#ifndef TRACE_H
#define TRACE_H

#include <stdio.h>

#include <mm/types.h>

enum trace_kind { TRACE_ALLOC, TRACE_FREE };

struct trace_event {
    uint32_t line;
    uint32_t run;    /* allocations are numbered from 0 */
    uint32_t offset; /* TRACE_FREE of a part: where it begins in the run */
    uint32_t count;  /* frames; TRACE_FREE: 0 means all that is left of the run */
    uint16_t node, cpu;
    uint8_t kind; /* enum trace_kind */
    bool movable; /* TRACE_ALLOC: type 1 */
    bool aligned; /* TRACE_ALLOC: the first frame is a multiple of count, a power of two */
};

struct trace {
    struct trace_event *event;
    uint64_t events, allocs, frees;
    uint64_t strangers; /* frees of what was allocated before a partial trace began; no events */
    uint64_t live_pages, peak_pages, live_runs; /* live ones: at the end */
    unsigned nodes, cpus;                       /* the highest that is named, and one */
};

struct trace_error {
    char text[160];
};

/* Reads a trace up to its end. False: error says what is wrong in which line. O(events). */
bool trace_read(FILE *file, struct trace *trace, struct trace_error *error);
void trace_drop(struct trace *trace);

#endif
