/* SPDX-License-Identifier: MIT
 *
 * Slab caches: objects apart and aligned, state kept, memory given back, frees by other CPUs, wrong frees, no memory.
 */
#include <string.h>

#include <mm/atomic.h>
#include <mm/frame_info.h>
#include <mm/frame_pressure.h>
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

/* Objects of a page: slabs are single frames, and their headers lie elsewhere. */
static struct slab_cache *pages(void)
{
    static const struct slab_type type = {.name = "page", .size = FRAME_SIZE, .align = FRAME_SIZE};
    static struct slab_cache cache;

    return cache.cpu != NULL || slab_cache_init(&cache, &type) == OK ? &cache : NULL;
}

/* With so many frames left: one page is allocated, `more` are freed. What the first needs is a frame for a magazine,
 * one for the page and one for its header; each fails in turn. */
static status_t with_frames(uint64_t frames, void **held, unsigned more, void **object)
{
    struct slab_cache *cache = pages();
    struct chain kept = {0}, all = {0};
    status_t status;
    pfn_t frame;

    for (uint64_t i = 0; i < frames; i++) {
        if (frame_alloc_one(0, &frame) == OK)
            chain_push(&kept, frame, 1);
    }
    chain_take_all(&all, ANY_FRAMES(1), 9);
    chain_free_all(&kept);
    status = slab_alloc(cache, object);
    for (unsigned i = 0; i < more; i++)
        slab_free(cache, held[i]);
    chain_free_all(&all);
    return status;
}

TEST(slab, each_allocation_of_frames_fails_in_turn)
{
    struct slab_cache *cache = pages();
    void *held[8], *object = NULL;
    uint64_t before;
    unsigned refused = 0;
    bool served = false;

    CHECK(cache != NULL);
    give_all_back();
    before = frame_free_count();
    for (unsigned round = 0; round < 8; round++) {
        uint64_t frames = round / 2;
        unsigned more = round % 2 == 0 ? 0 : (unsigned)ARRAY_LEN(held);

        for (unsigned i = 0; i < more; i++)
            CHECK_EQ(slab_alloc(cache, &held[i]), OK);
        slab_cpu_offline(port_cpu()); /* so that frees need a magazine, too */
        (void)slab_shrink_all();
        switch (with_frames(frames, held, more, &object)) {
        case OK:
            served = true;
            CHECK(is_aligned((uintptr_t)object, FRAME_SIZE));
            slab_free(cache, object);
            break;
        case ERR_NO_MEMORY:
            refused++;
            break;
        default:
            CHECK(false);
        }
        CHECK(slab_check(cache) == NULL);
        give_all_back();
        CHECK_EQ(in_use(cache), 0);
        CHECK_RESTORED(before);
    }
    CHECK(refused >= 2 && served);
}

/* ---- Under pressure ---------------------------------------------------------------------------------------- */

static struct {
    struct slab_cache *cache;
    void *held[400]; /* which the reclaimer frees: whoever called it must not lose them */
    unsigned count, calls;
} pressed;

static uint64_t reclaim(void *context, uint16_t node, frame_pressure_t pressure, uint64_t wanted)
{
    uint64_t frames = slab_shrink_all();

    (void)context, (void)node, (void)pressure, (void)wanted;
    pressed.calls++;
    while (pressed.count > 0) /* some stay in this CPU's magazines */
        slab_free(pressed.cache, pressed.held[--pressed.count]);
    return frames;
}

/* When the last frame is gone, pages that nobody uses make room for things, and the other way round. */
TEST(slab, shrinks_under_pressure)
{
    struct slab_cache *from = pages();
    struct chain all = {0};
    void *held[20], *object = NULL;
    uint64_t before;
    status_t status = OK, registered, removed;

    pressed.cache = things();
    pressed.calls = pressed.count = 0;
    CHECK(from != NULL && pressed.cache != NULL);
    give_all_back();
    before = frame_free_count();
    for (unsigned i = 0; i < ARRAY_LEN(held); i++)
        CHECK_EQ(slab_alloc(from, &held[i]), OK);
    for (; pressed.count < 3 * 30; pressed.count++)
        CHECK_EQ(slab_alloc(pressed.cache, &pressed.held[pressed.count]), OK);
    slab_cpu_offline(port_cpu());
    (void)slab_shrink_all();
    chain_take_all(&all, ANY_FRAMES(1), 9);
    for (unsigned i = 0; i < ARRAY_LEN(held); i++)
        slab_free(from, held[i]);
    registered = frame_reclaim_register(reclaim, NULL);
    while (status == OK && pressed.calls == 0 && pressed.count < ARRAY_LEN(pressed.held)) {
        status = slab_alloc(pressed.cache, &object);
        if (status == OK && pressed.calls == 0)
            pressed.held[pressed.count++] = object;
    }
    removed = frame_reclaim_register(NULL, NULL);
    chain_free_all(&all);
    CHECK(registered == OK && removed == OK);
    CHECK_EQ(status, OK);
    CHECK(pressed.calls > 0);
    slab_free(pressed.cache, object);
    give_all_back();
    CHECK_EQ(in_use(from), 0);
    CHECK_EQ(in_use(pressed.cache), 0);
    CHECK(slab_check(pressed.cache) == NULL && slab_check(from) == NULL);
    CHECK_RESTORED(before);
}

