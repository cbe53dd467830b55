/* SPDX-License-Identifier: MIT */
#include <mm/port.h>

#include "cache.h"
#include "reserve.h"

/* Frames of each class: per CPU, and per node. mm/frame_reserve.h says why. */
static const struct {
    uint8_t per_cpu, per_node;
} share[FRAME_RESERVE_CLASSES] = {
    [FRAME_RESERVE_PAGE_TABLE] = {.per_cpu = FRAME_RESERVE_TABLES},
    [FRAME_RESERVE_INTERRUPT] = {.per_cpu = FRAME_RESERVE_INTERRUPTS},
    [FRAME_RESERVE_RECLAIM] = {.per_cpu = FRAME_RESERVE_RECLAIMS},
    [FRAME_RESERVE_REPORT] = {.per_node = FRAME_RESERVE_REPORTS},
};

/* Reclaim first: it gives the others what they lack. */
static const frame_reserve_t refill_order[] = {FRAME_RESERVE_RECLAIM, FRAME_RESERVE_PAGE_TABLE,
                                               FRAME_RESERVE_INTERRUPT, FRAME_RESERVE_REPORT};

struct reserve_node reserve_node[TOPO_MAX_NODES];

const char *frame_reserve_name(frame_reserve_t class)
{
    static const char *const name[FRAME_RESERVE_CLASSES] = {"none", "page tables", "interrupt", "reclaim", "report"};

    return (unsigned)class < FRAME_RESERVE_CLASSES ? name[class] : "unknown";
}

/* The zone of a kind that a pool may take frames from, or NULL. */
static struct zone *mapped_zone(uint16_t node, unsigned kind)
{
    uint16_t index = frame_system.zone_of[node][kind];

    return kind <= ZONE_NORMAL && index != ZONE_NONE ? &frame_system.zone[index] : NULL;
}

/* One run of a node's mapped zones, the highest first. */
static bool alloc_on(uint16_t node, uint64_t count, struct zone **zone, uint64_t *first)
{
    for (unsigned kind = ZONE_NORMAL + 1; kind-- > 0;) {
        struct want want = {.count = count, .align = 1, .boundary = UINT64_C(1) << 63};

        *zone = mapped_zone(node, kind);
        if (*zone == NULL)
            continue;
        want.end = (*zone)->end;
        if (zone_alloc(*zone, &want, first))
            return true;
    }
    return false;
}

/* ---- Sizes ----------------------------------------------------------------------------------------------- */

static uint64_t frames_for(uint64_t cpus)
{
    uint64_t frames = 0;

    for (unsigned class = 0; class < FRAME_RESERVE_CLASSES; class++)
        frames += share[class].per_cpu * cpus + share[class].per_node;
    return frames;
}

/* Each CPU counts on one node, and nodes without any as if they had one. */
uint64_t reserve_entries(const struct topo *topo)
{
    return topo->node_count * frames_for(1) + frames_for(topo->cpu_count);
}

static uint64_t mapped_frames(uint16_t node)
{
    uint64_t frames = 0;

    for (unsigned kind = 0; kind <= ZONE_NORMAL; kind++) {
        const struct zone *zone = mapped_zone(node, kind);

        frames += zone != NULL ? load_relaxed(&zone->managed) : 0;
    }
    return frames;
}

/* CPUs of a node and of those for which it is the nearest with mapped memory; no less than one. */
static uint64_t count_cpus(uint16_t node)
{
    const struct topo *topo = frame_system.topo;
    uint64_t cpus = 0;

    for (uint32_t i = 0; i < topo->cpu_count; i++) {
        const uint16_t *near = topo->fallback[topo->cpu[i].node];
        uint32_t j = 0;

        while (j < topo->node_count && mapped_frames(near[j]) == 0)
            j++;
        cpus += j < topo->node_count && near[j] == node;
    }
    return max_u64(cpus, 1);
}

/* Gives a node's pools their entries; returns how many. */
static uint64_t size_node(uint16_t node, _Atomic uint64_t *entry)
{
    uint64_t cpus = count_cpus(node), wanted = frames_for(cpus), used = 0;
    uint64_t most = min_u64(wanted, mapped_frames(node) / FRAME_RESERVE_SHARE);

    for (unsigned class = 0; class < FRAME_RESERVE_CLASSES; class++) {
        struct reserve_pool *pool = &reserve_node[node].pool[class];

        pool->entry = entry + used;
        pool->size = (uint32_t)((share[class].per_cpu * cpus + share[class].per_node) * most / wanted);
        store_relaxed(&pool->taken, 0);
        store_relaxed(&pool->filled, 0);
        used += pool->size;
    }
    store_relaxed(&reserve_node[node].missing, used);
    return used;
}

/* ---- Putting and taking ------------------------------------------------------------------------------------ */

