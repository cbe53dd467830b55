/* SPDX-License-Identifier: MIT
 *
 * Topology. Firmware adds nodes, ranges, CPUs and distances in any order; topo_settle then brings the nodes
 * into the order of their ids, which renumbers everything that refers to them, and derives the rest. It may
 * run again after more was added.
 *
 * Sorting is by insertion throughout: at most 64 nodes and 1,024 ranges, once per boot.
 */
#include <mm/topo.h>

#include <string.h>

#define DISTANCE_UNSAID 0

void topo_init(struct topo *topo)
{
    memset(topo, 0, sizeof(*topo));
}

/* ---- What the firmware says --------------------------------------------------------------------------- */

bool topo_find_node(const struct topo *topo, uint32_t id, uint16_t *node)
{
    for (uint16_t i = 0; i < topo->node_count; i++) {
        if (topo->node[i].id == id) {
            *node = i;
            return true;
        }
    }
    return false;
}

status_t topo_add_node(struct topo *topo, uint32_t id, uint16_t *node)
{
    if (topo_find_node(topo, id, node))
        return OK;
    if (topo->node_count == TOPO_MAX_NODES)
        return ERR_FULL;
    *node = (uint16_t)topo->node_count++;
    topo->node[*node] = (struct topo_node){.id = id};
    return OK;
}

status_t topo_add_range(struct topo *topo, uint16_t node, uint64_t start, uint64_t size, bool hotplug)
{
    uint64_t end;
    if (node >= topo->node_count || size == 0 || __builtin_add_overflow(start, size, &end))
        return ERR_INVALID;
    if (topo->range_count == TOPO_MAX_RANGES)
        return ERR_FULL;
    topo->range[topo->range_count++] =
        (struct topo_range){.start = paddr(start), .end = paddr(end), .node = node, .hotplug = hotplug};
    return OK;
}

status_t topo_add_cpu(struct topo *topo, uint64_t hw_id, uint32_t uid, uint16_t node, bool enabled)
{
    if (node != NODE_NONE && node >= topo->node_count)
        return ERR_INVALID;
    for (uint32_t i = 0; i < topo->cpu_count; i++)
        if (topo->cpu[i].hw_id == hw_id)
            return ERR_EXISTS;
    if (topo->cpu_count == TOPO_MAX_CPUS)
        return ERR_FULL;
    topo->cpu[topo->cpu_count++] =
        (struct topo_cpu){.hw_id = hw_id, .uid = uid, .node = node, .enabled = enabled};
    return OK;
}

status_t topo_set_distance(struct topo *topo, uint16_t from, uint16_t to, uint32_t distance)
{
    if (from >= topo->node_count || to >= topo->node_count || distance == 0 || distance >= UINT16_MAX)
        return ERR_INVALID;
    topo->distance[from][to] = (uint16_t)distance;
    topo->node[from].has_distance = true;
    return OK;
}

/* ---- Settling: order ---------------------------------------------------------------------------------- */

/* Nodes trade places, so do their rows and columns. Ranges and CPUs still have the old numbers. */
static void swap_nodes(struct topo *topo, unsigned a, unsigned b)
{
    struct topo_node node = topo->node[a];
    topo->node[a] = topo->node[b];
    topo->node[b] = node;
    for (unsigned i = 0; i < topo->node_count; i++) {
        uint16_t distance = topo->distance[a][i];
        topo->distance[a][i] = topo->distance[b][i];
        topo->distance[b][i] = distance;
    }
    for (unsigned i = 0; i < topo->node_count; i++) {
        uint16_t distance = topo->distance[i][a];
        topo->distance[i][a] = topo->distance[i][b];
        topo->distance[i][b] = distance;
    }
}

static void sort_nodes(struct topo *topo)
{
    uint16_t old[TOPO_MAX_NODES], renumbered[TOPO_MAX_NODES];
    for (uint16_t i = 0; i < topo->node_count; i++)
        old[i] = i;
    for (unsigned i = 1; i < topo->node_count; i++) {
        for (unsigned j = i; j > 0 && topo->node[j].id < topo->node[j - 1].id; j--) {
            swap_nodes(topo, j, j - 1);
            uint16_t number = old[j];
            old[j] = old[j - 1];
            old[j - 1] = number;
        }
    }
    for (uint16_t i = 0; i < topo->node_count; i++)
        renumbered[old[i]] = i;
    for (uint32_t i = 0; i < topo->range_count; i++)
        topo->range[i].node = renumbered[topo->range[i].node];
    for (uint32_t i = 0; i < topo->cpu_count; i++)
        topo->cpu[i].node = topo->cpu[i].node == NODE_NONE ? 0 : renumbered[topo->cpu[i].node];
}

