/* SPDX-License-Identifier: MIT
 *
 * The frame allocator for long, on all CPUs and close to the end of memory. Every frame of every run carries a claim
 * while it is held, so one that is handed out twice is noticed by whoever gets or gives it back; runs are given back
 * by CPUs that did not take them. Large machines lend no more than KEPT frames to these tests.
 */
#include <mm/atomic.h>
#include <mm/frame_info.h>
#include <mm/port.h>

#include "frame_support.h"

#define KEPT UINT64_C(49152)
#define SLOTS 2048

/* ---- Claims -------------------------------------------------------------------------------------------- */

/* Lies in the first frame of a run, beside its claim. */
struct piece {
    uint64_t first, count;
};

static _Atomic uint64_t wrong; /* claims that did not hold, and frees that were refused */

static _Atomic uint64_t *claim_word(uint64_t frame)
{
    return (_Atomic uint64_t *)port_phys_to_virt(paddr_of(pfn(frame))) + 16;
}

static uint64_t claim_of(uint64_t frame)
{
    return frame ^ UINT64_C(0x8a5cd789635d2dff);
}

static struct piece *claim(pfn_t first, uint64_t count)
{
    struct piece *piece = port_phys_to_virt(paddr_of(first));

    for (uint64_t frame = first.v; frame < first.v + count; frame++) {
        if (load_relaxed(claim_word(frame)) == claim_of(frame))
            fetch_add(&wrong, 1);
        store_relaxed(claim_word(frame), claim_of(frame));
    }
    *piece = (struct piece){first.v, count};
    return piece;
}

/* Ends the claim and gives the run back, now and then in two parts. */
static void give_back(const struct piece *piece, uint64_t pick)
{
    uint64_t first = piece->first, count = piece->count, part = pick % 8 == 0 ? pick / 8 % count : 0;

    for (uint64_t frame = first; frame < first + count; frame++) {
        if (load_relaxed(claim_word(frame)) != claim_of(frame))
            fetch_add(&wrong, 1);
        store_relaxed(claim_word(frame), 0);
    }
    if (part > 0 && frame_free(pfn(first), part) != OK)
        fetch_add(&wrong, 1);
    if (frame_free(pfn(first + part), count - part) != OK)
        fetch_add(&wrong, 1);
}

/* Takes large blocks until about KEPT frames are left. */
static void take_surplus(struct chain *chain)
{
    *chain = (struct chain){0};
    store_relaxed(&wrong, 0);
    for (unsigned order = FRAME_ORDERS; order-- > CHUNK_SHIFT;) {
        struct frame_request request = ANY_FRAMES(UINT64_C(1) << order);
        pfn_t first;

        while (free_mapped() >= KEPT + request.count && frame_alloc(&request, &first) == OK)
            chain_push(chain, first, request.count);
    }
}

/* All orders up to 10 and lengths of any kind; small ones most of the time. */
static struct frame_request any_request(uint64_t pick)
{
    struct frame_request request = ANY_FRAMES(1);
    unsigned kind = pick % 64;

    if (kind >= 60)
        request.count = request.align = UINT64_C(1) << (6 + pick / 64 % 5);
    else if (kind == 59)
        request.count = 1 + pick / 64 % 1300;
    else if (kind >= 48)
        request.count = 1 + pick / 64 % 40;
    else if (kind >= 32)
        request.count = request.align = UINT64_C(1) << pick / 64 % 6;
    request.flags = pick >> 60 & 1 ? FRAME_MOVABLE : 0;
    return request;
}

/* ---- Exhaustion ---------------------------------------------------------------------------------------- */

struct taken {
    _Alignas(64) struct chain chain;
};

static struct taken taken_by[TOPO_MAX_CPUS];

/* Takes until nothing is left that a request for a kind of zone may have, in runs that grow shorter whenever one is
 * refused. */
