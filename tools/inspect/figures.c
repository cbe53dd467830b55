/* SPDX-License-Identifier: MIT
 *
 * What is printed besides the map itself: memory per node, zones, reservations.
 *
 * Zones follow the frame allocator's rule: a frame counts where all of it is usable, adjoining regions taken
 * together, and belongs to the node of its first byte. One that a zone's border cuts belongs to the zone
 * above.
 */
#include "inspect.h"

#include <libfdt.h>

/* ---- Nodes -------------------------------------------------------------------------------------------- */

/* The next stretch that a range of the topology gives the node, at or above `from`, ranges that touch taken
 * together. Ranges are sorted by their start. */
static bool declared_next(const struct topo *topo, uint16_t node, uint64_t from, struct range *range)
{
    bool found = false;
    for (uint32_t i = 0; i < topo->range_count; i++) {
        const struct topo_range *next = &topo->range[i];
        if (next->node != node || next->end.v <= from)
            continue;
        if (!found)
            *range = (struct range){max_u64(from, next->start.v), next->end.v};
        else if (next->start.v <= range->end)
            range->end = max_u64(range->end, next->end.v);
        found = true;
    }
    return found;
}

/* The same for installed RAM. */
static bool installed_next(const struct machine *machine, uint16_t node, uint64_t from, struct range *range)
{
    bool found = false;
    uint64_t start, end = from, piece;
    while (memmap_ram_next(&machine->map, end, &start, &end)) {
        for (; start < end; start = piece) {
            if (topo_piece(&machine->topo, start, end, &piece) != node) {
                if (found)
                    return true;
                continue;
            }
            if (found && range->end != start)
                return true;
            if (!found)
                range->start = start;
            range->end = piece;
            found = true;
        }
    }
    return found;
}

bool node_range_next(const struct machine *machine, uint16_t node, uint64_t *from, struct range *range)
{
    uint64_t start, end;
    bool installed = memmap_ram_next(&machine->map, 0, &start, &end);
    if (!(installed ? installed_next(machine, node, *from, range)
                    : declared_next(&machine->topo, node, *from, range)))
        return false;
    *from = range->end;
    return true;
}

/* A recorded topology says how much memory a node has, but not where; a map that says where knows better. */
static bool recorded_bytes(const struct subject *subject, uint16_t node, uint64_t *bytes)
{
    uint64_t end;
    if (!subject->recorded || memmap_ram_bytes(&subject->machine.map, &end) > 0)
        return false;
    for (uint32_t i = 0; i < subject->record.node_count; i++) {
        if (subject->record.id[i] == subject->machine.topo.node[node].id) {
            *bytes = subject->record.bytes[i];
            return true;
        }
    }
    return false;
}

uint64_t node_bytes(const struct subject *subject, uint16_t node)
{
    uint64_t bytes;
    return recorded_bytes(subject, node, &bytes) ? bytes : subject->machine.topo.node[node].bytes;
}

static uint64_t whole_frames(uint64_t start, uint64_t end)
{
    uint64_t first = (start >> FRAME_SHIFT) + !is_aligned(start, FRAME_SIZE), last = end >> FRAME_SHIFT;
    return last > first ? last - first : 0;
}

uint64_t node_frames(const struct subject *subject, uint16_t node)
{
    uint64_t from = 0, sum = 0, bytes;
    struct range range;
    if (recorded_bytes(subject, node, &bytes))
        return bytes >> FRAME_SHIFT;
    while (node_range_next(&subject->machine, node, &from, &range))
        sum += whole_frames(range.start, range.end);
    return sum;
}

bool node_is_memory_only(const struct subject *subject, uint16_t node)
{
    const struct topo *topo = &subject->machine.topo;
    for (uint32_t i = 0; i < topo->cpu_count; i++)
        if (topo->cpu[i].node == node)
            return false;
    return node_bytes(subject, node) > 0;
}

/* ---- Zones -------------------------------------------------------------------------------------------- */

/* The end of the bytes of one type that go on from region i without a gap, whatever their node. */
static uint64_t type_end(const struct memmap *map, uint32_t i)
{
    mem_type_t type = map->region[i].type;
    uint64_t end = map->region[i].end.v;
    for (i++; i < map->region_count && map->region[i].start.v == end && map->region[i].type == type; i++)
        end = map->region[i].end.v;
    return end;
}

/* Adds the frames of region i that start in it and lie in the zone. */
static void add_region(const struct machine *machine, uint32_t i, zone_kind_t kind, struct zone_figures *zone)
{
    const struct mem_region *region = &machine->map.region[i];
    uint64_t whole = align_down(type_end(&machine->map, i), FRAME_SIZE), low, high;
    zone_bounds(&machine->limits, kind, &low, &high);
    uint64_t end = min_u64(whole, align_down(high, FRAME_SIZE));
    if (region->start.v >= end) /* and nothing below is rounded up beyond 2^64 */
        return;
    if (region->end.v < end)
        end = align_up(region->end.v, FRAME_SIZE);
    uint64_t start = max_u64(align_up(region->start.v, FRAME_SIZE), align_down(low, FRAME_SIZE));
    if (start >= end)
        return;
    if (zone->frames == 0)
        zone->start = start;
    zone->end = end;
    zone->frames += (end - start) >> FRAME_SHIFT;
}

struct zone_figures zone_figures(const struct machine *machine, uint16_t node, zone_kind_t kind)
{
    struct zone_figures zone = {0, 0, 0};
    mem_type_t type = kind == ZONE_DEVICE ? MEM_SPECIFIC : MEM_USABLE;
    for (uint32_t i = 0; i < machine->map.region_count; i++)
        if (machine->map.region[i].type == type && machine->map.region[i].node == node)
            add_region(machine, i, kind, &zone);
    return zone;
}

/* ---- The whole ---------------------------------------------------------------------------------------- */

/* The end of memory: of the RAM that a device tree lists; in maps that list everything, of what is usable. */
uint64_t highest_end(const struct machine *machine)
{
    const struct memmap *map = &machine->map;
    uint64_t end = 0;
    for (uint32_t i = 0; i < map->claim_count; i++)
        if (map->claim[i].ram && map->claim[i].source == SOURCE_FDT)
            end = max_u64(end, map->claim[i].end.v);
    for (uint32_t i = 0; i < map->region_count; i++)
        if (map->region[i].type == MEM_USABLE)
            end = max_u64(end, map->region[i].end.v);
    return end;
}

bool is_reservation(const struct mem_claim *claim)
{
    return claim->type != MEM_USABLE && claim->type != MEM_MMIO;
}

const char *claim_name(const struct subject *subject, const struct mem_claim *claim)
{
    const void *fdt = subject->sources.fdt;
    if (claim->source != SOURCE_FDT)
        return NULL;
    if (claim->detail < fdt_off_dt_struct(fdt))
        return "memreserve";
    return fdt_get_name(fdt, (int)(claim->detail - fdt_off_dt_struct(fdt)), NULL);
}