/* What CPUs free is kept for them and others, but not without end. */
TEST(slab, depots_are_bounded)
{
    struct slab_cache *cache = pages();
    static void *held[1000];
    struct slab_stats stats;
    unsigned count;
    bool none_left;

    CHECK(cache != NULL);
    give_all_back();
    for (count = 0; count < ARRAY_LEN(held) && slab_alloc(cache, &held[count]) == OK; count++)
        continue;
    none_left = count < ARRAY_LEN(held);
    while (count > 0)
        slab_free(cache, held[--count]);
    slab_cache_stats(cache, &stats);
    CHECK(!none_left);
    CHECK_EQ(stats.in_slabs + stats.in_depot + stats.in_cpus, stats.objects);
    CHECK((stats.in_depot > 0 || frame_debug() != 0) && stats.in_depot <= 4 * 6 * (uint64_t)frame_topo()->cpu_count);
    CHECK(stats.objects <= stats.in_depot + 2 * 6 + 2);
    CHECK(slab_check(cache) == NULL);
    give_all_back();
    CHECK_EQ(in_use(cache), 0);
}

/* ---- Misuse ------------------------------------------------------------------------------------------------ */

/* Frees what must not be freed. Whether that is reported, at the latest when CPUs give back what they have. */
static bool refused(struct slab_cache *cache, void *object, const char *why)
{
    unsigned reports = test_reports();

    slab_free(cache, object);
    if (frame_debug() == 0)
        give_all_back();
    return test_reports() == reports + 1 && test_last_report_says("was freed as thing") && test_last_report_says(why);
}

TEST(slab, wrong_frees_are_reported)
{
    static struct thing elsewhere;
    struct slab_cache *cache = things();
    struct thing *thing, *other;
    unsigned debug = frame_debug();
    struct frame_info *info;
    void *page;
    pfn_t frame;

    CHECK(cache != NULL && pages() != NULL);
    give_all_back();
    CHECK_EQ(slab_alloc(pages(), &page), OK);
    CHECK_EQ(frame_alloc_one(0, &frame), OK);
    for (unsigned flags = 0; flags <= FRAME_DEBUG_OWNER; flags += FRAME_DEBUG_OWNER) {
        CHECK_EQ(frame_debug_set(flags), OK);
        CHECK_EQ(slab_alloc(cache, (void **)&thing), OK);
        CHECK(refused(cache, (uint8_t *)thing + 8, "no object begins there"));
        CHECK(refused(cache, (void *)align_down((uintptr_t)thing, FRAME_SIZE), "no object begins there"));
        CHECK(refused(cache, page, "another cache's"));
        CHECK(refused(cache, port_phys_to_virt(paddr_of(frame)), "no object"));
        CHECK(refused(cache, &elsewhere, "no object"));
        CHECK_EQ(slab_alloc(cache, (void **)&other), OK); /* keeps the slab */
        slab_free(cache, thing);
        CHECK(refused(cache, thing, "it is free"));
        CHECK(slab_check(cache) == NULL);
        slab_free(cache, other);
        give_all_back();
        CHECK_EQ(in_use(cache), 0);
        info = frame_info(pfn_of(port_virt_to_phys(thing))); /* the frame is no slab's any more */
        CHECK(load_relaxed(&info->type) != FRAME_TYPE_SLAB && load_relaxed(&info->owner) == 0);
    }
    CHECK_EQ(frame_debug_set(debug), OK);
    CHECK_EQ(frame_free(frame, 1), OK);
    slab_free(pages(), page);
    give_all_back();
    CHECK_EQ(in_use(pages()), 0);
}

/* An object in a CPU's magazine and in its slab, or in two magazines. */
TEST(slab, check_finds_objects_in_two_places)
{
    struct slab_cache *cache = things();
    struct thing *thing;

    if (frame_debug() != 0)
        SKIP("there are no magazines in debug modes");
    CHECK(cache != NULL);
    give_all_back();
    CHECK_EQ(slab_alloc(cache, (void **)&thing), OK);
    CHECK(slab_check(cache) == NULL);
    slab_free(cache, thing);
    slab_free(cache, thing);
    CHECK(slab_check(cache) != NULL);
    CHECK(slab_check(cache) != NULL); /* which changes nothing */
    give_all_back(); /* and is reported */
    CHECK(slab_check(cache) == NULL);
    CHECK_EQ(in_use(cache), 0);
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

/* The same for bursts that pass the end of a magazine: two are enough for them. */
TEST(slab, bursts_stay_on_their_cpu)
{
    struct slab_cache *cache = things();
    static void *held[31];
    struct slab_stats stats[2];

    if (frame_debug() != 0)
        SKIP("there are no magazines in debug modes");
    CHECK(cache != NULL);
    give_all_back();
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < ARRAY_LEN(held); i++)
            CHECK_EQ(slab_alloc(cache, &held[i]), OK);
        slab_cache_stats(cache, &stats[0]);
        CHECK(round == 0 || (stats[0].in_slabs == stats[1].in_slabs && stats[0].in_depot == stats[1].in_depot));
        for (unsigned i = 0; i < ARRAY_LEN(held); i++)
            slab_free(cache, held[i]);
        slab_cache_stats(cache, &stats[1]);
        CHECK(stats[0].in_slabs == stats[1].in_slabs && stats[0].in_depot == stats[1].in_depot);
    }
    give_all_back();
    CHECK_EQ(in_use(cache), 0);
}
