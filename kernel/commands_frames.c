/* SPDX-License-Identifier: MIT
 *
 * Commands of the frame allocator: zones, frames, stat, alloc, free.
 */
#include "commands.h"

#include <arch/hal.h>
#include <kernel/address_space.h>
#include <kernel/console.h>
#include <kernel/cpus.h>
#include <kernel/early.h>
#include <kernel/text.h>
#include <mm/frame.h>
#include <mm/frame_reserve.h>
#include <mm/frame_info.h>
#include <mm/frame_metrics.h>
#include <mm/port.h>
#include <string.h>

typedef unsigned long long ull;

/* ---- zones -------------------------------------------------------------------------------------------- */

static void print_zone(unsigned index, bool json)
{
    struct frame_zone_info info;
    struct frame_zone_stats stats;
    struct size_text managed, free, largest;
    frame_zone_info(index, &info);
    frame_zone_stats(index, &stats);
    ull start = paddr_of(info.start).v, end = paddr_of(info.end).v;
    if (json)
        kprintf("%s{\"node\":%u,\"zone\":\"%s\",\"start\":\"0x%llx\",\"end\":\"0x%llx\",\"managed\":%llu,"
                "\"free\":%llu,"
                "\"largest_run\":%llu}",
                separator(index), node_id(info.node), zone_name(info.kind), start, end, (ull)stats.managed,
                (ull)stats.free, (ull)stats.largest_run);
    else
        kprintf("  %4u  %-8s 0x%012llx - 0x%012llx %10s %10s %10s %6llu/%llu\n", node_id(info.node),
                zone_name(info.kind), start, end, size_text(&managed, stats.managed * FRAME_SIZE),
                size_text(&free, stats.free * FRAME_SIZE),
                size_text(&largest, stats.largest_run * FRAME_SIZE), (ull)stats.whole_chunks,
                (ull)stats.chunks);
}

bool command_zones(int argc, char **argv)
{
    bool json;
    if (!only_json(argc, argv, &json))
        return false;
    if (json)
        kprintf("{\"zones\":[");
    else
        kprintf("  %4s  %-8s %-31s %10s %10s %10s %s\n", "node", "zone", "span", "managed", "free", "largest",
                "2M blocks");
    for (unsigned i = 0; i < frame_zone_count(); i++)
        print_zone(i, json);
    if (json)
        kprintf("]}\n");
    return true;
}

/* ---- frames ------------------------------------------------------------------------------------------- */

static void print_totals(const struct frame_totals *totals, bool json)
{
    kprintf(json ? "\"managed\":%llu,\"free\":%llu,\"cached\":%llu,\"used\":%llu" : " %10llu %10llu %7llu %10llu",
            (ull)totals->managed, (ull)totals->free, (ull)totals->cached, (ull)totals->used);
}

static void print_zone_frames(unsigned zone, bool json)
{
    struct frame_zone_info info;
    struct frame_zone_stats stats;
    frame_zone_info(zone, &info);
    frame_zone_stats(zone, &stats);
    if (json)
        kprintf("%s{\"node\":%u,\"zone\":\"%s\",", separator(zone), node_id(info.node), zone_name(info.kind));
    else
        kprintf("  %4u  %-8s", node_id(info.node), zone_name(info.kind));
    print_totals(&(struct frame_totals){.managed = stats.managed, .free = stats.free - stats.cached,
                                        .cached = stats.cached, .used = stats.managed - stats.free}, json);
    kprintf(json ? ",\"free_blocks\":[" : " ");
    for (unsigned order = 0; order < FRAME_ORDERS; order++) {
        if (json)
            kprintf("%s%llu", separator(order), (ull)stats.free_blocks[order]);
        else if (stats.free_blocks[order] > 0)
            kprintf(" %u:%llu", order, (ull)stats.free_blocks[order]);
    }
    kprintf(json ? "]}" : "\n");
}

static void print_node_frames(uint16_t node, bool json)
{
    struct frame_totals totals;
    frame_totals(node, &totals);
    if (json)
        kprintf("%s{\"node\":%u,", separator(node), node_id(node));
    else
        kprintf("  %4u  %-8s", node_id(node), "in all");
    print_totals(&totals, json);
    kprintf(json ? "}" : "\n");
}

bool command_frames(int argc, char **argv)
{
    bool json;
    if (!only_json(argc, argv, &json))
        return false;
    if (json)
        kprintf("{\"zones\":[");
    else
        kprintf("  %4s  %-8s %10s %10s %7s %10s  %s\n", "node", "zone", "managed", "free", "cached", "used",
                "free blocks by order (0 = 4 KiB, 9 = 2 MiB, 18 = 1 GiB)");
    for (unsigned zone = 0; zone < frame_zone_count(); zone++)
        print_zone_frames(zone, json);
    kprintf(json ? "],\"node_frames\":[" : "");
    for (uint16_t node = 0; node < machine.topo.node_count; node++)
        print_node_frames(node, json);
    kprintf(json ? "]}\n" : "");
    return true;
}