static void sort_ranges(struct topo *topo)
{
    for (uint32_t i = 1; i < topo->range_count; i++) {
        struct topo_range range = topo->range[i];
        uint32_t j = i;
        for (; j > 0 && topo->range[j - 1].start.v > range.start.v; j--)
            topo->range[j] = topo->range[j - 1];
        topo->range[j] = range;
    }
}

/* ---- Settling: what follows ---------------------------------------------------------------------------- */

/* Bytes of a node's ranges, each once. The ranges are sorted. */
static uint64_t range_bytes(const struct topo *topo, uint16_t node)
{
    uint64_t sum = 0, reached = 0;
    for (uint32_t i = 0; i < topo->range_count; i++) {
        const struct topo_range *range = &topo->range[i];
        if (range->node != node || range->end.v <= reached)
            continue;
        sum += range->end.v - max_u64(range->start.v, reached);
        reached = range->end.v;
    }
    return sum;
}

static uint32_t count_conflicts(const struct topo *topo)
{
    uint32_t conflicts = 0;
    for (uint32_t i = 0; i < topo->range_count; i++) {
        const struct topo_range *low = &topo->range[i];
        for (uint32_t j = i + 1; j < topo->range_count && topo->range[j].start.v < low->end.v; j++)
            conflicts += topo->range[j].node != low->node && !topo->range[j].hotplug && !low->hotplug;
    }
    return conflicts;
}

static void fill_distances(struct topo *topo)
{
    for (unsigned i = 0; i < topo->node_count; i++)
        for (unsigned j = 0; j < topo->node_count; j++)
            if (topo->distance[i][j] == DISTANCE_UNSAID)
                topo->distance[i][j] = i == j ? DISTANCE_LOCAL : DISTANCE_REMOTE;
}

/* Node i itself, then the others by distance; insertion keeps equals in the order of their ids. */
static void sort_fallback(struct topo *topo, uint16_t i)
{
    const uint16_t *distance = topo->distance[i];
    uint16_t *order = topo->fallback[i];
    unsigned count = 0;
    order[count++] = i;
    for (uint16_t node = 0; node < topo->node_count; node++) {
        if (node == i)
            continue;
        unsigned at = count++;
        for (; at > 1 && distance[order[at - 1]] > distance[node]; at--)
            order[at] = order[at - 1];
        order[at] = node;
    }
}

void topo_settle(struct topo *topo)
{
    if (topo->node_count == 0)
        topo->node[topo->node_count++] = (struct topo_node){.id = 0};
    sort_nodes(topo);
    sort_ranges(topo);
    fill_distances(topo);
    topo->conflicts = count_conflicts(topo);
    for (uint16_t i = 0; i < topo->node_count; i++) {
        topo->node[i].bytes = range_bytes(topo, i);
        topo->node[i].cpu_count = 0;
        sort_fallback(topo, i);
    }
    for (uint32_t i = 0; i < topo->cpu_count; i++)
        topo->node[topo->cpu[i].node].cpu_count += topo->cpu[i].enabled;
}

/* ---- Memory and nodes ---------------------------------------------------------------------------------- */

uint16_t topo_node_of(const struct topo *topo, paddr_t address)
{
    uint16_t there = NODE_NONE, later = NODE_NONE;
    for (uint32_t i = 0; i < topo->range_count; i++) {
        const struct topo_range *range = &topo->range[i];
        if (address.v < range->start.v || address.v >= range->end.v)
            continue;
        uint16_t *best = range->hotplug ? &later : &there;
        if (range->node < *best)
            *best = range->node;
    }
    return there != NODE_NONE ? there : later;
}

/* The node of the range nearest to [start, end), which meets none. */
static uint16_t nearest_node(const struct topo *topo, uint64_t start, uint64_t end)
{
    uint64_t least = UINT64_MAX;
    uint16_t node = 0;
    for (uint32_t i = 0; i < topo->range_count; i++) {
        const struct topo_range *range = &topo->range[i];
        uint64_t gap = range->end.v <= start ? start - range->end.v : range->start.v - end;
        if (gap < least) {
            least = gap;
            node = range->node;
        }
    }
    return node;
}

