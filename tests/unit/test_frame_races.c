/* SPDX-License-Identifier: MIT
 *
 * Two races of the frame allocator that are decided by the order in which a CPU's stores and loads reach the others, run
 * again and again. The interleaving explorer cannot see them (docs/verification.md).
 */
#include <stdatomic.h>

#include <mm/frame_info.h>
#include <mm/port.h>

#include "frame_support.h"

/* Far fewer where every frame is filled and verified: that sets the pace of the CPUs, then. */
static unsigned rounds(unsigned usual)
{
    return frame_debug() != 0 ? 1 + usual / 32 : usual;
}

/* ---- A chunk is broken while it is taken out of the same place of the listing ---------------------------- */

#define RACE_CHUNKS 48
#define HALF        (CHUNK_FRAMES / 2)

/* CPU 0 has the last frame of each chunk and frees it, which makes the chunk whole: it leaves the place of those that
 * have a free block of 256 frames. CPU 1 waits for that to take the second half: the chunk is broken, and belongs in that
 * place again. Whoever of the two looks last must find what the other has done. frame_check() sees a chunk that is
 * in no place; it would be healed by the next change, so one follows upon each round. */
struct break_race {
    pfn_t chunk[RACE_CHUNKS];
    unsigned chunks, rounds;
    _Atomic uint64_t go, freed, taken; /* chunks so far: about to be freed, freed; dealt with by CPU 1 */
    _Atomic unsigned refused;
    const char *broken;
};

static struct frame_request part_of(pfn_t chunk, uint64_t at, uint64_t count)
{
    struct frame_request request = ANY_FRAMES(count);

    request.flags = FRAME_AT | FRAME_SPECULATIVE; /* refused without further ado */
    request.at = pfn(chunk.v + at);
    return request;
}

/* Bound: what the other CPU does between two steps of the race; it may have lost its processor. */
static void wait_for(_Atomic uint64_t *counter, uint64_t least)
{
    for (unsigned spins = 0; atomic_load(counter) < least; spins++) {
        if (spins > 1000)
            port_cpu_relax();
    }
}

static void take_part(struct break_race *race, pfn_t chunk, uint64_t at, uint64_t count)
{
    struct frame_request request = part_of(chunk, at, count);
    pfn_t first;

    atomic_fetch_add(&race->refused, frame_alloc(&request, &first) != OK);
}

static void free_part(struct break_race *race, pfn_t chunk, uint64_t at, uint64_t count)
{
    atomic_fetch_add(&race->refused, frame_free(pfn(chunk.v + at), count) != OK);
}

/* All chunks once. `before`: chunks of earlier rounds. */
static void make_whole(struct break_race *race, uint64_t before)
{
    for (unsigned i = 0; i < race->chunks; i++)
        take_part(race, race->chunk[i], CHUNK_FRAMES - 1, 1);
    for (unsigned i = 0; i < race->chunks; i++) {
        atomic_store(&race->go, before + i + 1);
        free_part(race, race->chunk[i], CHUNK_FRAMES - 1, 1);
        atomic_store(&race->freed, before + i + 1);
        wait_for(&race->taken, before + i + 1);
    }
    if (race->broken == NULL)
        race->broken = frame_check();
    for (unsigned i = 0; i < race->chunks; i++)
        free_part(race, race->chunk[i], HALF, HALF);
}

static void break_up(struct break_race *race, uint64_t before)
{
    for (unsigned i = 0; i < race->chunks; i++) {
        struct frame_request request = part_of(race->chunk[i], HALF, HALF);
        status_t status = ERR_NO_MEMORY;
        pfn_t first;

        wait_for(&race->go, before + i + 1);
        while (status != OK && atomic_load(&race->freed) < before + i + 1)
            status = frame_alloc(&request, &first);
        if (status != OK)
            take_part(race, race->chunk[i], HALF, HALF);
        atomic_store(&race->taken, before + i + 1);
    }
}

static void break_body(void *context, unsigned index)
{
    struct break_race *race = context;

    for (unsigned i = 0; i < race->rounds; i++) {
        if (index == 0)
            make_whole(race, (uint64_t)i * race->chunks);
        else
            break_up(race, (uint64_t)i * race->chunks);
    }
}

/* Takes chunks to race for, and leaves them to whoever asks for their frames. */
static void choose_chunks(struct break_race *race)
{
    struct frame_request request = ANY_FRAMES(CHUNK_FRAMES);

    request.align = CHUNK_FRAMES;
    while (race->chunks < RACE_CHUNKS && frame_alloc(&request, &race->chunk[race->chunks]) == OK)
        race->chunks++;
    for (unsigned i = 0; i < race->chunks; i++)
        free_part(race, race->chunk[i], 0, CHUNK_FRAMES);
}

