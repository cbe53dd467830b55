/* SPDX-License-Identifier: MIT
 *
 * Commands that show what the frame allocator says about itself: frag, caches, latency.
 */
#include "commands.h"

#include <arch/hal.h>
#include <kernel/console.h>
#include <kernel/percpu.h>
#include <kernel/text.h>
#include <mm/frame_metrics.h>
#include <string.h>

typedef unsigned long long ull;

/* ---- frag --------------------------------------------------------------------------------------------- */

/* What a table is about: one zone, the zones of a node, or all. */
struct scope {
    bool one_zone;
    unsigned zone;
    uint16_t node; /* FRAME_NODE_ANY: all */
};

static bool in_scope(const struct scope *scope, unsigned zone)
{
    struct frame_zone_info info;
    frame_zone_info(zone, &info);
    return scope->one_zone ? zone == scope->zone : scope->node == FRAME_NODE_ANY || scope->node == info.node;
}

static void print_scope(const struct scope *scope, bool json)
{
    struct frame_zone_info info;
    if (scope->one_zone) {
        frame_zone_info(scope->zone, &info);
        kprintf(json ? "\"node\":%u,\"zone\":\"%s\"," : "  node %u, %s: ", node_id(info.node),
                zone_name(info.kind));
    } else if (scope->node != FRAME_NODE_ANY) {
        kprintf(json ? "\"node\":%u," : "  node %u: ", node_id(scope->node));
    } else if (!json) {
        kprintf("  all zones: ");
    }
}

static void print_orders_json(const struct frame_metrics *metrics)
{
    kprintf("\"blocks\":[");
    for (unsigned order = 0; order < FRAME_ORDERS; order++)
        kprintf("%s%llu", separator(order), (ull)metrics->blocks[order]);
    kprintf("],\"unusable_permille\":[");
    for (unsigned order = 0; order < FRAME_ORDERS; order++)
        kprintf("%s%u", separator(order), metrics->unusable[order]);
    kprintf("]}");
}

static void print_orders(const struct frame_metrics *metrics)
{
    kprintf("  %5s %8s %11s  %s\n", "order", "size", "free blocks", "permille of free memory in smaller blocks");
    for (unsigned order = 0; order < FRAME_ORDERS; order++) {
        struct size_text size;
        kprintf("  %5u %8s %11llu  %4u\n", order, size_text(&size, FRAME_SIZE << order),
                (ull)metrics->blocks[order], metrics->unusable[order]);
    }
}

static void print_fragmentation(const struct scope *scope, bool json)
{
    struct frame_metrics metrics;
    if (scope->one_zone)
        frame_zone_metrics(scope->zone, &metrics);
    else
        frame_node_metrics(scope->node, &metrics);
    kprintf(json ? "{" : "");
    print_scope(scope, json);
    kprintf(json ? "\"free\":%llu,\"cached\":%llu,\"runs\":%llu,\"largest_run\":%llu,\"mean_run_thousandths\":%llu,"
                 : "%llu frames free, %llu more in caches; %llu runs, the largest of %llu frames, %llu.%03llu on "
                   "average\n",
            (ull)metrics.free, (ull)metrics.cached, (ull)metrics.runs, (ull)metrics.largest_run,
            (ull)(json ? metrics.mean_run : metrics.mean_run / 1000), (ull)(metrics.mean_run % 1000));
    if (json)
        print_orders_json(&metrics);
    else
        print_orders(&metrics);
}

#define PICTURE_WIDTH 64
#define PICTURE_LINES 16

/* One character for the chunks that begin in [first, end): how much of them is in use. */
static char cell(unsigned zone, uint64_t first, uint64_t end)
{
    uint64_t frames = 0, free = 0;
    for (uint64_t frame = first; frame < end; frame += CHUNK_FRAMES) {
        uint32_t found = frame_chunk_free(zone, pfn(frame));
        frames += found != FRAME_NO_CHUNK ? CHUNK_FRAMES : 0;
        free += found != FRAME_NO_CHUNK ? found : 0;
    }
    if (frames == 0)
        return ' ';
    if (free == 0)
        return '#';
    if (free == frames)
        return '.';
    return (char)('1' + (frames - free) * 9 / frames);
}

/* Lines of PICTURE_WIDTH characters, each of which stands for a power of two of chunks; so many that at most
 * PICTURE_LINES + 1 lines do, the first of which may begin before the zone. Bound: the chunks of these lines. */
static void print_picture(unsigned zone)
{
    struct frame_zone_info info;
    struct size_text size;
    char line[PICTURE_WIDTH + 1];
    frame_zone_info(zone, &info);
    uint64_t step = CHUNK_FRAMES;
    while ((info.end.v - align_down(info.start.v, step)) / step >= PICTURE_LINES * PICTURE_WIDTH)
        step *= 2;
    kprintf("  node %u, %s, %s a character: . free, 1 to 9 more and more in use, # nothing free\n",
            node_id(info.node), zone_name(info.kind), size_text(&size, step * FRAME_SIZE));
    for (uint64_t at = align_down(info.start.v, PICTURE_WIDTH * step); at < info.end.v; at += PICTURE_WIDTH * step) {
        unsigned length = 0;
        for (; length < PICTURE_WIDTH && at + length * step < info.end.v; length++)
            line[length] = cell(zone, at + length * step, at + (length + 1) * step);
        line[length] = '\0';
        kprintf("  0x%012llx %s\n", (ull)paddr_of(pfn(at)).v, line);
    }
}

