/* SPDX-License-Identifier: MIT
 *
 * The same for people, in at most 100 columns: the map as a bar and a table, nodes, zones, what was dropped.
 *
 * The bar leaves out what is not memory (holes, device windows), so a few MiB at the bottom of a large
 * machine still show: each column stands for an equal share of memory and shows the weightiest thing in it.
 */
#include "inspect.h"

#include <kernel/text.h>
#include <stdio.h>
#include <string.h>

typedef unsigned long long ull;

#define BAR_WIDTH 92

static const char *size(struct size_text *buffer, uint64_t bytes)
{
    return size_text(buffer, bytes);
}

/* ---- The map ------------------------------------------------------------------------------------------ */

static const struct {
    char symbol;
    const char *meaning;
} symbols[] = {{'.', "free"},     {'b', "free once boot is over"},
               {'#', "reserved"}, {'F', "firmware"},
               {'x', "bad"},      {'P', "persistent"},
               {'D', "for a device"}};

/* Index into symbols, heavier is higher; < 0: not memory. */
static int symbol_of(mem_type_t type)
{
    switch (type) {
    case MEM_USABLE:
        return 0;
    case MEM_BOOT_RECLAIM:
    case MEM_ACPI_RECLAIM:
        return 1;
    case MEM_FIRMWARE:
    case MEM_ACPI_NVS:
        return 3;
    case MEM_BAD:
        return 4;
    case MEM_PERSISTENT:
        return 5;
    case MEM_SPECIFIC:
        return 6;
    case MEM_NONE:
    case MEM_MMIO:
        return -1;
    default:
        return 2;
    }
}

/* Bytes to draw. Reserved ranges that no RAM claim meets are address space, not memory. */
static uint64_t weight(const struct memmap *map, const struct mem_region *region)
{
    uint64_t start, end = region->start.v, sum = 0;
    if (symbol_of(region->type) < 0)
        return 0;
    if (region->type != MEM_RESERVED && region->type != MEM_NOMAP)
        return region->end.v - region->start.v;
    while (memmap_ram_next(map, end, &start, &end) && start < region->end.v)
        sum += min_u64(end, region->end.v) - start;
    return sum;
}

static void draw(const struct memmap *map, uint64_t total)
{
    int bar[BAR_WIDTH];
    unsigned used = 0;
    uint64_t done = 0;
    for (unsigned i = 0; i < BAR_WIDTH; i++)
        bar[i] = 0;
    for (uint32_t i = 0; i < map->region_count; i++) {
        uint64_t bytes = weight(map, &map->region[i]);
        int symbol = symbol_of(map->region[i].type);
        if (bytes == 0)
            continue;
        /* In units of 1/BAR_WIDTH of the total; 128 bits, because machines have terabytes. */
        unsigned first = (unsigned)((unsigned __int128)done * BAR_WIDTH / total);
        unsigned last = (unsigned)((unsigned __int128)(done + bytes - 1) * BAR_WIDTH / total);
        for (unsigned column = first; column <= last; column++)
            if (symbol > bar[column])
                bar[column] = symbol;
        used |= 1u << symbol;
        done += bytes;
    }
    printf("  [");
    for (unsigned i = 0; i < BAR_WIDTH; i++)
        putchar(symbols[bar[i]].symbol);
    printf("]\n  ");
    for (unsigned i = 0; i < ARRAY_LEN(symbols); i++)
        if ((used >> i & 1) != 0)
            printf("  %c %s", symbols[i].symbol, symbols[i].meaning);
    putchar('\n');
}

static void print_bar(const struct memmap *map)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < map->region_count; i++)
        total += weight(map, &map->region[i]);
    if (total > 0)
        draw(map, total);
}

/* Who gave a region its type: the first claim of that type that meets it. */
static void print_reason(const struct subject *subject, const struct mem_region *region)
{
    const struct memmap *map = &subject->machine.map;
    for (uint32_t i = 0; i < map->claim_count; i++) {
        const struct mem_claim *claim = &map->claim[i];
        if (claim->type != region->type || claim->end.v <= region->start.v || claim->start.v >= region->end.v)
            continue;
        const char *name = claim_name(subject, claim);
        if (name != NULL)
            printf("fdt %.25s", name);
        else
            printf("%s entry %u", mem_source_name(claim->source), claim->detail);
        return;
    }
}