TEST(frame, chunks_broken_while_they_leave_their_place)
{
    static struct break_race race;
    uint64_t before = frame_free_count();

    if (test_cpus() < 2)
        SKIP("takes two CPUs");
    race = (struct break_race){.rounds = rounds(ROUNDS(6, 1200))};
    frame_set_caching(false);
    choose_chunks(&race);
    test_parallel(2, break_body, &race);
    frame_set_caching(true);
    if (race.broken != NULL) {
        test_fail(test_result_, __FILE__, __LINE__, "%s", race.broken);
        return;
    }
    CHECK(race.chunks > 0);
    CHECK_EQ(atomic_load(&race.refused), 0);
    CHECK_RESTORED(before);
}

/* ---- Drains of caches whose owners are inside ------------------------------------------------------------ */

#define HELD       256
#define BURST      64
#define STORM_CPUS 8

/* On cache lines of its own: sharing one would keep the CPUs in step. */
struct drain_owner {
    _Alignas(64) _Atomic uint64_t bursts;
    uint64_t seed, wrong; /* wrong: frames that somebody else has written to, or that were refused back */
    bool holds[HELD];
    pfn_t frame[HELD];
};

struct drain_storm {
    unsigned drains;
    struct drain_owner owner[STORM_CPUS];
    _Alignas(64) _Atomic bool over;
};

static unsigned storm_cpus(void)
{
    return test_cpus() < STORM_CPUS ? test_cpus() : STORM_CPUS;
}

static void give_back(struct drain_owner *owner, unsigned slot, uint64_t mark)
{
    bool wrong = !marks_intact(owner->frame[slot], 1, mark);

    mark_frames(owner->frame[slot], 1, STORM_CPUS);
    if (frame_free(owner->frame[slot], 1) != OK || wrong)
        owner->wrong++;
    owner->holds[slot] = false;
}

/* Takes or gives back a frame at random, and again, so that what caches hold and give back is scattered: then drains
 * take their time. */
static void burst(struct drain_owner *owner, uint64_t mark)
{
    for (unsigned i = 0; i < BURST; i++) {
        unsigned slot = (unsigned)(test_random(&owner->seed) >> 32) % HELD;

        if (owner->holds[slot]) {
            give_back(owner, slot, mark);
        } else if (frame_alloc_one(0, &owner->frame[slot]) == OK) {
            mark_frames(owner->frame[slot], 1, mark);
            owner->holds[slot] = true;
        }
    }
    atomic_store_explicit(&owner->bursts, atomic_load_explicit(&owner->bursts, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* Until a CPU has used its cache again, or seems not to run. */
static void wait_for_burst(struct drain_owner *owner)
{
    uint64_t bursts = atomic_load_explicit(&owner->bursts, memory_order_relaxed);

    for (unsigned spins = 0; spins < 5000; spins++) {
        if (atomic_load_explicit(&owner->bursts, memory_order_relaxed) != bursts)
            return;
    }
}

/* CPU 0 drains, and takes some of what came back; the others take and free, and do little else. A frame that is in two
 * hands is written to by both. */
static void drain_body(void *context, unsigned index)
{
    struct drain_storm *storm = context;
    struct drain_owner *owner = &storm->owner[index];

    owner->seed = 4711 + index;
    for (unsigned i = 0; index == 0 && i < storm->drains; i++) {
        wait_for_burst(&storm->owner[1 + i % (storm_cpus() - 1)]);
        frame_drain();
        burst(owner, index);
    }
    if (index == 0)
        atomic_store(&storm->over, true);
    do /* once, however late this CPU came */
        burst(owner, index);
    while (!atomic_load_explicit(&storm->over, memory_order_relaxed));
    for (unsigned slot = 0; slot < HELD; slot++) {
        if (owner->holds[slot])
            give_back(owner, slot, index);
    }
}

TEST(frame, drains_of_caches_in_use)
{
    static struct drain_storm storm;
    uint64_t before = frame_free_count(), reports = test_reports();

    if (test_cpus() < 2)
        SKIP("takes two CPUs");
    storm = (struct drain_storm){.drains = rounds(ROUNDS(100, 6000))};
    test_parallel(storm_cpus(), drain_body, &storm);
    for (unsigned i = 0; i < storm_cpus(); i++)
        CHECK_EQ(storm.owner[i].wrong, 0);
    CHECK_EQ(test_reports(), reports);
    CHECK_RESTORED(before);
}