static void take_kind(struct taken *taken, zone_kind_t kind, uint64_t seed)
{
    uint64_t most = 64;

    while (most > 0) {
        struct frame_request request = ANY_FRAMES(1 + test_random(&seed) % most);
        pfn_t first;

        request.zone = kind;
        if (frame_alloc(&request, &first) == OK) {
            claim(first, request.count);
            chain_push(&taken->chain, first, request.count);
        } else {
            most = request.count == 1 ? 0 : request.count - 1;
        }
    }
}

/* All that is mapped. */
static void take_all(void *context, unsigned index)
{
    (void)context;
    for (unsigned kind = ZONE_NORMAL + 1; kind-- > 0;)
        take_kind(&taken_by[index], (zone_kind_t)kind, 31 + index);
}

/* Gives back what the next CPU took. */
static void give_all(void *context, unsigned index)
{
    struct taken *taken = &taken_by[(index + 1) % test_cpus()];

    (void)context;
    while (taken->chain.top != NULL) {
        uint64_t first = pfn_of(port_virt_to_phys(taken->chain.top)).v;

        for (uint64_t frame = first; frame < first + taken->chain.top->count; frame++) {
            if (load_relaxed(claim_word(frame)) != claim_of(frame))
                fetch_add(&wrong, 1);
            store_relaxed(claim_word(frame), 0);
        }
        chain_pop(&taken->chain);
    }
}

/* All mapped memory, by all CPUs, and back. NULL or what went wrong. */
static const char *exhaust_and_return(void)
{
    uint64_t start = frame_free_count(), mapped = free_mapped(), frames = 0, left;
    const char *broken;

    for (unsigned i = 0; i < test_cpus(); i++)
        taken_by[i] = (struct taken){0};
    test_parallel(test_cpus(), take_all, NULL);
    left = free_mapped();
    for (unsigned i = 0; i < test_cpus(); i++)
        frames += taken_by[i].chain.frames;
    broken = frame_check();
    test_parallel(test_cpus(), give_all, NULL);
    for (unsigned i = 0; i < test_cpus(); i++) {
        if (taken_by[i].chain.damaged)
            return "a run was damaged, or could not be given back";
    }
    if (left != 0 || frames != mapped)
        return "not all frames were handed out";
    if (load_relaxed(&wrong) != 0)
        return "a frame was held twice";
    return broken != NULL || frame_free_count() == start ? broken : "frames were lost or won";
}

TEST(frame, exhaustion_by_all_cpus)
{
    uint64_t before = frame_free_count();
    const char *what = NULL;
    struct chain surplus;

    take_surplus(&surplus);
    for (unsigned round = 0; round < ROUNDS(2, 6) && what == NULL; round++)
        what = exhaust_and_return();
    chain_free_all(&surplus);
    if (what != NULL)
        test_fail(test_result_, __FILE__, __LINE__, "%s", what);
    else
        CHECK_RESTORED(before);
}

/* ---- Ageing -------------------------------------------------------------------------------------------- */

struct pool {
    _Atomic(struct piece *) slot[SLOTS];
    unsigned operations; /* of each CPU and phase */
    unsigned phase;
    bool disturbed; /* with drains between */
    _Atomic uint64_t served;
};

static struct pool pool;

static struct piece *swap(unsigned slot, struct piece *piece)
{
    return atomic_exchange_explicit(&pool.slot[slot], piece, memory_order_acq_rel);
}

static void disturb(uint64_t pick)
{
    if (pick % 512 == 0)
        frame_drain();
    else if (pick % 512 == 1)
        frame_cpu_offline((unsigned)(pick / 512 % test_cpus()));
}

/* Puts a run in a slot and gives back the one that was there, whoever took it. Where there is no memory for the new one,
 * the old one goes all the same: that makes room. */
static void age(void *context, unsigned index)
{
    uint64_t seed = 65537 * (pool.phase + 1) + index, served = 0;

    (void)context;
    for (unsigned i = 0; i < pool.operations; i++) {
        uint64_t pick = test_random(&seed);
        struct frame_request request = any_request(pick);
        struct piece *piece = NULL;
        pfn_t first;

        if (pool.disturbed)
            disturb(pick >> 20);
        if (frame_alloc(&request, &first) == OK) {
            piece = claim(first, request.count);
            served++;
        }
        piece = swap((unsigned)(pick >> 32) % SLOTS, piece);
        if (piece != NULL)
            give_back(piece, pick >> 50);
    }
    fetch_add(&pool.served, served);
}

