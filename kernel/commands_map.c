/* SPDX-License-Identifier: MIT
 *
 * Commands that show the machine: map, nodes, cpus, layout, why.
 */
#include "commands.h"

#include <arch/hal.h>
#include <kernel/console.h>
#include <kernel/cpus.h>
#include <kernel/address_space.h>
#include <kernel/early.h>
#include <kernel/text.h>
#include <mm/frame.h>
#include <string.h>

typedef unsigned long long ull;

/* ---- map ---------------------------------------------------------------------------------------------- */

#define BAR_WIDTH 64

static char bar_symbol(const struct mem_region *region)
{
    switch (region->type) {
    case MEM_USABLE: return machine.topo.node_count > 1 ? (char)('0' + node_id(region->node) % 10) : '.';
    case MEM_KERNEL: return 'K';
    case MEM_EARLY: return 'M';
    case MEM_BOOT_RECLAIM:
    case MEM_ACPI_RECLAIM:
    case MEM_MODULE: return 'b';
    case MEM_SPECIFIC: return 'D';
    default: return '#';
    }
}

static bool is_ram(const struct memmap *map, const struct mem_region *region)
{
    for (unsigned i = 0; i < map->claim_count; i++) {
        const struct mem_claim *claim = &map->claim[i];
        if (claim->ram && claim->start.v <= region->start.v && region->start.v < claim->end.v)
            return true;
    }
    return false;
}

static uint64_t ram_size(const struct memmap *map, const struct mem_region *region)
{
    return is_ram(map, region) ? region->end.v - region->start.v : 0;
}

static void draw_region(char *bar, const struct mem_region *region, uint64_t first, uint64_t last)
{
    bool free = region->type == MEM_USABLE;
    for (uint64_t column = first; column <= last && column < BAR_WIDTH; column++)
        if (!free || bar[column] == ' ')
            bar[column] = bar_symbol(region);
}

/* RAM as one line of text, holes left out. Whatever is not free shows, however small. */
static void print_bar(const struct memmap *map)
{
    char bar[BAR_WIDTH];
    uint64_t total = 0, done = 0;
    for (unsigned i = 0; i < map->region_count; i++)
        total += ram_size(map, &map->region[i]);
    memset(bar, ' ', sizeof(bar));
    for (unsigned i = 0; i < map->region_count; i++) {
        uint64_t size = ram_size(map, &map->region[i]);
        if (size > 0)
            draw_region(bar, &map->region[i], done * BAR_WIDTH / total,
                        (done + size - 1) * BAR_WIDTH / total);
        done += size;
    }
    kprintf("  [%.*s]\n   %s  K kernel  M metadata  b boot data  # reserved%s\n", BAR_WIDTH, bar,
            machine.topo.node_count > 1 ? "0-9 free, by node" : ". free",
            memmap_bytes(map, MEM_SPECIFIC, UINT64_MAX) > 0 ? "  D for a device" : "");
}

static bool map_json(const struct memmap *map)
{
    kprintf("{\"regions\":[");
    for (unsigned i = 0; i < map->region_count; i++) {
        const struct mem_region *region = &map->region[i];
        kprintf("%s{\"start\":\"0x%llx\",\"end\":\"0x%llx\",\"type\":\"%s\",\"node\":", separator(i),
                (ull)region->start.v, (ull)region->end.v, mem_type_name(region->type));
        if (is_ram(map, region))
            kprintf("%u}", node_id(region->node));
        else
            kprintf("null}");
    }
    kprintf("],\"usable_bytes\":%llu}\n", (ull)memmap_bytes(map, MEM_USABLE, UINT64_MAX));
    return true;
}

bool command_map(int argc, char **argv)
{
    bool json;
    if (!only_json(argc, argv, &json))
        return false;
    const struct memmap *map = &machine.map;
    if (json)
        return map_json(map);
    struct size_text size;
    print_bar(map);
    kprintf("  %-18s %-18s %10s  %-13s %s\n", "start", "end", "size", "type", "node");
    for (unsigned i = 0; i < map->region_count; i++) {
        const struct mem_region *region = &map->region[i];
        kprintf("  0x%016llx 0x%016llx %10s  %-13s ", (ull)region->start.v, (ull)region->end.v,
                size_text(&size, region->end.v - region->start.v), mem_type_name(region->type));
        if (is_ram(map, region))
            kprintf("%u\n", node_id(region->node));
        else
            kprintf("-\n");
    }
    kprintf("  usable: %s in %llu frames\n", size_text(&size, memmap_bytes(map, MEM_USABLE, UINT64_MAX)),
            (ull)memmap_frames(map, MEM_USABLE));
    return true;
}

/* ---- nodes -------------------------------------------------------------------------------------------- */

static bool nodes_json(const struct topo *topo)
{
    kprintf("{\"nodes\":[");
    for (unsigned i = 0; i < topo->node_count; i++) {
        kprintf("%s{\"id\":%u,\"bytes\":%llu,\"cpus\":%u,\"distances\":[", separator(i), topo->node[i].id,
                (ull)topo->node[i].bytes, topo->node[i].cpu_count);
        for (unsigned j = 0; j < topo->node_count; j++)
            kprintf("%s%u", separator(j), topo->distance[i][j]);
        kprintf("]}");
    }
    kprintf("],\"fallback\":[");
    for (unsigned i = 0; i < topo->node_count; i++) {
        kprintf("%s[", separator(i));
        for (unsigned j = 0; j < topo->node_count; j++)
            kprintf("%s%u", separator(j), topo->node[topo->fallback[i][j]].id);
        kprintf("]");
    }
    kprintf("]}\n");
    return true;
}

