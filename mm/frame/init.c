/* SPDX-License-Identifier: MIT
 *
 * From a memory map to zones. Zones are made of all RAM of the map, also of what is held back for now
 * (firmware tables, boot archive, image), so that late memory finds its place; the allocator itself gets the
 * usable regions. Device zones are made of the regions set aside for a specific purpose, wherever these lie.
 *
 * The same code sizes the metadata and lays it out: with no memory behind it, a carve only counts. Cost:
 * three passes over the regions for each zone.
 */
#include "cache.h"
#include "pressure.h"
#include "reserve.h"
#include "describe.h"

/* Ranges of managed frames that frame_release may add, beside those that the map has. */
#define SPARE_RANGES 128

/* Groups further apart than this are different spans of a zone. */
#define SPAN_GAP_GROUPS 1

struct source {
    const struct memmap *map;
    const struct zone_limits *limits;
};

struct carve {
    uint8_t *base; /* NULL: only count */
    uint64_t used;
};

static void *carve(struct carve *from, uint64_t bytes, uint64_t align)
{
    void *part;

    from->used = align_up(from->used, align);
    part = from->base != NULL ? from->base + from->used : NULL;
    from->used += bytes;
    return part;
}

static bool is_ram(mem_type_t type)
{
    return type == MEM_USABLE || type == MEM_BOOT_RECLAIM || type == MEM_ACPI_RECLAIM || type == MEM_KERNEL ||
           type == MEM_MODULE || type == MEM_EARLY || type == MEM_SPECIFIC;
}

/* Whether a region's type and a kind of zone go together. */
static bool kind_takes(zone_kind_t kind, mem_type_t type)
{
    return is_ram(type) && (type == MEM_SPECIFIC) == (kind == ZONE_DEVICE);
}

static bool addressable(const struct memmap *map)
{
    for (uint32_t i = 0; i < map->region_count; i++) {
        if (is_ram(map->region[i].type) && map->region[i].end.v > UINT64_C(1) << FRAME_ADDRESS_BITS)
            return false;
    }
    return true;
}

/* The whole frames that begin in a region. A frame that it shares only with adjoining regions of the same
 * type (nodes may meet inside a frame) counts, for the region in which it begins. */
static struct frame_range region_frames(const struct memmap *map, uint32_t index)
{
    const struct mem_region *region = &map->region[index];
    uint64_t start = align_up(region->start.v, FRAME_SIZE) >> FRAME_SHIFT;
    uint64_t end = region->end.v >> FRAME_SHIFT, reach = region->end.v;

    /* At most all regions; ends as soon as the last frame is covered. */
    for (uint32_t i = index + 1; i < map->region_count && reach < align_up(region->end.v, FRAME_SIZE); i++) {
        if (map->region[i].start.v != reach || map->region[i].type != region->type)
            break;
        reach = map->region[i].end.v;
    }
    if (reach >= align_up(region->end.v, FRAME_SIZE))
        end = align_up(region->end.v, FRAME_SIZE) >> FRAME_SHIFT;
    return (struct frame_range){start, max_u64(start, end), 0};
}

/* The frames of a kind: those that lie wholly below its end and not below the end of the kind beneath. */
static struct frame_range kind_frames(const struct zone_limits *limits, zone_kind_t kind)
{
    uint64_t start, end;

    zone_bounds(limits, kind, &start, &end);
    return (struct frame_range){start >> FRAME_SHIFT, end >> FRAME_SHIFT, 0};
}

/* The frames of a region in a zone; false if there are none. */
static bool piece_of(const struct source *from, uint32_t index, zone_kind_t kind, struct frame_range *piece)
{
    struct frame_range frames = region_frames(from->map, index);
    struct frame_range bounds = kind_frames(from->limits, kind);

    *piece = (struct frame_range){max_u64(frames.start, bounds.start), min_u64(frames.end, bounds.end), 0};
    return kind_takes(kind, from->map->region[index].type) && piece->start < piece->end;
}

/* Works out a zone's bounds and spans from its node and kind; fills zone->span if there is memory for it.
 * Adds its pieces to *pieces. */
static void walk_zone(const struct source *from, struct zone *zone, uint32_t *pieces)
{
    struct span span = {0};

    zone->span_count = zone->groups = 0;
    for (uint32_t i = 0; i < from->map->region_count; i++) {
        struct frame_range piece;
        uint64_t first, last;

        if (from->map->region[i].node != zone->node || !piece_of(from, i, zone->kind, &piece))
            continue;
        first = piece.start / GROUP_FRAMES;
        last = (piece.end - 1) / GROUP_FRAMES;
        if (zone->span_count == 0)
            zone->start = piece.start;
        zone->end = piece.end;
        if (zone->span_count == 0 || first > span.group + span.groups + SPAN_GAP_GROUPS) {
            span = (struct span){.group = first, .dense = zone->groups};
            zone->span_count++;
        }
        span.groups = (uint32_t)(last + 1 - span.group);
        zone->groups = span.dense + span.groups;
        if (zone->span != NULL)
            zone->span[zone->span_count - 1] = span;
        (*pieces)++;
    }
}

