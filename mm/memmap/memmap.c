/* SPDX-License-Identifier: MIT
 *
 * The memory map. Claims are kept as they came; regions are derived from all of them by a sweep:
 *
 *   at a boundary, one look at every claim tells the highest type that holds the byte there and where the
 *   next boundary lies; that stretch becomes a region, or lengthens the last one.
 *
 * The sweep needs no sorting and no memory besides the two tables. n claims have at most 2n boundaries, so it
 * ends after 2n looks at n claims: two million steps at the limit, a few thousand on machines that exist.
 */
#include <mm/memmap.h>

static const char *const type_names[MEM_TYPE_COUNT] = {
    [MEM_NONE] = "none",
    [MEM_USABLE] = "usable",
    [MEM_SPECIFIC] = "specific",
    [MEM_BOOT_RECLAIM] = "boot",
    [MEM_RESERVED] = "reserved",
    [MEM_ACPI_RECLAIM] = "acpi",
    [MEM_ACPI_NVS] = "nvs",
    [MEM_BAD] = "bad",
    [MEM_PERSISTENT] = "persistent",
    [MEM_MMIO] = "mmio",
    [MEM_FIRMWARE] = "firmware",
    [MEM_NOMAP] = "no-map",
    [MEM_KERNEL] = "kernel",
    [MEM_MODULE] = "module",
    [MEM_EARLY] = "metadata",
};

static const char *const source_names[SOURCE_COUNT] = {
    [SOURCE_KERNEL] = "kernel", [SOURCE_FDT] = "fdt",   [SOURCE_E820] = "e820",
    [SOURCE_EFI] = "efi",       [SOURCE_ACPI] = "acpi", [SOURCE_TOPO] = "topo",
};

const char *mem_type_name(mem_type_t type)
{
    return (unsigned)type < MEM_TYPE_COUNT ? type_names[type] : "invalid";
}

const char *mem_source_name(mem_source_t source)
{
    return (unsigned)source < SOURCE_COUNT ? source_names[source] : "invalid";
}

void memmap_init(struct memmap *map)
{
    map->claim_count = 0;
    map->region_count = 0;
}

status_t memmap_claim(struct memmap *map, uint64_t start, uint64_t size, mem_type_t type, mem_source_t source,
                      uint32_t detail, bool ram)
{
    uint64_t end;
    if (size == 0 || __builtin_add_overflow(start, size, &end))
        return ERR_INVALID;
    if (map->claim_count == MEMMAP_MAX_CLAIMS)
        return ERR_FULL;
    map->claim[map->claim_count++] = (struct mem_claim){.start = paddr(start),
                                                        .end = paddr(end),
                                                        .type = type,
                                                        .source = source,
                                                        .detail = detail,
                                                        .ram = ram};
    return OK;
}

/* The highest type that holds the byte at `at`, and the first boundary above it; false if there is none. */
static bool look(const struct memmap *map, uint64_t at, mem_type_t *type, uint64_t *next)
{
    *type = MEM_NONE;
    *next = UINT64_MAX;
    for (uint32_t i = 0; i < map->claim_count; i++) {
        const struct mem_claim *claim = &map->claim[i];
        if (claim->start.v > at) {
            *next = min_u64(*next, claim->start.v);
        } else if (claim->end.v > at) {
            *next = min_u64(*next, claim->end.v);
            if (claim->type > *type)
                *type = claim->type;
        }
    }
    return *next != UINT64_MAX || *type != MEM_NONE;
}

static status_t append(struct memmap *map, uint64_t start, uint64_t end, mem_type_t type)
{
    struct mem_region *last = map->region_count > 0 ? &map->region[map->region_count - 1] : NULL;
    if (last != NULL && last->end.v == start && last->type == type) {
        last->end = paddr(end);
        return OK;
    }
    if (map->region_count == MEMMAP_MAX_REGIONS)
        return ERR_FULL;
    map->region[map->region_count++] =
        (struct mem_region){.start = paddr(start), .end = paddr(end), .type = type, .node = NODE_NONE};
    return OK;
}

