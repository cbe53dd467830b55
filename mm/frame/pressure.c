/* SPDX-License-Identifier: MIT */
#include <mm/port.h>

#include "cache.h"
#include "pressure.h"

#define CPU_WORDS (TOPO_MAX_CPUS / WORD_BITS)

/* Nodes with a zone below high; a bit each. */
static _Atomic uint64_t marked;
_Static_assert(TOPO_MAX_NODES <= WORD_BITS, "a bit per node");

static _Atomic(frame_pressure_observer_t) observer;
static _Atomic(void *) observer_context;

static _Atomic(frame_reclaim_t) reclaimer;
static _Atomic(void *) reclaimer_context;
static _Atomic uint64_t inside[CPU_WORDS]; /* CPUs that are in the reclaimer */
static _Atomic uint64_t direct_calls, background_calls, reclaimed;

const char *frame_pressure_name(frame_pressure_t level)
{
    static const char *const name[FRAME_PRESSURES] = {"none", "low", "min", "critical"};

    return (unsigned)level < FRAME_PRESSURES ? name[level] : "unknown";
}

/* ---- Marks and protection ---------------------------------------------------------------------------------- */

/* min is 1/256 of the zone, but no more than 16 MiB: a reclaimer needs its time, however much memory there is. From
 * low to min it has the same amount again before anybody notices; from critical on, half of it, all must help. high is
 * as far above low, so that reclaim comes in batches. A zone of less than MARKED_MIN frames has no marks: 3 × MIN_LEAST
 * would be a good part of it. */
#define MIN_SHARE  256
#define MIN_MOST   (MIB(16) / FRAME_SIZE)
#define MIN_LEAST  16
#define MARKED_MIN 1024

static struct frame_watermarks marks_for(const struct zone *zone)
{
    uint64_t managed = load_relaxed(&zone->managed);
    uint64_t min = max_u64(min_u64(managed / MIN_SHARE, MIN_MOST), MIN_LEAST);

    if (managed < MARKED_MIN || zone->kind == ZONE_DEVICE)
        min = 0;
    return (struct frame_watermarks){.high = 3 * min, .low = 2 * min, .min = min, .critical = min / 2};
}

static void set_marks(struct zone *zone, const struct frame_watermarks *marks)
{
    struct pressure *pressure = &zone->pressure;

    store_relaxed(&pressure->high, marks->high);
    store_relaxed(&pressure->low, marks->low);
    store_relaxed(&pressure->min, marks->min);
    store_relaxed(&pressure->critical, marks->critical);
}

/* What a zone keeps from requests that could go to the zones of its node up to another kind. */
static void set_protection(struct zone *zone)
{
    uint64_t share = 0, most = load_relaxed(&zone->managed) / 2;

    for (unsigned kind = zone->kind + 1; kind <= ZONE_MOVABLE; kind++) {
        uint64_t ratio = kind <= ZONE_NORMAL ? FRAME_PROTECT_RATIO : FRAME_PROTECT_RATIO_HIGH;
        uint16_t index = frame_system.zone_of[zone->node][kind];

        if (index != ZONE_NONE)
            share += load_relaxed(&frame_system.zone[index].managed) / ratio;
        store_relaxed(&zone->pressure.protect[kind], min_u64(share, most));
    }
}

void pressure_settle(void)
{
    for (uint32_t i = 0; i < frame_system.zone_count; i++) {
        struct zone *zone = &frame_system.zone[i];
        struct frame_watermarks marks = marks_for(zone);

        if (load_relaxed(&zone->pressure.by_hand) == 0)
            set_marks(zone, &marks);
        set_protection(zone);
    }
}

/* Free frames, those in caches included. O(CPUs). */
static uint64_t available(const struct zone *zone)
{
    struct cache_sums caches = cache_sums(zone);

    return load_relaxed(&zone->free) - caches.taken + caches.cached;
}

bool pressure_leaves(const struct zone *zone, zone_kind_t top, uint64_t count, uint32_t flags)
{
    uint64_t rest = top != zone->kind ? load_relaxed(&zone->pressure.protect[top]) : 0;

    if ((flags & FRAME_SPECULATIVE) != 0) {
        if (load_relaxed(&zone->pressure.level) >= FRAME_PRESSURE_MIN)
            return false;
        rest = max_u64(rest, load_relaxed(&zone->pressure.min));
    }
    return rest == 0 || pressure_plenty(zone, rest + count) || available(zone) >= rest + count;
}

/* ---- Levels ------------------------------------------------------------------------------------------------ */