/* Puts a frame that is the caller's into an empty entry of a pool, looking from *from on. */
static bool pool_put(struct reserve_pool *pool, uint32_t *from, const struct zone *zone, uint64_t frame)
{
    uint64_t slot = zone_slot(zone, frame);

    if (!reserve_near(zone, slot))
        fetch_or(&zone->reserved[slot / GROUP_CHUNKS], UINT64_C(1) << slot % GROUP_CHUNKS);
    for (; *from < pool->size; (*from)++) {
        uint64_t empty = 0;

        if (load_relaxed(&pool->entry[*from]) == 0 && compare_exchange(&pool->entry[*from], &empty, frame + 1)) {
            fetch_add(&pool->filled, 1);
            fetch_add(&reserve_node[zone->node].missing, -UINT64_C(1));
            return true;
        }
    }
    return false;
}

static bool pool_take(struct reserve_pool *pool, uint64_t *frame)
{
    for (uint32_t i = 0; i < pool->size; i++) {
        uint64_t entry = load_relaxed(&pool->entry[i]);

        if (entry != 0 && (entry = exchange(&pool->entry[i], 0)) != 0) {
            *frame = entry - 1;
            fetch_add(&pool->taken, 1);
            return true;
        }
    }
    return false;
}

bool reserve_take(uint16_t node, bool here, frame_reserve_t class, uint64_t *frame)
{
    const struct topo *topo = frame_system.topo;
    uint32_t nodes = here ? 1 : topo->node_count;

    for (uint32_t i = 0; i < nodes; i++) {
        struct reserve_node *from = &reserve_node[topo->fallback[node][i]];

        if (pool_take(&from->pool[class], frame)) {
            fetch_add(&from->missing, 1);
            return true;
        }
    }
    return false;
}

static bool pool_full(const struct reserve_pool *pool, uint32_t *from)
{
    while (*from < pool->size && load_relaxed(&pool->entry[*from]) != 0)
        (*from)++;
    return *from == pool->size;
}

void reserve_refill(uint16_t node)
{
    unsigned left = RESERVE_BATCH;

    for (unsigned i = 0; i < ARRAY_LEN(refill_order); i++) {
        struct reserve_pool *pool = &reserve_node[node].pool[refill_order[i]];

        for (uint32_t from = 0; !pool_full(pool, &from); left--) {
            struct zone *zone;
            uint64_t frame;

            if (left == 0 || !alloc_on(node, 1, &zone, &frame))
                return;
            /* Other CPUs may have filled the pool meanwhile. */
            if (!pool_put(pool, &from, zone, frame) && zone_free(zone, frame, 1) != OK)
                port_panic("frame %#llx cannot be given back", (unsigned long long)frame);
        }
    }
}

/* Spreads a run over a node's pools. */
static void put_run(uint16_t node, const struct zone *zone, uint64_t first, uint64_t count)
{
    for (unsigned class = 0; class < FRAME_RESERVE_CLASSES; class++) {
        uint32_t from = 0;

        while (count > 0 && pool_put(&reserve_node[node].pool[class], &from, zone, first)) {
            first++;
            count--;
        }
    }
}

/* By chunks, and what is less than one as a run if there is such; else halves, quarters, …, at last single frames. */
static void fill(uint16_t node, uint64_t left)
{
    for (uint64_t length = CHUNK_FRAMES; left > 0 && length > 0;) {
        struct zone *zone;
        uint64_t first;

        length = min_u64(length, left);
        if (alloc_on(node, length, &zone, &first)) {
            put_run(node, zone, first, length);
            left -= length;
        } else {
            length /= 2;
        }
    }
}

void reserve_init(_Atomic uint64_t *entries)
{
    for (uint16_t node = 0; node < frame_system.topo->node_count; node++) {
        uint64_t size = size_node(node, entries);

        entries += size;
        fill(node, size);
    }
}

/* ---- Questions --------------------------------------------------------------------------------------------- */

/* The pools of a node lie one after the other. */
static uint64_t node_entries(const struct reserve_node *node)
{
    uint64_t entries = 0;

    for (unsigned class = 0; class < FRAME_RESERVE_CLASSES; class++)
        entries += node->pool[class].size;
    return entries;
}

/* Frames of [first, first + count) in a node's pools. */
static uint64_t count_in(const struct reserve_node *node, uint64_t first, uint64_t count)
{
    uint64_t entries = node_entries(node), frames = 0;

    for (uint64_t i = 0; i < entries; i++)
        frames += load_relaxed(&node->pool[0].entry[i]) - 1 - first < count; /* an empty one is beyond all frames */
    return frames;
}

