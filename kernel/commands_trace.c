/* SPDX-License-Identifier: MIT
 *
 * The command trace: the frame allocator's events.
 */
#include "commands.h"

#include <arch/hal.h>
#include <kernel/console.h>
#include <kernel/text.h>
#include <mm/frame_trace.h>
#include <string.h>

typedef unsigned long long ull;

#define SHOWN_DEFAULT 20

static bool refused(const char *what, status_t status)
{
    if (status != OK)
        kprintf("  %s: %s\n", what, status_name(status));
    return status == OK;
}

/* trace on [ENTRIES] [slow] */
static bool trace_on(int argc, char **argv)
{
    uint64_t entries = FRAME_TRACE_DEFAULT;
    bool slow = argc > 2 && strcmp(argv[argc - 1], "slow") == 0;
    if (argc - slow > 3 || (argc - slow == 3 && !parse_size(argv[2], &entries)))
        return usage(argv);
    status_t status = entries <= UINT32_MAX ? frame_trace_start((uint32_t)entries, !slow) : ERR_INVALID;
    if (status == ERR_BUSY) {
        kprintf("  a trace is on already\n");
        return false;
    }
    if (status == ERR_INVALID) {
        kprintf("  %llu: not a power of two from %u to %u\n", (ull)entries, FRAME_TRACE_MIN, FRAME_TRACE_MAX);
        return usage(argv);
    }
    return refused("no trace", status);
}

static bool trace_off(void)
{
    status_t status = frame_trace_stop();
    return refused("no trace is on", status);
}

static bool trace_dump(void)
{
    struct frame_trace_dumped dumped;
    if (frame_trace_dump(QUIRE_ISA, kprintf, &dumped) == OK)
        return true;
    kprintf("  no trace of every call is on\n");
    return false;
}

static void print_event(const struct frame_event *event, uint64_t first_ticks, bool json, unsigned index)
{
    kprintf(json ? "%s{\"event\":%llu,\"ns\":%llu,\"cpu\":%u,\"kind\":\"%s\"" : "%s  %8llu %12llu %3u  %-12s",
            json ? separator(index) : "", (ull)event->number, (ull)hal_ticks_to_ns(event->ticks - first_ticks),
            event->cpu, frame_event_name(event->kind));
    bool drain = event->kind == FRAME_EVENT_DRAIN, spill = event->kind == FRAME_EVENT_SPILL;
    if (!drain && !spill && event->kind != FRAME_EVENT_ALLOC_FAILED)
        kprintf(json ? ",\"address\":\"%#llx\"" : " at %#llx,", (ull)paddr_of(event->first).v);
    kprintf(json ? ",\"frames\":%u" : " %u frames", event->count);
    if (drain)
        kprintf(json ? ",\"of_cpu\":%u" : " of CPU %u", event->of_cpu);
    if (event->kind == FRAME_EVENT_ALLOC || event->kind == FRAME_EVENT_ALLOC_FAILED ||
        event->kind == FRAME_EVENT_RESERVE)
        kprintf(json ? ",\"node\":%u,\"flags\":%u" : " for node %u, flags %#x", node_id(event->node), event->flags);
    kprintf(json ? "}" : "\n");
}

/* The last `most` events; their times count from the first of them. */
static void print_events(const struct frame_trace_state *state, uint64_t most, bool json)
{
    uint64_t from = state->next - min_u64(most, state->next - state->oldest), first_ticks = 0;
    unsigned printed = 0;
    for (uint64_t number = from; number < state->next; number++) {
        struct frame_event event;
        if (frame_trace_read(number, &event) != OK)
            continue;
        first_ticks = printed == 0 ? event.ticks : first_ticks;
        print_event(&event, first_ticks, json, printed++);
    }
}

/* trace show [EVENTS] [--json] */
static bool trace_show(int argc, char **argv)
{
    uint64_t most = SHOWN_DEFAULT;
    bool json = argc > 2 && strcmp(argv[argc - 1], "--json") == 0;
    struct frame_trace_state state;
    if (argc - json > 3 || (argc - json == 3 && !parse_size(argv[2], &most)))
        return usage(argv);
    frame_trace_state(&state);
    if (!state.on) {
        kprintf("  no trace is on\n");
        return false;
    }
    kprintf(json ? "{\"trace\":{\"of\":\"%s\",\"entries\":%u,\"events\":%llu,\"overwritten\":%llu,\"dropped\":%llu,"
                   "\"shown\":["
                 : "  of %s; room for %u events; %llu so far, %llu of them overwritten, %llu dropped\n",
            state.every_call ? "every call" : "slow calls", state.entries, (ull)state.next, (ull)state.oldest,
            (ull)state.dropped);
    if (!json)
        kprintf("  %8s %12s %3s  %s\n", "event", "ns", "cpu", "what");
    print_events(&state, most, json);
    kprintf(json ? "]}}\n" : "");
    return true;
}

bool command_trace(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "on") == 0)
        return trace_on(argc, argv);
    if (strcmp(word, "off") == 0 && argc == 2)
        return trace_off();
    if (strcmp(word, "dump") == 0 && argc == 2)
        return trace_dump();
    if (strcmp(word, "show") == 0)
        return trace_show(argc, argv);
    return usage(argv);
}
