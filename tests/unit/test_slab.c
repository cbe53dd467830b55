/* SPDX-License-Identifier: MIT
 *
 * Slab caches: objects apart and aligned, state kept, memory given back, frees by other CPUs, wrong frees, no memory.
 */
#include <string.h>

#include <mm/atomic.h>
#include <mm/port.h>
#include <mm/slab.h>

#include "frame_support.h"

struct thing {
    uint64_t magic; /* from the constructor; users keep it */
    uint64_t salt;
    uint64_t body[6];
};

#define MAGIC UINT64_C(0x51ab51ab51ab51ab)

static _Atomic uint64_t constructed, destructed;

static void construct(void *object)
{
    struct thing *thing = object;

    memset(thing, 0, sizeof(*thing));
    thing->magic = MAGIC;
    fetch_add(&constructed, 1);
}

static void destruct(void *object)
{
    struct thing *thing = object;

    if (thing->magic == MAGIC)
        fetch_add(&destructed, 1);
    thing->magic = 0;
}

/* Caches stay for ever, tests may run twice. */
static struct slab_cache *things(void)
{
    static const struct slab_type type = {.name = "thing", .size = sizeof(struct thing), .construct = construct,
                                          .destruct = destruct};
    static struct slab_cache cache;

    return cache.cpu != NULL || slab_cache_init(&cache, &type) == OK ? &cache : NULL;
}

static void offline_body(void *context, unsigned index)
{
    (void)context, (void)index;
    slab_cpu_offline(port_cpu());
}

/* Everything that is free goes back: what CPUs hold, then the depot, then slabs. */
static void give_all_back(void)
{
    test_parallel(test_cpus(), offline_body, NULL);
    (void)slab_shrink_all();
}

static uint64_t in_use(struct slab_cache *cache)
{
    struct slab_stats stats;

    slab_cache_stats(cache, &stats);
    return stats.objects - stats.in_slabs - stats.in_depot - stats.in_cpus;
}

TEST(slab, types_out_of_range_are_refused)
{
    static const struct slab_type bad[] = {
        {.name = "none", .size = 0},
        {.name = "large", .size = SLAB_SIZE_MAX + 1},
        {.name = "three", .size = 8, .align = 3},
        {.name = "far", .size = 8, .align = 2 * SLAB_ALIGN_MAX},
    };
    uint64_t before = frame_free_count();
    struct slab_cache cache;

    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_EQ(slab_cache_init(&cache, &bad[i]), ERR_INVALID);
    CHECK(things() != NULL);
    give_all_back();
    CHECK(frame_free_count() <= before);
}

#define HELD 700

/* Objects of all sizes, each written from end to end, overlap nowhere. */
TEST(slab, objects_are_apart)
{
    static const struct slab_type types[] = {
        {.name = "1", .size = 1},           {.name = "24", .size = 24},
        {.name = "64", .size = 64, .align = 64}, {.name = "100", .size = 100, .align = 16},
        {.name = "500", .size = 500},       {.name = "1032", .size = 1032, .align = 4096},
        {.name = "4096", .size = 4096},     {.name = "8192", .size = 8192, .align = 4096},
    };
    static struct slab_cache cache[ARRAY_LEN(types)];
    static uint8_t *held[HELD];
    uint64_t before;

    for (unsigned i = 0; i < ARRAY_LEN(types); i++)
        CHECK(cache[i].cpu != NULL || slab_cache_init(&cache[i], &types[i]) == OK);
    give_all_back();
    before = frame_free_count();
    for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
        uint32_t size = types[i].size, align = types[i].align != 0 ? types[i].align : 8;
        unsigned count = size > 1000 ? HELD / 10 : HELD;

        for (unsigned j = 0; j < count; j++) {
            CHECK_EQ(slab_alloc(&cache[i], (void **)&held[j]), OK);
            CHECK(is_aligned((uintptr_t)held[j], align));
            memset(held[j], (int)(j % 251), size);
        }
        CHECK(in_use(&cache[i]) >= count);
        for (unsigned j = 0; j < count; j++) {
            for (uint32_t k = 0; k < size; k++)
                CHECK_EQ(held[j][k], j % 251);
            slab_free(&cache[i], held[j]);
        }
        give_all_back();
        CHECK_EQ(in_use(&cache[i]), 0);
        CHECK(slab_check(&cache[i]) == NULL);
        CHECK_RESTORED(before);
    }
}

TEST(slab, constructed_state_is_kept)
{
    struct slab_cache *cache = things();
    static struct thing *held[HELD];
    struct slab_stats stats;
    uint64_t made;

    CHECK(cache != NULL);
    give_all_back();
    CHECK_EQ(load_relaxed(&constructed), load_relaxed(&destructed));
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < HELD; i++) {
            CHECK_EQ(slab_alloc(cache, (void **)&held[i]), OK);
            CHECK_EQ(held[i]->magic, MAGIC);
            held[i]->salt = i;
        }
        slab_cache_stats(cache, &stats);
        made = load_relaxed(&constructed) - load_relaxed(&destructed);
        CHECK_EQ(made, stats.objects); /* once each, not once an allocation */
        for (unsigned i = HELD; i-- > 0;) {
            CHECK_EQ(held[i]->salt, i);
            slab_free(cache, held[i]);
        }
    }
    give_all_back();
    CHECK_EQ(load_relaxed(&constructed), load_relaxed(&destructed));
    CHECK(slab_check(cache) == NULL);
}

/* ---- Storm ------------------------------------------------------------------------------------------------ */

#define SLOTS 512