status_t memmap_settle(struct memmap *map)
{
    uint64_t at = 0, next;
    mem_type_t type;
    map->region_count = 0;
    while (look(map, at, &type, &next)) {
        if (type != MEM_NONE && append(map, at, next, type) != OK)
            return ERR_FULL;
        at = next;
    }
    return OK;
}

const struct mem_region *memmap_find(const struct memmap *map, paddr_t address)
{
    uint32_t low = 0, high = map->region_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct mem_region *region = &map->region[middle];
        if (address.v < region->start.v)
            high = middle;
        else if (address.v >= region->end.v)
            low = middle + 1;
        else
            return region;
    }
    return NULL;
}

uint64_t memmap_bytes(const struct memmap *map, mem_type_t type, uint64_t limit)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < map->region_count; i++) {
        const struct mem_region *region = &map->region[i];
        if (region->type == type && region->start.v < limit)
            sum += min_u64(region->end.v, limit) - region->start.v;
    }
    return sum;
}

uint64_t memmap_frames(const struct memmap *map, mem_type_t type)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < map->region_count;) {
        const struct mem_region *first = &map->region[i++];
        if (first->type != type)
            continue;
        uint64_t end = first->end.v;
        for (; i < map->region_count && map->region[i].type == type && map->region[i].start.v == end; i++)
            end = map->region[i].end.v;
        uint64_t from = (first->start.v >> FRAME_SHIFT) + !is_aligned(first->start.v, FRAME_SIZE);
        uint64_t to = end >> FRAME_SHIFT;
        if (to > from)
            sum += to - from;
    }
    return sum;
}

bool memmap_ram_next(const struct memmap *map, uint64_t from, uint64_t *start, uint64_t *end)
{
    *start = UINT64_MAX;
    for (uint32_t i = 0; i < map->claim_count; i++)
        if (map->claim[i].ram && map->claim[i].end.v > from)
            *start = min_u64(*start, max_u64(from, map->claim[i].start.v));
    if (*start == UINT64_MAX)
        return false;
    /* Each pass but the last takes in a further claim. */
    uint64_t reached = *start;
    do {
        *end = reached;
        for (uint32_t i = 0; i < map->claim_count; i++)
            if (map->claim[i].ram && map->claim[i].start.v <= reached)
                reached = max_u64(reached, map->claim[i].end.v);
    } while (reached != *end);
    return true;
}

uint64_t memmap_ram_bytes(const struct memmap *map, uint64_t *highest_end)
{
    uint64_t sum = 0, start, end = 0;
    while (memmap_ram_next(map, end, &start, &end))
        sum += end - start;
    *highest_end = sum > 0 ? end : 0;
    return sum;
}

/* ---- Check -------------------------------------------------------------------------------------------- */

static const char *check_order(const struct memmap *map)
{
    for (uint32_t i = 0; i < map->region_count; i++) {
        const struct mem_region *region = &map->region[i];
        if (region->start.v >= region->end.v)
            return "memmap: a region is empty";
        if (i == 0)
            continue;
        const struct mem_region *last = region - 1;
        if (region->start.v < last->end.v)
            return "memmap: regions overlap or are out of order";
        if (region->start.v == last->end.v && region->type == last->type && region->node == last->node)
            return "memmap: two equal regions touch";
    }
    return NULL;
}

const char *memmap_check(const struct memmap *map)
{
    const char *broken = check_order(map);
    if (broken != NULL)
        return broken;
    uint64_t at = 0, next, covered = 0, held = 0;
    mem_type_t type;
    /* Regions may be cut at node borders as well, so each step ends at whatever border comes first. */
    while (look(map, at, &type, &next)) {
        if (type != MEM_NONE) {
            const struct mem_region *region = memmap_find(map, paddr(at));
            if (region == NULL || region->type != type)
                return "memmap: a region has not the type of its highest claim";
            next = min_u64(next, region->end.v);
            covered += next - at;
        }
        at = next;
    }
    for (uint32_t i = 0; i < map->region_count; i++)
        held += map->region[i].end.v - map->region[i].start.v;
    return held == covered ? NULL : "memmap: a region covers bytes that nobody claimed";
}