static bool same_zone_name(unsigned zone, const char *name)
{
    struct frame_zone_info info;
    frame_zone_info(zone, &info);
    return strcasecmp(zone_name(info.kind), name) == 0;
}

static void print_scopes(const struct scope *scope, unsigned *printed, bool json)
{
    if (json)
        kprintf("%s", separator(*printed));
    print_fragmentation(scope, json);
    for (unsigned zone = 0; zone < frame_zone_count() && !json; zone++)
        if (in_scope(scope, zone))
            print_picture(zone);
    (*printed)++;
}

/* The zones that are meant, one table each for zones by name, else one in all. */
static bool find_scope(const char *word, struct scope *scope)
{
    uint64_t id;
    *scope = (struct scope){.node = FRAME_NODE_ANY};
    if (word == NULL)
        return true;
    if (strncmp(word, "node=", 5) == 0 && parse_size(word + 5, &id)) {
        for (uint16_t i = 0; i < machine.topo.node_count; i++)
            if (machine.topo.node[i].id == id)
                scope->node = i;
        return scope->node != FRAME_NODE_ANY;
    }
    for (unsigned zone = 0; zone < frame_zone_count(); zone++)
        scope->one_zone = scope->one_zone || same_zone_name(zone, word);
    return scope->one_zone;
}

bool command_frag(int argc, char **argv)
{
    bool json = argc > 1 && strcmp(argv[argc - 1], "--json") == 0;
    const char *word = argc - json > 1 ? argv[1] : NULL;
    struct scope scope;
    unsigned printed = 0;
    if (argc - json > 2)
        return usage(argv);
    if (!find_scope(word, &scope)) {
        kprintf("  %s: no such zone or node here\n", word);
        return usage(argv);
    }
    if (json)
        kprintf("{\"frag\":[");
    if (!scope.one_zone)
        print_scopes(&scope, &printed, json);
    for (scope.zone = 0; scope.one_zone && scope.zone < frame_zone_count(); scope.zone++)
        if (same_zone_name(scope.zone, word))
            print_scopes(&scope, &printed, json);
    if (json)
        kprintf("]}\n");
    return true;
}

/* ---- caches ------------------------------------------------------------------------------------------- */

static void print_cache(unsigned cpu, bool json)
{
    struct frame_cpu_stats stats;
    struct frame_zone_info info;
    frame_cpu_stats(cpu, &stats);
    frame_zone_info(stats.zone, &info);
    kprintf(json ? "%s{\"cpu\":%u,\"node\":%u,\"zone\":\"%s\",\"state\":\"%s\",\"allocs\":%llu,\"frees\":%llu,"
                 : "%s  %3u %4u %-8s %-6s %9llu %9llu",
            json ? separator(cpu) : "", cpu, node_id(info.node), zone_name(info.kind),
            !stats.has_cache ? "off" : stats.in_use ? "in use" : "empty", (ull)stats.allocs, (ull)stats.frees);
    kprintf(json ? "\"refills\":%llu,\"filled\":%llu,\"spills\":%llu,\"spilled\":%llu,\"drains\":%llu,"
                 : " %8llu %9llu %8llu %9llu %6llu",
            (ull)stats.refills, (ull)stats.filled, (ull)stats.spills, (ull)stats.spilled, (ull)stats.drains);
    kprintf(json ? "\"cached\":{\"fixed\":%llu,\"mobile\":%llu,\"out\":%llu,\"chunks\":%llu},"
                   "\"direct_allocs\":%llu,\"direct_frees\":%llu}"
                 : " %5llu %6llu %3llu %6llu %9llu %9llu\n",
            (ull)stats.cached[FRAME_CACHE_FIXED], (ull)stats.cached[FRAME_CACHE_MOBILE],
            (ull)stats.cached[FRAME_CACHE_OUT], (ull)stats.chunks, (ull)stats.direct_allocs,
            (ull)stats.direct_frees);
}

bool command_caches(int argc, char **argv)
{
    bool json;
    if (!only_json(argc, argv, &json))
        return false;
    if (json)
        kprintf("{\"caches\":[");
    else
        kprintf("  %-24s %19s %45s %23s %19s\n"
                "  %3s %4s %-8s %-6s %9s %9s %8s %9s %8s %9s %6s %5s %6s %3s %6s %9s %9s\n",
                "", "through the cache", "between it and its zone", "there now", "past it", "cpu", "node", "zone",
                "state", "allocs", "frees", "refills", "frames", "spills", "frames", "drains", "fixed", "mobile", "out",
                "chunks", "allocs", "frees");
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
        print_cache(cpu, json);
    if (json)
        kprintf("]}\n");
    return true;
}