static void print_map(const struct subject *subject)
{
    const struct machine *machine = &subject->machine;
    struct size_text text;
    if (machine->map.region_count == 0)
        return;
    printf("\n  %-18s %-18s %10s  %-10s  %4s  %s\n", "start", "end", "size", "type", "node", "said by");
    for (uint32_t i = 0; i < machine->map.region_count; i++) {
        const struct mem_region *region = &machine->map.region[i];
        printf("  0x%016llx 0x%016llx %10s  %-10s  %4u  ", (ull)region->start.v, (ull)region->end.v,
               size(&text, region->end.v - region->start.v), mem_type_name(region->type),
               machine->topo.node[region->node].id);
        print_reason(subject, region);
        putchar('\n');
    }
}

/* Reservations that leave the place to the kernel. */
static void print_dynamic(const struct machine *machine)
{
    struct size_text bytes, align;
    if (machine->dynamic_count > 0)
        printf("\n  %-28s %9s %9s  %-37s\n", "wanted, not taken away yet", "size", "aligned", "within");
    for (uint32_t i = 0; i < machine->dynamic_count; i++) {
        const struct dynamic_reservation *wish = &machine->dynamic[i];
        printf("  %-28.28s %9s %9s  ", wish->name, size(&bytes, wish->size),
               wish->align > 1 ? size(&align, wish->align) : "-");
        if (wish->range_end != 0)
            printf("0x%016llx-0x%016llx", (ull)wish->range_start, (ull)wish->range_end);
        else
            printf("%-37s", "anywhere");
        printf("%s\n", wish->nomap ? "  no-map" : wish->reusable ? "  reusable" : "");
    }
}

/* ---- Nodes -------------------------------------------------------------------------------------------- */

/* All CPUs that are there, or only those to be left alone; `disabled_cpus` in JSON. */
static bool is_cpu_of(const struct topo_cpu *cpu, uint16_t node, bool disabled_only)
{
    return cpu->node == node && !(disabled_only && cpu->enabled);
}

static uint32_t count_cpus(const struct topo *topo, uint16_t node, bool disabled_only)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < topo->cpu_count; i++)
        count += is_cpu_of(&topo->cpu[i], node, disabled_only);
    return count;
}

/* CPU ids as runs: "0-3,8", as many as fit the line. */
static void print_cpus(const struct topo *topo, uint16_t node, bool disabled_only)
{
    const int width = 36;
    int written = 0;
    for (uint32_t i = 0; i < topo->cpu_count; i++) {
        const struct topo_cpu *cpu = &topo->cpu[i];
        if (!is_cpu_of(cpu, node, disabled_only))
            continue;
        uint64_t last = cpu->hw_id;
        while (i + 1 < topo->cpu_count && topo->cpu[i + 1].hw_id == last + 1 &&
               is_cpu_of(&topo->cpu[i + 1], node, disabled_only))
            last = topo->cpu[++i].hw_id;
        if (written > width) {
            printf(",...");
            return;
        }
        written += printf(cpu->hw_id < 256 ? "%s%llu" : "%s%#llx", written > 0 ? "," : "", (ull)cpu->hw_id);
        if (last != cpu->hw_id)
            written += printf(last < 256 ? "-%llu" : "-%#llx", (ull)last);
    }
    if (written == 0)
        putchar('-');
}

static void print_nodes(const struct subject *subject)
{
    const struct topo *topo = &subject->machine.topo;
    struct size_text text;
    printf("\n  %10s %10s %10s %5s  %s\n", "node", "memory", "frames", "cpus", "cpu ids");
    for (uint16_t i = 0; i < topo->node_count; i++) {
        printf("  %10u %10s %10llu %5u  ", topo->node[i].id, size(&text, node_bytes(subject, i)),
               (ull)node_frames(subject, i), count_cpus(topo, i, false));
        print_cpus(topo, i, false);
        putchar('\n');
        if (count_cpus(topo, i, true) == 0)
            continue;
        printf("  %32s %5u  ", "disabled", count_cpus(topo, i, true));
        print_cpus(topo, i, true);
        putchar('\n');
    }
}