static uint32_t level_after(const struct pressure *pressure, uint32_t level, uint64_t free)
{
    uint32_t now = free < load_relaxed(&pressure->critical) ? FRAME_PRESSURE_CRITICAL
                   : free < load_relaxed(&pressure->min)    ? FRAME_PRESSURE_MIN
                   : free < load_relaxed(&pressure->low)    ? FRAME_PRESSURE_LOW
                                                            : FRAME_PRESSURE_NONE;

    if (free >= load_relaxed(&pressure->high))
        return FRAME_PRESSURE_NONE;
    return now > level ? now : level;
}

static void tell(struct zone *zone, uint32_t level, uint64_t free)
{
    const struct frame_pressure_event event = {
        .zone = (unsigned)(zone - frame_system.zone), .level = (frame_pressure_t)level, .free = free};
    frame_pressure_observer_t told = load_acquire(&observer);

    fetch_add(&zone->pressure.events[level], 1);
    if (told != NULL)
        told(load_relaxed(&observer_context), &event);
}

/* Brings the level up to date, and marks the node while there is one. Each step that the level makes is told by the
 * CPU that makes it. Repeated only when another CPU moves the level at the same moment. */
static void follow(struct zone *zone, uint64_t free)
{
    struct pressure *pressure = &zone->pressure;
    uint32_t level = load_relaxed(&pressure->level), now;
    uint64_t bit = UINT64_C(1) << zone->node;

    do {
        now = level_after(pressure, level, free);
    } while (now != level && !compare_exchange(&pressure->level, &level, now));
    if (now != FRAME_PRESSURE_NONE && (load_relaxed(&marked) & bit) == 0)
        fetch_or(&marked, bit);
    if (now < level)
        tell(zone, now, free);
    while (level < now) /* at most three steps */
        tell(zone, ++level, free);
}

/* ---- Reclaim ----------------------------------------------------------------------------------------------- */

static bool is_inside(unsigned cpu)
{
    return (load_relaxed(&inside[cpu / WORD_BITS]) >> cpu % WORD_BITS & 1) != 0;
}

/* One call of the reclaimer; 0: there is none, this CPU is inside it or in an interrupt handler, or nothing came. The bit is set before the
 * reclaimer is looked up, and who removes it looks at the bits afterwards. */
static uint64_t reclaim(uint16_t node, frame_pressure_t level, uint64_t wanted, _Atomic uint64_t *calls)
{
    unsigned cpu = port_cpu();
    uint64_t bit = UINT64_C(1) << cpu % WORD_BITS, freed = 0;
    frame_reclaim_t hook;

    if (load_relaxed(&reclaimer) == NULL || port_cache() == PORT_NO_CACHE || is_inside(cpu))
        return 0;
    fetch_or(&inside[cpu / WORD_BITS], bit);
    hook = load_seq_cst(&reclaimer);
    if (hook != NULL) {
        fetch_add(calls, 1);
        freed = hook(load_relaxed(&reclaimer_context), node, level, wanted);
        fetch_add(&reclaimed, freed);
    }
    fetch_and(&inside[cpu / WORD_BITS], ~bit);
    return freed;
}

bool pressure_has_reclaimer(void)
{
    return load_relaxed(&reclaimer) != NULL;
}

uint64_t pressure_reclaim(uint16_t node, uint64_t wanted)
{
    return reclaim(node, FRAME_PRESSURE_CRITICAL, wanted, &direct_calls);
}

/* Brings a node's levels up to date. Returns the highest, and how many frames its zones lack to high. */
static frame_pressure_t look_at(uint16_t node, uint64_t *wanted)
{
    uint32_t highest = FRAME_PRESSURE_NONE;

    *wanted = 0;
    for (unsigned kind = 0; kind < ZONE_KINDS; kind++) {
        uint16_t index = frame_system.zone_of[node][kind];
        struct zone *zone = index != ZONE_NONE ? &frame_system.zone[index] : NULL;
        uint64_t free;

        if (zone == NULL || load_relaxed(&zone->pressure.level) == FRAME_PRESSURE_NONE)
            continue;
        free = available(zone);
        follow(zone, free);
        if (free < load_relaxed(&zone->pressure.high))
            *wanted += load_relaxed(&zone->pressure.high) - free;
        highest = load_relaxed(&zone->pressure.level) > highest ? load_relaxed(&zone->pressure.level) : highest;
    }
    return (frame_pressure_t)highest;
}