static struct {
    _Atomic(struct thing *) slot[SLOTS];
    _Atomic unsigned wrong, refused;
} exchange_place;

/* Puts objects into slots and takes out what others have put there: most are freed by another CPU. */
static void storm(void *context, unsigned index)
{
    struct slab_cache *cache = context;
    uint64_t seed = 77 + index;

    for (unsigned i = 0; i < ROUNDS(4000, 200000); i++) {
        uint64_t pick = test_random(&seed);
        struct thing *thing = NULL;

        if (pick % 8 != 0 && slab_alloc(cache, (void **)&thing) != OK)
            fetch_add(&exchange_place.refused, 1);
        if (thing != NULL) {
            if (thing->magic != MAGIC || thing->body[5] != 0)
                fetch_add(&exchange_place.wrong, 1);
            thing->body[5] = thing->salt = pick | 1;
        }
        thing = atomic_exchange_explicit(&exchange_place.slot[pick / 8 % SLOTS], thing, memory_order_acq_rel);
        if (thing != NULL) {
            if (thing->body[5] != thing->salt)
                fetch_add(&exchange_place.wrong, 1);
            thing->body[5] = 0;
            slab_free(cache, thing);
        }
        if (pick >> 54 == 0)
            (void)slab_shrink(cache);
    }
}

TEST(slab, storm_on_all_cpus)
{
    struct slab_cache *cache = things();
    uint64_t before;

    CHECK(cache != NULL);
    give_all_back();
    before = frame_free_count();
    store_relaxed(&exchange_place.wrong, 0);
    store_relaxed(&exchange_place.refused, 0);
    test_parallel(test_cpus(), storm, cache);
    for (unsigned i = 0; i < SLOTS; i++) {
        struct thing *thing = atomic_exchange(&exchange_place.slot[i], NULL);

        if (thing != NULL) {
            thing->body[5] = 0;
            slab_free(cache, thing);
        }
    }
    CHECK_EQ(load_relaxed(&exchange_place.wrong), 0);
    CHECK_EQ(load_relaxed(&exchange_place.refused), 0);
    give_all_back();
    CHECK_EQ(in_use(cache), 0);
    CHECK(slab_check(cache) == NULL);
    CHECK_RESTORED(before);
}

/* ---- Bad times -------------------------------------------------------------------------------------------- */

/* Objects of the slabs that are there can be had to the last; then the request fails, and frees still work. */
TEST(slab, without_memory)
{
    struct slab_cache *cache = things();
    struct chain all = {0};
    struct thing *top = NULL, *thing;
    uint64_t before, got = 0;
    bool ended = false;

    CHECK(cache != NULL);
    give_all_back();
    before = frame_free_count();
    CHECK_EQ(slab_alloc(cache, (void **)&thing), OK);
    chain_take_all(&all, ANY_FRAMES(1), 9);
    slab_free(cache, thing);
    for (; !ended && got < 10000; got++) { /* some frames may have come back meanwhile; not so many */
        ended = slab_alloc(cache, (void **)&thing) == ERR_NO_MEMORY;
        if (!ended) {
            thing->salt = (uintptr_t)top;
            top = thing;
        }
    }
    for (; top != NULL; top = thing) {
        thing = (struct thing *)(uintptr_t)top->salt;
        slab_free(cache, top);
    }
    chain_free_all(&all);
    CHECK(ended);
    CHECK(got > 1);
    give_all_back();
    CHECK(slab_check(cache) == NULL);
    CHECK_RESTORED(before);
}

TEST(slab, wrong_frees_are_reported)
{
    struct slab_cache *cache = things();
    unsigned reports = test_reports();
    struct thing *thing;

    CHECK(cache != NULL);
    CHECK_EQ(slab_alloc(cache, (void **)&thing), OK);
    slab_free(cache, thing);
    slab_free(cache, thing); /* twice */
    give_all_back();
    CHECK_EQ(test_reports(), reports + 1);
    CHECK(test_last_report_says("freed as thing"));
    CHECK_EQ(slab_alloc(cache, (void **)&thing), OK);
    slab_free(cache, (uint8_t *)thing + 8); /* not its beginning */
    give_all_back();
    CHECK_EQ(test_reports(), reports + 2);
    slab_free(cache, thing);
    give_all_back();
    CHECK_EQ(test_reports(), reports + 2);
    CHECK_EQ(in_use(cache), 0);
    CHECK(slab_check(cache) == NULL);
}

/* A CPU that frees what it allocates has to do with nobody, also at the border of its magazine. */
TEST(slab, magazines_do_not_thrash)
{
    struct slab_cache *cache = things();
    static void *held[3 * 30];
    struct slab_stats before, after;
    void *object;

    CHECK(cache != NULL);
    give_all_back();
    for (unsigned fill = 0; fill < ARRAY_LEN(held); fill++) {
        CHECK_EQ(slab_alloc(cache, &held[fill]), OK);
        slab_cache_stats(cache, &before);
        for (unsigned i = 0; i < 100; i++) {
            CHECK_EQ(slab_alloc(cache, &object), OK);
            slab_free(cache, object);
        }
        slab_cache_stats(cache, &after);
        CHECK(after.objects - after.in_slabs <= before.objects - before.in_slabs + 16); /* filled once at most */
        CHECK_EQ(after.in_depot, before.in_depot);
    }
    for (unsigned i = 0; i < ARRAY_LEN(held); i++)
        slab_free(cache, held[i]);
    give_all_back();
    CHECK_EQ(in_use(cache), 0);
}
