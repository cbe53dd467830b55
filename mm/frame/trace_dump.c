/* SPDX-License-Identifier: MIT
 *
 * From events to a page trace, which names allocations by ids. The allocator knows frames only, so for each free its
 * allocation is looked for among the events before it: the latest event that has to do with a frame says whose it is.
 * If that is an allocation, it is this; if a free, the allocation between the two was lost; if there is none, it was
 * made before the trace began.
 */
#include <mm/frame_trace.h>

#define STRANGER_IDS (UINT64_C(1) << 63)

typedef unsigned long long ull;

static bool is_alloc(const struct frame_event *event)
{
    return event->kind == FRAME_EVENT_ALLOC || event->kind == FRAME_EVENT_RESERVE;
}

/* A part of what a free gives back: frames of one allocation. */
struct part {
    uint64_t first, end;
    bool known;
    struct frame_event owner; /* if known */
};

/* The part that begins at part->first: narrows part->end to where another part begins. Bound: the events before the
 * free. */
static void find_owner(uint64_t oldest, uint64_t freed, struct part *part)
{
    struct frame_event event;

    part->known = false;
    for (uint64_t number = freed; number-- > oldest;) {
        if (frame_trace_read(number, &event) != OK || (!is_alloc(&event) && event.kind != FRAME_EVENT_FREE) ||
            event.first.v >= part->end || event.first.v + event.count <= part->first)
            continue;
        if (event.first.v > part->first) {
            part->end = event.first.v;
            continue;
        }
        part->end = min_u64(part->end, event.first.v + event.count);
        part->known = is_alloc(&event);
        part->owner = event;
        return;
    }
}

/* Bound: one round per frame that is given back; as a rule, one. */
static uint64_t print_free(uint64_t oldest, const struct frame_event *event, void (*print)(const char *format, ...))
{
    uint64_t end = event->first.v + event->count, lines = 0;

    for (struct part part = {.first = event->first.v}; part.first < end; part.first = part.end, lines++) {
        part.end = end;
        find_owner(oldest, event->number, &part);
        if (!part.known)
            print("F %llu %u\n", (ull)(STRANGER_IDS + part.first), event->cpu);
        else if (part.end - part.first == part.owner.count)
            print("F %llu %u\n", (ull)part.owner.number, event->cpu);
        else
            print("F %llu %u %llu %llu\n", (ull)part.owner.number, event->cpu,
                  (ull)(part.first - part.owner.first.v), (ull)(part.end - part.first));
    }
    return lines;
}

static unsigned order_of(uint32_t count)
{
    unsigned order = 0;

    while (count >> order > 1) /* at most 20 rounds */
        order++;
    return order;
}

static void print_alloc(const struct frame_event *event, void (*print)(const char *format, ...))
{
    bool by_order = event->aligned || event->count == 1;

    print("%c %llu %u %u %u %u %u\n", by_order ? 'A' : 'R', (ull)event->number,
          by_order ? order_of(event->count) : event->count, event->flags, event->node,
          (event->flags & FRAME_MOVABLE) != 0, event->cpu);
}

status_t frame_trace_dump(const char *name, void (*print)(const char *format, ...),
                          struct frame_trace_dumped *dumped)
{
    struct frame_trace_state state;
    struct frame_event event;

    frame_trace_state(&state);
    if (!state.on || !state.every_call)
        return ERR_NOT_FOUND;
    *dumped = (struct frame_trace_dumped){.lost = state.oldest};
    print("# page-trace-1 %s partial\n", name);
    for (uint64_t number = state.oldest; number < state.next; number++) {
        if (frame_trace_read(number, &event) != OK) {
            dumped->lost++;
        } else if (is_alloc(&event)) {
            print_alloc(&event, print);
            dumped->allocs++;
        } else if (event.kind == FRAME_EVENT_FREE) {
            dumped->frees += print_free(state.oldest, &event, print);
        }
    }
    print("# %llu events lost\n# end\n", (ull)dumped->lost);
    return OK;
}
