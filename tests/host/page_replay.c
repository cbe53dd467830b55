/* SPDX-License-Identifier: MIT
 *
 * page-replay MIB: replays the page trace on standard input on a simulated machine of so many MiB (0: what the
 * trace needs, and a quarter), and prints what became of memory as JSON. `quire replay` is its face.
 *
 * A shadow map says for every frame which allocation holds it, so a frame handed out twice is seen at once. Ends
 * with 0; with 1 and a line on standard error if the trace is malformed or the allocator went wrong.
 */
#include <inttypes.h>
#include <stdlib.h>

#include <mm/port.h>

#include "host.h"
#include "layout.h"
#include "trace.h"

#define BASE_FRAME (GIB(4) / FRAME_SIZE)
#define HUGE_FRAMES 512u
#define MEMORY_MAX TIB(1)
#define SAMPLES 24u
#define NOT_SERVED UINT64_MAX

struct held {
    uint64_t first; /* NOT_SERVED */
    uint32_t count;
};

static struct trace trace;
static struct held *held; /* by run */
static uint32_t *owner;   /* by frame from BASE_FRAME on: run + 1, or 0 */
static uint64_t frames;   /* of the machine */
static uint64_t served, not_served;

#define AT_THE_END 0 /* in place of a line */

_Noreturn static void wrong(uint32_t line, const char *what)
{
    if (line != AT_THE_END)
        fprintf(stderr, "line %u: %s\n", line, what);
    else
        fprintf(stderr, "at the end: %s\n", what);
    exit(EXIT_FAILURE);
}

/* ---- The machine --------------------------------------------------------------------------------------- */

/* Equal nodes, each of whole 2 MiB. */
static void start_machine(uint64_t memory)
{
    static const struct zone_limits limits = {.direct_end = UINT64_MAX};
    unsigned nodes = trace.nodes > 0 ? trace.nodes : 1;
    uint64_t size;

    if (memory == 0)
        memory = (trace.peak_pages + trace.peak_pages / 4) * FRAME_SIZE;
    size = max_u64(align_up(memory / nodes, MIB(2)), MIB(2));
    frames = size / FRAME_SIZE * nodes;
    layout_begin(nodes);
    layout_cpus(trace.cpus);
    for (unsigned node = 0; node < nodes; node++)
        layout_ram(node, BASE_FRAME * FRAME_SIZE + node * size, BASE_FRAME * FRAME_SIZE + (node + 1) * size);
    if (layout_start(&limits) != OK)
        port_panic("the machine does not start");
    held = calloc(trace.allocs + 1, sizeof(*held));
    owner = calloc(frames, sizeof(*owner));
    if (held == NULL || owner == NULL)
        port_panic("no memory for the shadow map");
}

/* A CPU is on the node that it first asks for. */
static void place_cpus(void)
{
    bool placed[TOPO_MAX_CPUS] = {false};

    for (uint64_t i = 0; i < trace.events; i++) {
        const struct trace_event *event = &trace.event[i];

        if (event->kind == TRACE_ALLOC && !placed[event->cpu])
            frame_cpu_node(event->cpu, event->node);
        placed[event->cpu] = placed[event->cpu] || event->kind == TRACE_ALLOC;
    }
}

/* ---- Events -------------------------------------------------------------------------------------------- */

static void replay_alloc(const struct trace_event *event)
{
    struct frame_request request = {.count = event->count,
                                    .align = event->aligned ? event->count : 0,
                                    .node = event->node,
                                    .zone = ZONE_NORMAL,
                                    .flags = event->movable ? FRAME_MOVABLE : 0};
    struct held *run = &held[event->run];
    pfn_t first;
    status_t status = frame_alloc(&request, &first);

    *run = (struct held){NOT_SERVED, event->count};
    not_served += status == ERR_NO_MEMORY;
    if (status == ERR_NO_MEMORY)
        return;
    if (status != OK)
        wrong(event->line, status_name(status));
    if (first.v < BASE_FRAME || first.v - BASE_FRAME > frames - event->count)
        wrong(event->line, "the allocator handed out frames that are not there");
    if (event->aligned && !is_aligned(first.v, event->count))
        wrong(event->line, "the allocator handed out a block that is not aligned");
    for (uint64_t i = first.v - BASE_FRAME; i < first.v - BASE_FRAME + event->count; i++) {
        if (owner[i] != 0)
            wrong(event->line, "the allocator handed out a frame twice");
        owner[i] = event->run + 1;
    }
    run->first = first.v;
    served += event->count;
}

/* Frees the frames of [at, end) that the run still has, in as few pieces as there are. */
static void give_back(uint32_t line, uint32_t run, uint64_t at, uint64_t end)
{
    while (at < end) {
        uint64_t count = 0;

        for (; at + count < end && owner[at + count - BASE_FRAME] == run + 1; count++)
            owner[at + count - BASE_FRAME] = 0;
        if (count > 0 && frame_free(pfn(at), count) != OK)
            wrong(line, "the allocator refused to take back what it had handed out");
        served -= count;
        at += count + 1;
    }
}

