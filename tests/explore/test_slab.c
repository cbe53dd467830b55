/* SPDX-License-Identifier: MIT
 *
 * mm/slab: what CPUs hand each other through the depot and through slabs, memory that is given back meanwhile, CPUs that
 * stop, and interrupts. Objects are so large that a magazine has six, and
 * slabs, of two frames, seven.
 */
#include <string.h>

#include <mm/frame_info.h>
#include <mm/port.h>

#include "../../mm/slab/slab.h"
#include "machine.h"

struct thing {
    uint64_t magic; /* from the constructor */
    uint64_t held;  /* while somebody has it */
    uint8_t body[1144];
};

#define MAGIC  UINT64_C(0x51ab51ab51ab51ab)
#define ROUNDS 6
#define HELD   40

static struct slab_cache cache_of_things, *const cache = &cache_of_things;
static struct thing *held[HELD]; /* by whomever */

/* ---- Things ------------------------------------------------------------------------------------------------ */

static void construct(void *object)
{
    struct thing *thing = object;

    thing->magic = MAGIC;
    thing->held = 0;
}

static void destruct(void *object)
{
    struct thing *thing = object;

    EXPLORE_CHECK(thing->magic == MAGIC && !thing->held);
    thing->magic = 0;
}

static void enter(struct thing *thing)
{
    unsigned i = 0;

    while (i < HELD && held[i] != NULL)
        i++;
    EXPLORE_CHECK(i < HELD);
    held[i] = thing;
}

static bool take(void)
{
    void *object;
    struct thing *thing;

    if (slab_alloc(cache, &object) != OK)
        return false;
    thing = object;
    if (thing->magic != MAGIC || thing->held != 0)
        explore_fail("an object is %s", thing->held != 0 ? "handed out twice" : "not constructed");
    thing->held = 1;
    enter(thing);
    return true;
}

static void need(void)
{
    EXPLORE_CHECK(take());
}

static void give(void)
{
    unsigned i = 0;
    struct thing *thing;

    while (i < HELD && held[i] == NULL)
        i++;
    EXPLORE_CHECK(i < HELD);
    thing = held[i];
    held[i] = NULL;
    thing->held = 0;
    slab_free(cache, thing);
}

static void need_and_give(void)
{
    need();
    give();
}

static void need_2(void)
{
    need();
    need();
}

static void shrink(void)
{
    (void)slab_shrink(cache);
}

static void shrink_all(void)
{
    (void)slab_shrink_all();
}

/* CPU 2 runs no thread where this is used. */
static void cpu_2_is_gone(void)
{
    slab_cpu_offline(2);
}

static void this_cpu_is_gone(void)
{
    slab_cpu_offline(port_cpu());
}

/* ---- How they begin and end -------------------------------------------------------------------------------- */

/* A new machine with a new cache. */
static void start(void)
{
    static const struct slab_type type = {
        .name = "thing", .size = sizeof(struct thing), .construct = construct, .destruct = destruct};

    machine_start_with_memory(1);
    memset(held, 0, sizeof(held));
    memset(&slab_headers, 0, sizeof(slab_headers));
    memset(&slab_magazines, 0, sizeof(slab_magazines));
    store_relaxed(&slab_caches, (struct slab_cache *)0);
    EXPLORE_CHECK(slab_cache_init(cache, &type) == OK);
    EXPLORE_CHECK(cache->rounds == ROUNDS && cache->per_slab == 7);
}

static void as_cpu(unsigned cpu, unsigned times, void (*what)(void))
{
    explore_be_cpu(cpu);
    while (times-- > 0)
        what();
}

static void check(struct slab_cache *checked, uint64_t in_use)
{
    const char *broken = slab_check(checked);
    struct slab_stats stats;

    if (broken != NULL)
        explore_fail("%s: %s", checked->type.name, broken);
    slab_cache_stats(checked, &stats);
    if (stats.objects - stats.in_slabs - stats.in_depot - stats.in_cpus != in_use)
        explore_fail("%s: %llu objects are in use, expected %llu", checked->type.name,
                     (unsigned long long)(stats.objects - stats.in_slabs - stats.in_depot - stats.in_cpus),
                     (unsigned long long)in_use);
}

static void all_back(void)
{
    struct slab_stats stats;

    check(&slab_headers, 0);
    check(&slab_magazines, 0);
    slab_cache_stats(cache, &stats);
    EXPLORE_CHECK(stats.objects == 0);
    EXPLORE_CHECK(frame_free(pfn_of(port_virt_to_phys(cache->cpu)), 1) == OK);
    machine_finish();
}