static uint64_t frames_in_pool(void)
{
    uint64_t frames = 0;

    for (unsigned i = 0; i < SLOTS; i++)
        frames += pool.slot[i] != NULL ? pool.slot[i]->count : 0;
    return frames;
}

/* NULL or what went wrong. `total` operations of all CPUs in all phases. */
static const char *age_in_phases(unsigned phases, unsigned total)
{
    uint64_t start = frame_free_count();

    pool.operations = total / phases / test_cpus();
    store_relaxed(&pool.served, 0);
    for (pool.phase = 0; pool.phase < phases; pool.phase++) {
        test_parallel(test_cpus(), age, NULL);
        if (load_relaxed(&wrong) != 0)
            return "a frame was held twice, or could not be given back";
        if (frame_free_count() != start - frames_in_pool())
            return "frames were lost or won";
        if (frame_check() != NULL)
            return frame_check();
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        struct piece *piece = swap(i, NULL);

        if (piece != NULL)
            give_back(piece, 1);
    }
    return load_relaxed(&wrong) != 0 ? "a frame was held twice, or could not be given back" : NULL;
}

/* With little left beside the pool; everything is back afterwards. NULL or what went wrong. */
static const char *age_in_little_memory(bool disturbed, unsigned phases, unsigned total)
{
    struct chain surplus;
    const char *what;

    take_surplus(&surplus);
    pool.disturbed = disturbed;
    what = age_in_phases(phases, total);
    chain_free_all(&surplus);
    return what;
}

/* Debug modes go past the caches and look at every byte. */
TEST(frame, ageing_on_all_cpus)
{
    uint64_t before = frame_free_count();
    const char *what =
        age_in_little_memory(false, ROUNDS(2, 8), OPERATIONS(8000, frame_debug() == 0 ? 2000000 : 200000));

    if (what != NULL)
        test_fail(test_result_, __FILE__, __LINE__, "%s", what);
    else
        CHECK_RESTORED(before);
}

TEST(frame, drains_among_everything_else)
{
    uint64_t before = frame_free_count();
    const char *what = age_in_little_memory(true, 2, OPERATIONS(4000, frame_debug() == 0 ? 200000 : 40000));

    if (what != NULL)
        test_fail(test_result_, __FILE__, __LINE__, "%s", what);
    else
        CHECK_RESTORED(before);
}

/* ---- One way only -------------------------------------------------------------------------------------- */

/* Even CPUs take single frames, odd ones give them back: whatever one side caches, the other one needs. */
static void pass_on(void *context, unsigned index)
{
    unsigned frames = *(const unsigned *)context, done = 0, slot = index / 2;

    while (done < frames) {
        struct piece *piece = NULL;
        pfn_t first;

        slot = (slot + 1) % 64;
        if (index % 2 == 0 && load_relaxed(&pool.slot[slot]) == NULL &&
            frame_alloc_one(done % 3 == 0 ? FRAME_MOVABLE : 0, &first) == OK) {
            done++;
            piece = swap(slot, claim(first, 1)); /* somebody else may have filled it meanwhile */
            done -= piece != NULL;
        } else if (index % 2 == 1 && (piece = swap(slot, NULL)) != NULL) {
            done++;
        }
        if (piece != NULL)
            give_back(piece, 1);
        else
            port_cpu_relax();
    }
}

TEST(frame, frames_go_from_one_cpu_to_another)
{
    uint64_t before = frame_free_count();
    unsigned frames = ROUNDS(3000, 100000), cpus = test_cpus() & ~1u;

    if (cpus == 0)
        SKIP("needs two CPUs");
    store_relaxed(&wrong, 0);
    test_parallel(cpus, pass_on, &frames);
    CHECK_EQ(load_relaxed(&wrong), 0);
    CHECK_EQ(frames_in_pool(), 0);
    CHECK_RESTORED(before);
}