static uint64_t relieve(uint16_t node)
{
    uint64_t freed, total = 0, wanted;

    for (unsigned round = 0; round < FRAME_BACKGROUND_ROUNDS; round++, total += freed) {
        frame_pressure_t level = look_at(node, &wanted);

        freed = wanted > 0 ? reclaim(node, level, wanted, &background_calls) : 0;
        if (freed == 0)
            break;
    }
    /* What was still lacking marks the node again: good if something came of it, else the next allocation does. */
    if (total > 0)
        (void)look_at(node, &wanted);
    else
        fetch_and(&marked, ~(UINT64_C(1) << node));
    return total;
}

uint64_t frame_reclaim_background(void)
{
    uint64_t total = 0;

    if (load_relaxed(&marked) == 0 || load_relaxed(&reclaimer) == NULL)
        return 0;
    for (uint64_t nodes = exchange(&marked, 0); nodes != 0; nodes &= nodes - 1)
        total += relieve((uint16_t)bit_lowest(nodes));
    return total;
}

/* ---- After each call --------------------------------------------------------------------------------------- */

bool pressure_after_taking(struct zone *zone)
{
    uint64_t free;

    if (reserve_short(zone->node) && load_relaxed(&zone->pressure.level) < FRAME_PRESSURE_MIN)
        reserve_refill(zone->node);
    free = available(zone);
    follow(zone, free);
    return free < load_relaxed(&zone->pressure.critical);
}

void pressure_relieve(struct zone *zone)
{
    uint64_t free = available(zone), high = load_relaxed(&zone->pressure.high);

    if (free < high)
        (void)reclaim(zone->node, FRAME_PRESSURE_CRITICAL, high - free, &direct_calls);
}

void pressure_after_giving(struct zone *zone)
{
    if (reserve_short(zone->node))
        reserve_refill(zone->node);
    if (load_relaxed(&zone->pressure.level) != FRAME_PRESSURE_NONE)
        follow(zone, available(zone));
}

/* ---- The public part --------------------------------------------------------------------------------------- */

void frame_pressure_info(unsigned index, struct frame_pressure_info *info)
{
    const struct zone *zone = &frame_system.zone[index];
    const struct pressure *pressure = &zone->pressure;

    *info = (struct frame_pressure_info){
        .marks = {.high = load_relaxed(&pressure->high),
                  .low = load_relaxed(&pressure->low),
                  .min = load_relaxed(&pressure->min),
                  .critical = load_relaxed(&pressure->critical)},
        .level = (frame_pressure_t)load_relaxed(&pressure->level),
        .free = available(zone),
    };
    for (unsigned level = 0; level < FRAME_PRESSURES; level++)
        info->events[level] = load_relaxed(&pressure->events[level]);
    for (unsigned kind = 0; kind < ZONE_KINDS; kind++)
        info->protect[kind] = load_relaxed(&pressure->protect[kind]);
}

static bool in_order(const struct frame_watermarks *marks)
{
    if (marks->high == 0)
        return (marks->low | marks->min | marks->critical) == 0;
    return marks->high > marks->low && marks->low > marks->min && marks->min > marks->critical;
}

status_t frame_watermarks_set(unsigned index, const struct frame_watermarks *marks)
{
    struct zone *zone = &frame_system.zone[index];
    struct frame_watermarks own = marks_for(zone);

    if (marks != NULL && !in_order(marks))
        return ERR_INVALID;
    store_relaxed(&zone->pressure.by_hand, marks != NULL);
    set_marks(zone, marks != NULL ? marks : &own);
    follow(zone, available(zone));
    return OK;
}

void frame_pressure_observe(frame_pressure_observer_t told, void *context)
{
    store_relaxed(&observer_context, context);
    store_release(&observer, told);
}

status_t frame_reclaim_register(frame_reclaim_t hook, void *context)
{
    if (is_inside(port_cpu()) || (hook != NULL && load_relaxed(&reclaimer) != NULL))
        return ERR_BUSY;
    if (hook != NULL)
        store_relaxed(&reclaimer_context, context);
    (void)exchange(&reclaimer, hook);
    for (unsigned i = 0; hook == NULL && i < CPU_WORDS; i++) {
        while (load_seq_cst(&inside[i]) != 0) /* bound: a call of the former reclaimer by each CPU */
            port_cpu_relax();
    }
    return OK;
}

void frame_reclaim_info(struct frame_reclaim_info *info)
{
    *info = (struct frame_reclaim_info){.direct = load_relaxed(&direct_calls),
                                        .background = load_relaxed(&background_calls),
                                        .frames = load_relaxed(&reclaimed)};
}