static uint64_t count_held(void)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < HELD; i++)
        count += held[i] != NULL;
    return count;
}

/* All objects are where they are said to be; when all are given back and the cache is shrunk, all memory is free once
 * CPUs have rested. */
static void finish(void)
{
    uint64_t count = count_held();

    check(cache, count);
    as_cpu(0, (unsigned)count, give);
    shrink_all();
    for (unsigned cpu = 0; cpu < EXPLORE_THREADS; cpu++)
        as_cpu(cpu, 1, slab_rest);
    as_cpu(0, 1, shrink_all);
    all_back();
}

/* ---- Scenarios --------------------------------------------------------------------------------------------- */

/* The depot has a full magazine and CPU 0 none; CPU 1 has two full ones and holds objects, CPU 2 has some free ones. */
static void depot_with_one(void)
{
    start();
    as_cpu(2, 1, need_and_give);
    as_cpu(1, 3 * ROUNDS + 1, need);
    while (cache->magazines_full == 0) /* bound: what is held */
        give();
    while (load_relaxed(&cache->cpu[1].top) != cache->cpu[1].end) /* bound: one magazine */
        give();
    EXPLORE_CHECK(count_held() > 0 && load_relaxed(&cache->cpu[1].spare) == ROUNDS);
    explore_be_cpu(0);
}

/* All objects of the one slab are in use but the last. */
static void last_object(void)
{
    start();
    as_cpu(0, cache->per_slab - 1, need);
    slab_cpu_offline(0);
}

/* The depot has a full magazine, and there is an empty slab; CPU 1 has an empty magazine. */
static void much_to_shrink(void)
{
    start();
    as_cpu(1, 2 * ROUNDS, need);
    while (cache->magazines_full == 0)
        give();
    slab_cpu_offline(1);
    explore_be_cpu(0);
}

SCENARIO(slab, alloc_against_free_through_depot, .setup = depot_with_one, .body = {need, give}, .finish = finish);
SCENARIO(slab, two_allocs, .setup = last_object, .body = {need, need}, .finish = finish);
SCENARIO(slab, alloc_against_free_in_slab, .setup = last_object, .body = {need_2, give}, .finish = finish);
SCENARIO(slab, shrink_against_alloc, .setup = depot_with_one, .body = {shrink, need}, .finish = finish);
SCENARIO(slab, shrink_against_free, .setup = depot_with_one, .body = {shrink, give}, .finish = finish);
SCENARIO(slab, shrink_against_first_alloc, .setup = much_to_shrink, .body = {need, shrink}, .finish = finish);
SCENARIO(slab, shrink_against_rest, .setup = depot_with_one, .body = {shrink, slab_rest}, .finish = finish);
SCENARIO(slab, shrink_against_shrink, .setup = much_to_shrink, .body = {shrink_all, shrink_all}, .finish = finish);
SCENARIO(slab, offline_against_free, .setup = depot_with_one, .body = {cpu_2_is_gone, give}, .finish = finish);
SCENARIO(slab, offline_against_alloc, .setup = depot_with_one, .body = {cpu_2_is_gone, need}, .finish = finish);
SCENARIO(slab, own_offline_against_shrink, .setup = depot_with_one, .body = {shrink, this_cpu_is_gone}, .finish = finish);

SCENARIO(slab, interrupted_pair, .setup = depot_with_one, .body = {need_and_give}, .interrupt = need_and_give,
         .finish = finish);
SCENARIO(slab, interrupted_shrink, .setup = depot_with_one, .body = {shrink}, .interrupt = need_and_give, .finish = finish);
SCENARIO(slab, interrupted_free, .setup = last_object, .body = {need_and_give, need}, .interrupt = need, .finish = finish);

/* ---- Misuse ------------------------------------------------------------------------------------------------ */

static struct thing *twice;

static void one_without_magazines(void)
{
    last_object();
    EXPLORE_CHECK(frame_debug_set(FRAME_DEBUG_OWNER) == OK);
    twice = held[0];
}

static void give_twice(void)
{
    held[0] = NULL;
    twice->held = 0;
    slab_free(cache, twice);
}

/* One of the two frees was refused, and nothing is broken. */
static void finish_twice(void)
{
    EXPLORE_CHECK(explore_reports() == 1);
    EXPLORE_CHECK(frame_debug_set(0) == OK);
    finish();
}

SCENARIO(slab, double_free, .setup = one_without_magazines, .body = {give_twice, give_twice}, .finish = finish_twice,
         .misuse = true);