/* Each in one table of at most `fit` columns; a machine with more nodes has --json. */
static void print_distances(const struct topo *topo)
{
    const unsigned fit = 20;
    unsigned count = topo->node_count < fit ? topo->node_count : fit;
    if (topo->node_count < 2)
        return;
    printf("\n  %10s  %-*s%s\n", "node", count <= 9 ? (int)(4 * count) + 2 : 0, "distances",
           count <= 9 ? "falls back to" : "");
    for (uint16_t i = 0; i < topo->node_count; i++) {
        printf("  %10u  ", topo->node[i].id);
        for (unsigned j = 0; j < count; j++)
            printf("%s%3u", j > 0 ? " " : "", topo->distance[i][j]);
        printf("%s", count < topo->node_count ? " ..." : count <= 9 ? "  " : "");
        for (unsigned j = 1; j < topo->node_count && count <= 9; j++)
            printf(" %u", topo->node[topo->fallback[i][j]].id);
        putchar('\n');
    }
}

/* ---- Zones and the rest -------------------------------------------------------------------------------- */

static void print_zones(const struct machine *machine)
{
    struct size_text text;
    bool first = true;
    for (uint16_t i = 0; i < machine->topo.node_count; i++) {
        for (unsigned kind = 0; kind < ZONE_KINDS; kind++) {
            struct zone_figures zone = zone_figures(machine, i, (zone_kind_t)kind);
            if (zone.frames == 0)
                continue;
            if (first)
                printf("\n  %10s  %-8s %-18s %-18s %12s %10s\n", "node", "zone", "start", "end", "frames",
                       "size");
            first = false;
            printf("  %10u  %-8s 0x%016llx 0x%016llx %12llu %10s\n", machine->topo.node[i].id,
                   zone_name((zone_kind_t)kind), (ull)zone.start, (ull)zone.end, (ull)zone.frames,
                   size(&text, zone.frames << FRAME_SHIFT));
        }
    }
}

/* As much of a line as fits, up to a blank if there is one. */
static int fitting(const char *line)
{
    const int width = 95;
    int length = (int)strlen(line), at = width;
    if (length <= width)
        return length;
    while (at > 0 && line[at] != ' ')
        at--;
    return at > 0 ? at : width;
}

static void print_notes(const struct notes *notes)
{
    if (notes->count > 0)
        printf("\nDropped or doubtful\n");
    for (const char *line = note_next(notes, NULL); line != NULL; line = note_next(notes, line)) {
        const char *bullet = "-", *rest = line;
        while (*rest != '\0') {
            int length = fitting(rest);
            printf("  %s %.*s\n", bullet, length, rest);
            rest += length;
            rest += *rest == ' ';
            bullet = " ";
        }
    }
    if (notes->dropped > 0)
        printf("  - %u more\n", notes->dropped);
}

static void print_title(const struct subject *subject)
{
    printf("%s\n", subject->title);
    if (subject->machine.platform.model[0] != '\0')
        printf("%s\n", subject->machine.platform.model);
}

void print_text(const struct subject *subject)
{
    const struct machine *machine = &subject->machine;
    const struct memmap *map = &machine->map;
    struct size_text usable, below_16m, below_4g, installed;
    uint64_t end;
    print_title(subject);
    if (memmap_ram_bytes(map, &end) == 0)
        printf("\nMemory: none is described\n");
    else
        printf("\nMemory: %s, %s free in %llu frames (%s below 16 MiB, %s below 4 GiB)\n",
               size(&installed, memmap_ram_bytes(map, &end)),
               size(&usable, memmap_bytes(map, MEM_USABLE, UINT64_MAX)), (ull)memmap_frames(map, MEM_USABLE),
               size(&below_16m, memmap_bytes(map, MEM_USABLE, MIB(16))),
               size(&below_4g, memmap_bytes(map, MEM_USABLE, GIB(4))));
    print_bar(map);
    print_map(subject);
    print_dynamic(machine);
    print_nodes(subject);
    print_distances(&machine->topo);
    print_zones(machine);
    print_notes(&machine->notes);
}