uint16_t topo_piece(const struct topo *topo, uint64_t start, uint64_t limit, uint64_t *end)
{
    *end = limit;
    for (uint32_t i = 0; i < topo->range_count; i++) {
        const struct topo_range *range = &topo->range[i];
        if (range->start.v > start)
            *end = min_u64(*end, range->start.v);
        else if (range->end.v > start)
            *end = min_u64(*end, range->end.v);
    }
    uint16_t node = topo_node_of(topo, paddr(start));
    return node != NODE_NONE ? node : nearest_node(topo, start, *end);
}

/* Cuts region i at `at`, which lies inside it. */
static status_t split(struct memmap *map, uint32_t i, uint64_t at)
{
    if (map->region_count == MEMMAP_MAX_REGIONS)
        return ERR_FULL;
    memmove(&map->region[i + 1], &map->region[i], (map->region_count - i) * sizeof(map->region[0]));
    map->region_count++;
    map->region[i].end = paddr(at);
    map->region[i + 1].start = paddr(at);
    return OK;
}

static void merge_equal(struct memmap *map)
{
    uint32_t kept = 0;
    for (uint32_t i = 1; i < map->region_count; i++) {
        struct mem_region *last = &map->region[kept];
        const struct mem_region *next = &map->region[i];
        if (last->end.v == next->start.v && last->type == next->type && last->node == next->node)
            last->end = next->end;
        else
            map->region[++kept] = *next;
    }
    if (map->region_count > 0)
        map->region_count = kept + 1;
}

status_t topo_assign(const struct topo *topo, struct memmap *map)
{
    /* A split makes region i shorter and i + 1 new, so each border is met once. */
    for (uint32_t i = 0; i < map->region_count; i++) {
        uint64_t end;
        map->region[i].node = topo_piece(topo, map->region[i].start.v, map->region[i].end.v, &end);
        if (end < map->region[i].end.v && split(map, i, end) != OK)
            return ERR_FULL;
    }
    merge_equal(map);
    return OK;
}

void topo_count(struct topo *topo, const struct memmap *map)
{
    uint64_t start, end = 0, piece;
    if (!memmap_ram_next(map, 0, &start, &end))
        return;
    for (uint16_t i = 0; i < topo->node_count; i++)
        topo->node[i].bytes = 0;
    do {
        for (; start < end; start = piece) {
            uint16_t node = topo_piece(topo, start, end, &piece);
            topo->node[node].bytes += piece - start;
        }
    } while (memmap_ram_next(map, end, &start, &end));
}

/* ---- Check -------------------------------------------------------------------------------------------- */

static const char *check_fallback(const struct topo *topo, uint16_t i)
{
    const uint16_t *order = topo->fallback[i];
    uint64_t seen = 0;
    if (order[0] != i)
        return "topo: a fallback order does not start with its own node";
    for (unsigned k = 0; k < topo->node_count; k++) {
        if (order[k] >= topo->node_count || (seen >> order[k] & 1) != 0)
            return "topo: a fallback order is not a permutation";
        seen |= UINT64_C(1) << order[k];
        if (k > 1 && topo->distance[i][order[k]] < topo->distance[i][order[k - 1]])
            return "topo: a fallback order comes nearer again";
    }
    return NULL;
}

const char *topo_check(const struct topo *topo)
{
    if (topo->node_count == 0 || topo->node_count > TOPO_MAX_NODES)
        return "topo: no nodes, or too many";
    for (uint32_t i = 0; i < topo->cpu_count; i++)
        if (topo->cpu[i].node >= topo->node_count)
            return "topo: a CPU has no node";
    for (uint32_t i = 0; i < topo->range_count; i++)
        if (topo->range[i].node >= topo->node_count || topo->range[i].start.v >= topo->range[i].end.v ||
            (i > 0 && topo->range[i].start.v < topo->range[i - 1].start.v))
            return "topo: a range is empty, out of order or has no node";
    for (uint16_t i = 0; i < topo->node_count; i++) {
        if (i > 0 && topo->node[i].id <= topo->node[i - 1].id)
            return "topo: node ids do not rise";
        const char *broken = check_fallback(topo, i);
        if (broken != NULL)
            return broken;
    }
    return NULL;
}