bool command_nodes(int argc, char **argv)
{
    bool json;
    if (!only_json(argc, argv, &json))
        return false;
    const struct topo *topo = &machine.topo;
    if (json)
        return nodes_json(topo);
    struct size_text size;
    kprintf("  %4s %10s %5s  %-*s  %s\n", "node", "memory", "cpus", (int)(4 * topo->node_count), "distances",
            "falls back to");
    for (unsigned i = 0; i < topo->node_count; i++) {
        kprintf("  %4u %10s %5u  ", topo->node[i].id, size_text(&size, topo->node[i].bytes),
                topo->node[i].cpu_count);
        for (unsigned j = 0; j < topo->node_count; j++)
            kprintf("%3u ", topo->distance[i][j]);
        kprintf("%*s", topo->node_count < 3 ? (int)(9 - 4 * topo->node_count) + 2 : 2, "");
        for (unsigned j = 1; j < topo->node_count; j++)
            kprintf("%s%u", j == 1 ? "" : " ", topo->node[topo->fallback[i][j]].id);
        kprintf("%s\n", topo->node_count == 1 ? "-" : "");
    }
    return true;
}

/* ---- cpus --------------------------------------------------------------------------------------------- */

bool command_cpus(int argc, char **argv)
{
    bool json;
    if (!only_json(argc, argv, &json))
        return false;
    kprintf(json ? "{\"cpus\":[" : "  cpu   hardware id  node  state\n");
    for (unsigned i = 0; i < cpu_count(); i++) {
        const struct percpu *cpu = cpu_get(i);
        bool online = atomic_load(&cpu->online) != 0;
        if (json)
            kprintf("%s{\"cpu\":%u,\"id\":\"0x%llx\",\"node\":%u,\"online\":%s}", separator(i), i,
                    (ull)cpu->hw_id, node_id((uint16_t)cpu->node), online ? "true" : "false");
        else
            kprintf("  %3u %#13llx  %4u  %s%s\n", i, (ull)cpu->hw_id, node_id((uint16_t)cpu->node),
                    online ? "running" : "not running", i == 0 ? ", booted" : "");
    }
    if (json)
        kprintf("]}\n");
    return true;
}

/* ---- layout ------------------------------------------------------------------------------------------- */

bool command_layout(int argc, char **argv)
{
    bool json;
    if (!only_json(argc, argv, &json))
        return false;
    struct size_text size;
    uint64_t leaves;
    uint64_t bad = vm_count_wx(&leaves);
    kprintf(json ? "{\"paging\":\"%s\",\"rows\":[" : "  paging %s\n", hal_mmu_mode_name(kernel_pt.levels));
    unsigned i = 0;
    for (const struct layout_row *row = layout_rows(kernel_pt.levels); row->name != NULL; row++, i++) {
        ull last = row->start + (row->size - 1);
        if (json)
            kprintf("%s{\"name\":\"%s\",\"start\":\"0x%llx\",\"last\":\"0x%llx\"}", separator(i), row->name,
                    (ull)row->start, last);
        else
            kprintf("  0x%016llx - 0x%016llx %10s  %s\n", (ull)row->start, last, size_text(&size, row->size),
                    row->name);
    }
    kprintf(json ? "],\"leaves\":%llu,\"writable_and_executable\":%llu,\"table_bytes\":%llu}\n"
                 : "  %llu leaves, %llu of them writable and executable; %llu bytes of tables\n",
            (ull)leaves, (ull)bad, (ull)vm_table_bytes());
    return true;
}

/* ---- why ---------------------------------------------------------------------------------------------- */

static void why_owner(paddr_t address)
{
    unsigned zone;
    frame_state_t state = frame_query(pfn_of(address), &zone);
    if (state == FRAME_UNMANAGED) {
        kprintf("  owner: not the frame allocator's\n");
        return;
    }
    struct frame_zone_info info;
    frame_zone_info(zone, &info);
    const char *text = state == FRAME_FREE ? "free" : state == FRAME_RESERVED ? "in an emergency reserve" : "allocated";
    kprintf("  owner: frame allocator, node %u, zone %s; frame %#llx is %s\n", node_id(info.node),
            zone_name(info.kind), (ull)pfn_of(address).v, text);
}

bool command_why(int argc, char **argv)
{
    uint64_t value;
    if (argc != 2 || !parse_size(argv[1], &value))
        return usage(argv);
    const struct memmap *map = &machine.map;
    paddr_t address = paddr(value);
    unsigned claims = 0;
    for (unsigned i = 0; i < map->claim_count; i++) {
        const struct mem_claim *claim = &map->claim[i];
        if (value < claim->start.v || value >= claim->end.v)
            continue;
        claims++;
        kprintf("  %s (%#x): [0x%llx, 0x%llx) is %s\n", mem_source_name(claim->source), claim->detail,
                (ull)claim->start.v, (ull)claim->end.v, mem_type_name(claim->type));
    }
    if (claims == 0)
        kprintf("  no source names 0x%llx\n", (ull)value);
    const struct mem_region *region = memmap_find(map, address);
    if (region != NULL)
        kprintf("  so it is %s: region [0x%llx, 0x%llx)\n", mem_type_name(region->type), (ull)region->start.v,
                (ull)region->end.v);
    why_owner(address);
    return true;
}