/* Gives a walked zone its arrays. */
static void lay_zone(struct zone *zone, struct carve *from)
{
    uint64_t slots = zone->groups * GROUP_CHUNKS;

    struct summary_shape *by_use = &zone->chunks_by_use.shape, *by_order = &zone->groups_by_order.shape;

    summary_shape_init(by_use, slots);
    summary_shape_init(by_order, zone->groups);
    zone->span = carve(from, zone->span_count * sizeof(struct span), 8);
    zone->row = carve(from, slots * sizeof(struct row), sizeof(struct row));
    zone->chunk = carve(from, slots * sizeof(uint32_t), 8);
    zone->whole = carve(from, align_up(zone->groups, GROUP_STRIPES) * sizeof(uint64_t), 64);
    zone->leased = carve(from, (zone->groups + WORD_BITS - 1) / WORD_BITS * sizeof(uint64_t), 8);
    zone->reserved = carve(from, zone->groups * sizeof(uint64_t), 8);
    zone->chunks_by_use.set = carve(from, CHUNK_PLACES * summary_words(by_use) * sizeof(uint64_t), 8);
    zone->groups_by_order.set = carve(from, GROUP_PLACES * summary_words(by_order) * sizeof(uint64_t), 8);
    for (uint64_t slot = 0; zone->chunk != NULL && slot < slots; slot++)
        store_relaxed(&zone->chunk[slot], CHUNK_OFFLINE);
}

/* Makes all zones, or with nothing behind `from` counts what they take. Returns the number of pieces. */
static uint32_t lay_out(const struct source *from, uint32_t nodes, struct carve *memory)
{
    struct zone *table = NULL;
    uint32_t zones = 0, pieces = 0;

    for (unsigned pass = 0; pass < 2; pass++) {
        if (pass == 1)
            table = carve(memory, zones * sizeof(struct zone), _Alignof(struct zone));
        zones = pieces = 0;
        for (unsigned i = 0; i < nodes * ZONE_KINDS; i++) {
            struct zone zone = {.node = (uint16_t)(i / ZONE_KINDS), .kind = (zone_kind_t)(i % ZONE_KINDS)};

            walk_zone(from, &zone, &pieces);
            if (zone.span_count == 0)
                continue;
            if (pass == 1)
                lay_zone(&zone, memory);
            if (table != NULL) {
                walk_zone(from, &zone, &(uint32_t){0});
                table[zones] = zone;
                frame_system.zone_of[zone.node][zone.kind] = (uint16_t)zones;
            }
            zones++;
        }
    }
    if (table != NULL) {
        frame_system.zone = table;
        frame_system.zone_count = zones;
    }
    return pieces;
}

/* A CPU that the topology does not know has no cache. */
static uint32_t cpus_of(const struct topo *topo)
{
    return topo->cpu_count > 0 ? topo->cpu_count : 1;
}

/* Of all zones, held back or not: each has a descriptor. */
static uint64_t ram_frames(const struct source *from)
{
    uint64_t frames = 0;
    struct frame_range piece;

    for (uint32_t i = 0; i < from->map->region_count; i++) {
        for (unsigned kind = 0; kind < ZONE_KINDS; kind++)
            frames += piece_of(from, i, (zone_kind_t)kind, &piece) ? piece.end - piece.start : 0;
    }
    return frames;
}

static uint64_t descriptor_bytes(uint64_t frames)
{
    return align_up(frames * sizeof(struct frame_info), FRAME_SIZE);
}

uint64_t frame_descriptor_size(const struct memmap *map, const struct zone_limits *limits)
{
    return descriptor_bytes(ram_frames(&(struct source){map, limits}));
}

uint64_t frame_metadata_size(const struct memmap *map, const struct topo *topo,
                             const struct zone_limits *limits)
{
    struct source from = {map, limits};
    struct carve memory = {0};
    uint32_t pieces;

    if (!addressable(map))
        return UINT64_MAX;
    pieces = lay_out(&from, topo->node_count, &memory);
    carve(&memory, cpus_of(topo) * sizeof(struct frame_cpu), _Alignof(struct frame_cpu));
    carve(&memory, reserve_entries(topo) * sizeof(uint64_t), 8);
    carve(&memory, describe_own_bytes(ram_frames(&from), pieces), 8);
    carve(&memory, (2 * (uint64_t)pieces + SPARE_RANGES) * sizeof(struct frame_range), 8);
    return align_up(memory.used, FRAME_SIZE) + frame_descriptor_size(map, limits);
}