bool reserve_search(const struct zone *zone, uint64_t slot, uint64_t first, uint64_t count)
{
    uint64_t marks = 0;
    uint64_t end = slot + (first % CHUNK_FRAMES + count + CHUNK_FRAMES - 1) / CHUNK_FRAMES;

    for (uint64_t group = slot / GROUP_CHUNKS; group * GROUP_CHUNKS < end; group++) {
        uint64_t base = group * GROUP_CHUNKS;
        uint64_t from = max_u64(slot, base) - base, to = min_u64(end, base + GROUP_CHUNKS) - base;

        marks |= load_relaxed(&zone->reserved[group]) & bit_range((unsigned)from, (unsigned)to);
    }
    return marks != 0 && count_in(&reserve_node[zone->node], first, count) != 0;
}

uint64_t reserve_strip(const struct zone *zone, uint64_t first, uint64_t bits)
{
    if (!reserve_holds(zone, first, WORD_BITS))
        return bits;
    for (uint64_t left = bits; left != 0; left &= left - 1) {
        uint64_t frame = first + bit_lowest(left);

        if (reserve_holds(zone, frame, 1)) {
            port_report("frame %#llx was freed while it is in a reserve", (unsigned long long)frame);
            bits &= ~(left & -left);
        }
    }
    return bits;
}

uint64_t reserve_in(const struct zone *zone)
{
    if (zone->kind > ZONE_NORMAL)
        return 0;
    return count_in(&reserve_node[zone->node], zone->start, zone->end - zone->start);
}

void frame_reserve_info(uint16_t node, frame_reserve_t class, struct frame_reserve_info *info)
{
    const struct reserve_pool *pool = &reserve_node[node].pool[class];

    *info = (struct frame_reserve_info){
        .size = pool->size, .taken = load_relaxed(&pool->taken), .filled = load_relaxed(&pool->filled)};
    for (uint32_t i = 0; i < pool->size; i++)
        info->held += load_relaxed(&pool->entry[i]) != 0;
}

uint64_t frame_reserved(void)
{
    uint64_t frames = 0;

    for (uint32_t i = 0; i < frame_system.zone_count; i++)
        frames += reserve_in(&frame_system.zone[i]);
    return frames;
}

/* ---- Proof ------------------------------------------------------------------------------------------------- */

/* A frame in a pool by itself. */
static const char *check_frame(uint16_t node, uint64_t frame)
{
    const struct frame_range *ram = range_find(frame_system.ram, frame_system.ram_count, frame);
    const struct zone *zone = ram != NULL ? &frame_system.zone[ram->zone] : NULL;
    uint64_t slot;

    if (zone == NULL || zone->node != node || zone->kind > ZONE_NORMAL || !managed_contains(frame, 1))
        return "a reserve holds a frame that it must not have";
    slot = zone_slot(zone, frame);
    if (!bitmap_none_free(zone, slot, (unsigned)(frame % CHUNK_FRAMES), 1))
        return "a reserved frame is free in its chunk, too";
    if (!reserve_near(zone, slot))
        return "a reserved frame's chunk is not marked";
    return count_in(&reserve_node[node], frame, 1) == 1 ? NULL : "a frame is in two reserves";
}

static const char *check_node(uint16_t node)
{
    const struct reserve_node *reserves = &reserve_node[node];
    uint64_t entries = node_entries(reserves), missing = 0;

    for (uint64_t i = 0; i < entries; i++) {
        uint64_t entry = load_relaxed(&reserves->pool[0].entry[i]);
        const char *broken = entry != 0 ? check_frame(node, entry - 1) : NULL;

        if (broken != NULL)
            return broken;
        missing += entry == 0;
    }
    return missing == load_relaxed(&reserves->missing) ? NULL : "a node's count of missing reserves is wrong";
}

/* What a CPU has cached, single frames and chunks, is in no reserve. */
static const char *check_cached(const struct frame_cpu *cpu)
{
    const char *broken = "a cached frame is in a reserve, too";

    for (uint32_t i = 0; i < load_relaxed(&cpu->chunk_count); i++) {
        if (reserve_holds(cpu->zone, cpu->first + cpu->chunks[i] * CHUNK_FRAMES, CHUNK_FRAMES))
            return broken;
    }
    for (unsigned i = 0; i < CACHE_STACKS; i++) {
        for (uint32_t j = 0; j < stack_count(&cpu->stack[i]); j++) {
            if (reserve_holds(cpu->zone, cpu->first + cpu->stack[i].frame[j], 1))
                return broken;
        }
    }
    return NULL;
}

const char *reserve_check(void)
{
    const char *broken = NULL;

    if (frame_system.zone_count == 0)
        return NULL;
    for (uint16_t node = 0; node < frame_system.topo->node_count && broken == NULL; node++)
        broken = check_node(node);
    for (uint32_t i = 0; i < frame_system.cpu_count && broken == NULL; i++)
        broken = check_cached(&frame_system.cpu[i]);
    return broken;
}