/* ---- stat --------------------------------------------------------------------------------------------- */

bool command_stat(int argc, char **argv)
{
    bool json;
    if (!only_json(argc, argv, &json))
        return false;
    uint64_t allocs = 0, frees = 0, failures = 0;
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_zone_stats stats;
        frame_zone_stats(i, &stats);
        allocs += stats.allocs;
        frees += stats.frees;
        failures += stats.failures;
    }
    uint64_t managed = frame_managed(), free = frame_free_count(), reserved = frame_reserved();
    kprintf(json ? "{\"managed\":%llu,\"free\":%llu,\"used\":%llu,\"reserved\":%llu,\"allocs\":%llu,\"frees\":%llu,"
                   "\"failures\":%llu,"
                   "\"metadata_bytes\":%llu,\"descriptor_bytes\":%llu,\"table_bytes\":%llu,\"uptime_ms\":%llu}\n"
                 : "  frames    %llu managed = %llu free + %llu used + %llu reserved\n"
                   "  calls     %llu allocations, %llu frees, %llu failures\n"
                   "  metadata  %llu bytes of allocator, %llu of descriptors, %llu of page tables\n"
                   "  uptime    %llu ms\n",
            (ull)managed, (ull)free, (ull)(managed - free - reserved), (ull)reserved, (ull)allocs, (ull)frees, (ull)failures,
            (ull)frame_metadata_bytes(), (ull)frame_descriptor_bytes(), (ull)vm_table_bytes(),
            (ull)(hal_time_ns() / 1000000));
    return true;
}

/* ---- alloc, free -------------------------------------------------------------------------------------- */

static bool complain(const char *word, const char *value, const char *why)
{
    kprintf("  %s=%s: %s\n", word, value, why);
    return false;
}

static bool set_zone(const char *name, struct frame_request *request)
{
    for (zone_kind_t kind = 0; kind < ZONE_KINDS; kind++) {
        if (strcasecmp(name, zone_name(kind)) == 0) {
            request->zone = kind;
            return true;
        }
    }
    return complain("zone", name, "no such zone (DMA, DMA32, Normal, HighMem, Movable, Device)");
}

static bool set_node(const char *text, uint64_t id, struct frame_request *request)
{
    for (unsigned i = 0; i < machine.topo.node_count; i++) {
        if (machine.topo.node[i].id == id) {
            request->node = (uint16_t)i;
            return true;
        }
    }
    return complain("node", text, "no such node");
}

static bool set_at(const char *text, uint64_t address, struct frame_request *request)
{
    request->at = pfn_of(paddr(address));
    request->flags |= FRAME_AT;
    return is_aligned(address, FRAME_SIZE) || complain("at", text, "not the address of a frame");
}

static bool set_word(char *word, struct frame_request *request)
{
    uint64_t value = 0;
    char *text = strchr(word, '=');
    if (text == NULL) {
        request->flags |= FRAME_ZEROED;
        return strcmp(word, "zeroed") == 0 || complain(word, "", "not known");
    }
    *text++ = '\0';
    if (strcmp(word, "zone") == 0)
        return set_zone(text, request);
    if (!parse_size(text, &value))
        return complain(word, text, "not a number");
    if (strcmp(word, "node") == 0)
        return set_node(text, value, request);
    if (strcmp(word, "at") == 0)
        return set_at(text, value, request);
    if (strcmp(word, "align") == 0)
        request->align = value;
    else if (strcmp(word, "below") == 0)
        request->limit = value;
    else
        return complain(word, text, "not known");
    return value != 0 || complain(word, text, "must be more than 0");
}

bool command_alloc(int argc, char **argv)
{
    struct frame_request request = {.node = FRAME_NODE_ANY, .zone = ZONE_NORMAL};
    if (argc < 2 || !parse_size(argv[1], &request.count))
        return usage(argv);
    for (int i = 2; i < argc; i++)
        if (!set_word(argv[i], &request))
            return usage(argv);
    pfn_t first;
    status_t status = frame_alloc(&request, &first);
    if (status != OK) {
        kprintf("  not allocated: %s\n", status_name(status));
        return false;
    }
    kprintf("  %llu frames at %#llx\n", (ull)request.count, (ull)paddr_of(first).v);
    return true;
}

bool command_free(int argc, char **argv)
{
    uint64_t address, count;
    if (argc != 3 || !parse_size(argv[1], &address) || !parse_size(argv[2], &count) ||
        !is_aligned(address, FRAME_SIZE))
        return usage(argv);
    status_t status = frame_free(pfn_of(paddr(address)), count);
    if (status != OK)
        kprintf("  not freed: %s\n", status_name(status));
    return status == OK;
}