/* Fills the tables of RAM and of managed ranges. */
static void fill_ranges(const struct source *from)
{
    struct frame_system *system = &frame_system;

    for (uint32_t i = 0; i < from->map->region_count; i++) {
        const struct mem_region *region = &from->map->region[i];

        for (unsigned kind = 0; kind < ZONE_KINDS; kind++) {
            struct frame_range piece;

            if (!piece_of(from, i, (zone_kind_t)kind, &piece))
                continue;
            piece.zone = system->zone_of[region->node][kind];
            range_append(system->ram, &system->ram_count, piece);
            if (region->type == MEM_USABLE || region->type == MEM_SPECIFIC)
                range_append(system->managed, &system->managed_count, piece);
        }
    }
}

/* Empties the system: a second frame_init starts anew. */
static void reset(const struct topo *topo)
{
    struct frame_system *system = &frame_system;

    system->zone = NULL;
    system->zone_count = system->ram_count = system->managed_count = system->managed_max = 0;
    system->topo = topo;
    store_relaxed(&system->threshold, CHUNK_FRAMES);
    cache_reset();
    for (unsigned i = 0; i < TOPO_MAX_NODES * ZONE_KINDS; i++)
        system->zone_of[i / ZONE_KINDS][i % ZONE_KINDS] = ZONE_NONE;
    for (unsigned i = 0; i < TOPO_MAX_CPUS; i++)
        store_relaxed(&system->cpu_node[i], i < topo->cpu_count ? topo->cpu[i].node : 0);
}

static bool all_on_nodes(const struct memmap *map, const struct topo *topo)
{
    for (uint32_t i = 0; i < map->region_count; i++) {
        if (is_ram(map->region[i].type) && map->region[i].node >= topo->node_count)
            return false;
    }
    return true;
}

status_t frame_init(const struct memmap *map, const struct topo *topo, const struct zone_limits *limits,
                    void *metadata, uint64_t metadata_size)
{
    struct frame_system *system = &frame_system;
    struct source from = {map, limits};
    struct carve memory = {0};
    _Atomic uint64_t *reserves;
    uint64_t frames = ram_frames(&from), own_size;
    uint32_t pieces;
    void *describe_own;

    if (!addressable(map) || !all_on_nodes(map, topo) || metadata_size < descriptor_bytes(frames))
        return ERR_INVALID;
    own_size = align_down(metadata_size - descriptor_bytes(frames), FRAME_SIZE);
    pieces = lay_out(&from, topo->node_count, &memory);
    carve(&memory, cpus_of(topo) * sizeof(struct frame_cpu), _Alignof(struct frame_cpu));
    carve(&memory, reserve_entries(topo) * sizeof(uint64_t), 8);
    carve(&memory, describe_own_bytes(frames, pieces), 8);
    carve(&memory, 2 * (uint64_t)pieces * sizeof(struct frame_range), 8);
    if (memory.used > own_size)
        return ERR_INVALID;

    reset(topo);
    memory = (struct carve){.base = metadata};
    lay_out(&from, topo->node_count, &memory);
    system->cpu = carve(&memory, cpus_of(topo) * sizeof(struct frame_cpu), _Alignof(struct frame_cpu));
    system->cpu_count = cpus_of(topo);
    reserves = carve(&memory, reserve_entries(topo) * sizeof(uint64_t), 8);
    describe_own = carve(&memory, describe_own_bytes(frames, pieces), 8);
    system->ram = carve(&memory, pieces * sizeof(struct frame_range), 8);
    system->managed = carve(&memory, 0, 8);
    system->managed_max = (uint32_t)((own_size - memory.used) / sizeof(struct frame_range));
    system->metadata_bytes = own_size;
    fill_ranges(&from);
    describe_start(describe_own, (struct frame_info *)((uint8_t *)metadata + own_size), frames);
    for (uint32_t i = 0; i < system->managed_count; i++) {
        const struct frame_range *range = &system->managed[i];

        zone_manage(&system->zone[range->zone], range->start, range->end - range->start);
    }
    pressure_settle();
    reserve_init(reserves);
    for (uint32_t i = 0; i < system->cpu_count; i++)
        cache_set_home(&system->cpu[i], i, load_relaxed(&system->cpu_node[i]));
    return OK;
}