static void replay_free(const struct trace_event *event)
{
    const struct held *run = &held[event->run];
    uint64_t first = run->first + event->offset;
    uint64_t end = first + (event->count != 0 ? event->count : run->count);

    if (run->first == NOT_SERVED)
        return;
    for (uint64_t at = first; at < end && event->count != 0; at++) {
        if (owner[at - BASE_FRAME] != event->run + 1)
            wrong(event->line, "a part of this was freed before");
    }
    give_back(event->line, event->run, first, end);
}

/* ---- What became of memory ----------------------------------------------------------------------------- */

/* One line of the table; permille of the free memory that lies in blocks too small for an order. */
static void print_sample(uint64_t events)
{
    uint64_t blocks[FRAME_ORDERS] = {0}, free = 0, whole = 0, usable = 0;
    unsigned permille[FRAME_ORDERS];

    for (unsigned zone = 0; zone < frame_zone_count(); zone++) {
        struct frame_zone_stats stats;

        frame_zone_stats(zone, &stats);
        free += stats.free;
        whole += stats.whole_chunks;
        for (unsigned order = 0; order < FRAME_ORDERS; order++)
            blocks[order] += stats.free_blocks[order];
    }
    for (unsigned order = FRAME_ORDERS; order-- > 0;) {
        usable += blocks[order] << order;
        permille[order] = free == 0 ? 0 : (unsigned)((free - min_u64(usable, free)) * 1000 / free);
    }
    printf("  {\"events\": %" PRIu64 ", \"used_pages\": %" PRIu64 ", \"free_pages\": %" PRIu64
           ", \"whole_blocks\": %" PRIu64 ", \"possible_blocks\": %" PRIu64 ", \"unusable_permille\": [",
           events, served, free, whole, free / HUGE_FRAMES);
    for (unsigned order = 0; order < FRAME_ORDERS; order++)
        printf("%s%u", order == 0 ? "" : ", ", permille[order]);
    printf("]}");
}

static void replay(void)
{
    printf(" \"samples\": [\n");
    for (uint64_t i = 0, sample = 1; i < trace.events; i++) {
        const struct trace_event *event = &trace.event[i];

        host_set_cpu(event->cpu);
        if (event->kind == TRACE_ALLOC)
            replay_alloc(event);
        else
            replay_free(event);
        if (i + 1 < sample * trace.events / SAMPLES)
            continue;
        print_sample(i + 1);
        printf(i + 1 < trace.events ? ",\n" : "\n");
        while (sample * trace.events / SAMPLES <= i + 1 && sample <= SAMPLES)
            sample++;
    }
    printf(" ],\n");
}

/* Frees all that is left and takes all memory as 2 MiB blocks, which has to work. Returns their number. */
static uint64_t claim_blocks(void)
{
    struct frame_request request = {
        .count = HUGE_FRAMES, .align = HUGE_FRAMES, .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL};
    uint64_t blocks = 0;
    pfn_t first;

    host_set_cpu(0);
    for (uint32_t run = 0; run < trace.allocs; run++) {
        if (held[run].first != NOT_SERVED)
            give_back(AT_THE_END, run, held[run].first, held[run].first + held[run].count);
    }
    frame_drain();
    if (host_reports != 0)
        wrong(AT_THE_END, "a wrong free was reported that was none");
    if (frame_free_count() != frames)
        wrong(AT_THE_END, "not all frames are free after all were freed");
    if (frame_check() != NULL)
        wrong(AT_THE_END, frame_check());
    while (blocks < frames / HUGE_FRAMES && frame_alloc(&request, &first) == OK)
        blocks++;
    if (blocks != frames / HUGE_FRAMES)
        wrong(AT_THE_END, "some 2 MiB blocks did not come together again after all was freed");
    return blocks;
}

int main(int argc, char **argv)
{
    uint64_t mib = argc == 2 ? strtoull(argv[1], NULL, 10) : UINT64_MAX;
    struct trace_error error;

    if (mib > MEMORY_MAX / MIB(1)) {
        fprintf(stderr, "usage: page-replay MIB <TRACE; MIB is at most %" PRIu64 "\n", MEMORY_MAX / MIB(1));
        return 2;
    }
    if (!trace_read(stdin, &trace, &error)) {
        fprintf(stderr, "%s\n", error.text);
        return EXIT_FAILURE;
    }
    start_machine(mib * MIB(1));
    place_cpus();
    printf("{\"memory_bytes\": %" PRIu64 ", \"nodes\": %u, \"cpus\": %u,\n", frames * FRAME_SIZE,
           frame_topo()->node_count, trace.cpus);
    printf(" \"events\": %" PRIu64 ", \"allocs\": %" PRIu64 ", \"frees\": %" PRIu64
           ", \"strangers\": %" PRIu64 ",\n",
           trace.events, trace.allocs, trace.frees, trace.strangers);
    printf(" \"peak_live_pages\": %" PRIu64 ", \"live_at_end_blocks\": %" PRIu64
           ", \"live_at_end_pages\": %" PRIu64 ",\n",
           trace.peak_pages, trace.live_runs, trace.live_pages);
    replay();
    printf(" \"not_served\": %" PRIu64 ",\n", not_served);
    printf(" \"blocks_after_all_freed\": %" PRIu64 "\n}\n", claim_blocks());
    free(held);
    free(owner);
    trace_drop(&trace);
    layout_end();
    return EXIT_SUCCESS;
}