/* ---- latency ------------------------------------------------------------------------------------------ */

static struct frame_latency latency_of_all(enum frame_path path)
{
    struct frame_latency sum = {.calls = 0};
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++) {
        struct frame_latency one;
        frame_cpu_latency(cpu, path, &one);
        sum.calls += one.calls;
        sum.ticks += one.ticks;
        sum.longest = max_u64(sum.longest, one.longest);
        for (unsigned i = 0; i < FRAME_LATENCY_BUCKETS; i++)
            sum.bucket[i] += one.bucket[i];
    }
    return sum;
}

/* Durations that bucket i counts are shorter; the last one's have no limit. */
static uint64_t bucket_end_ns(unsigned i)
{
    return max_u64(hal_ticks_to_ns(UINT64_C(1) << i), 1);
}

static uint64_t mean_ns(const struct frame_latency *latency)
{
    return latency->calls > 0 ? hal_ticks_to_ns(latency->ticks) / latency->calls : 0;
}

static void print_latency_json(const struct frame_latency latency[FRAME_PATHS])
{
    kprintf("{\"latency\":{\"measured\":%s,\"below_ns\":[", frame_latency_measured() ? "true" : "false");
    for (unsigned i = 0; i + 1 < FRAME_LATENCY_BUCKETS; i++)
        kprintf("%s%llu", separator(i), (ull)bucket_end_ns(i));
    kprintf("],\"paths\":[");
    for (unsigned path = 0; path < FRAME_PATHS; path++) {
        kprintf("%s{\"path\":\"%s\",\"calls\":%llu,\"mean_ns\":%llu,\"longest_ns\":%llu,\"buckets\":[",
                separator(path), frame_path_name((enum frame_path)path), (ull)latency[path].calls,
                (ull)mean_ns(&latency[path]), (ull)hal_ticks_to_ns(latency[path].longest));
        for (unsigned i = 0; i < FRAME_LATENCY_BUCKETS; i++)
            kprintf("%s%llu", separator(i), (ull)latency[path].bucket[i]);
        kprintf("]}");
    }
    kprintf("]}}\n");
}

static void print_latency_line(const char *what, const uint64_t value[FRAME_PATHS])
{
    kprintf("  %17s", what);
    for (unsigned path = 0; path < FRAME_PATHS; path++)
        kprintf(" %12llu", (ull)value[path]);
    kprintf("\n");
}

/* The buckets between the first and the last that counted something. */
static void print_buckets(const struct frame_latency latency[FRAME_PATHS])
{
    unsigned first = FRAME_LATENCY_BUCKETS, last = 0;
    for (unsigned i = 0; i < FRAME_LATENCY_BUCKETS; i++) {
        for (unsigned path = 0; path < FRAME_PATHS; path++) {
            if (latency[path].bucket[i] > 0) {
                first = i < first ? i : first;
                last = i;
            }
        }
    }
    for (unsigned i = first; i <= last; i++) {
        bool open = i + 1 == FRAME_LATENCY_BUCKETS;
        kprintf("  %s %9llu ns", open ? "from " : "below", (ull)bucket_end_ns(open ? i - 1 : i));
        for (unsigned path = 0; path < FRAME_PATHS; path++)
            kprintf(" %12llu", (ull)latency[path].bucket[i]);
        kprintf("\n");
    }
}

static bool measure(bool on)
{
    status_t status = frame_latency_measure(on);
    if (status != OK)
        kprintf("  not measured: %s\n", status_name(status));
    return status == OK;
}

bool command_latency(int argc, char **argv)
{
    struct frame_latency latency[FRAME_PATHS];
    uint64_t calls[FRAME_PATHS], mean[FRAME_PATHS], longest[FRAME_PATHS];
    bool on = argc == 2 && strcmp(argv[1], "on") == 0, off = argc == 2 && strcmp(argv[1], "off") == 0, json;
    if (on || off)
        return measure(on);
    if (!only_json(argc, argv, &json))
        return false;
    for (unsigned path = 0; path < FRAME_PATHS; path++) {
        latency[path] = latency_of_all((enum frame_path)path);
        calls[path] = latency[path].calls;
        mean[path] = mean_ns(&latency[path]);
        longest[path] = hal_ticks_to_ns(latency[path].longest);
    }
    if (json) {
        print_latency_json(latency);
        return true;
    }
    kprintf("  calls on slow paths, all CPUs; %s\n  %17s",
            frame_latency_measured() ? "a hit in a cache is not measured" : "not measured now", "");
    for (unsigned path = 0; path < FRAME_PATHS; path++)
        kprintf(" %12s", frame_path_name((enum frame_path)path));
    kprintf("\n");
    print_buckets(latency);
    print_latency_line("calls", calls);
    print_latency_line("mean, ns", mean);
    print_latency_line("longest, ns", longest);
    return true;
}
