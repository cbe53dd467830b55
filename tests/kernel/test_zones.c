/* SPDX-License-Identifier: MIT
 *
 * Memory that the direct map does not hold, and the maps that reach it for a moment; zone Movable. Machines have
 * such memory when the options directmap= and movable= ask for it; tests/qemu boots some.
 */
#include <arch/hal.h>
#include <kernel/address_space.h>
#include <kernel/cpus.h>
#include <kernel/early.h>
#include <kernel/panic.h>
#include <kernel/temp_map.h>
#include <mm/frame.h>
#include <mm/port.h>
#include <string.h>

#include "../unit/frame_support.h"

#define WORDS (FRAME_SIZE / sizeof(uint64_t))

static status_t alloc_in(zone_kind_t kind, uint64_t count, uint32_t flags, pfn_t *first)
{
    struct frame_request request = {
        .count = count, .node = FRAME_NODE_ANY, .zone = kind, .flags = FRAME_THIS_ZONE | flags};
    return frame_alloc(&request, first);
}

static uint64_t free_in(zone_kind_t kind)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_zone_info info;
        struct frame_zone_stats stats;
        frame_zone_info(i, &info);
        frame_zone_stats(i, &stats);
        sum += info.kind == kind ? stats.free : 0;
    }
    return sum;
}

static zone_kind_t kind_of(pfn_t frame)
{
    struct frame_zone_info info;
    unsigned zone = 0;
    if (frame_query(frame, &zone) == FRAME_UNMANAGED)
        return ZONE_KINDS;
    frame_zone_info(zone, &info);
    return info.kind;
}

static void fill(pfn_t frame, uint64_t salt)
{
    uint64_t *page = temp_map(frame);
    for (unsigned i = 0; i < WORDS; i++)
        page[i] = frame.v * WORDS + i + salt;
    temp_unmap(page);
}

static bool holds(pfn_t frame, uint64_t salt)
{
    const uint64_t *page = temp_map(frame);
    unsigned good = 0;
    while (good < WORDS && page[good] == frame.v * WORDS + good + salt)
        good++;
    temp_unmap((void *)(uintptr_t)page);
    return good == WORDS;
}

static void read_word(void *context)
{
    (void)*(volatile uint64_t *)context;
}

#define CHECK_UNMAPPED()                                                                                     \
    do {                                                                                                     \
        const char *broken_ = temp_map_check();                                                              \
        if (broken_ != NULL) {                                                                               \
            test_fail(test_result_, __FILE__, __LINE__, "%s", broken_);                                      \
            return;                                                                                          \
        }                                                                                                    \
    } while (0)

#define NEED(kind, reason)                                                                                   \
    do {                                                                                                     \
        if (free_in(kind) == 0)                                                                              \
            SKIP(reason);                                                                                    \
    } while (0)

/* ---- Temporary maps ----------------------------------------------------------------------------------- */

TEST(zones, directly_mapped_frames_need_no_map)
{
    pfn_t frame;
    CHECK_EQ(frame_alloc_one(0, &frame), OK);
    void *page = temp_map(frame);
    CHECK(page == port_phys_to_virt(paddr_of(frame)));
    CHECK_UNMAPPED();
    temp_unmap(page);
    CHECK_UNMAPPED();
    CHECK_EQ(frame_free(frame, 1), OK);
}

TEST(zones, highmem_is_mapped_nowhere_else)
{
    struct trap_info trap;
    pfn_t frame;
    NEED(ZONE_HIGHMEM, "no HighMem");
    CHECK_EQ(alloc_in(ZONE_HIGHMEM, 1, 0, &frame), OK);
    CHECK(paddr_of(frame).v >= machine.limits.direct_end);
    CHECK_EQ(kind_of(frame), ZONE_HIGHMEM);
    void *direct = port_phys_to_virt(paddr_of(frame));
    CHECK(trap_catch(read_word, direct, &trap));
    CHECK_EQ(trap.kind, TRAP_PAGE_FAULT);
    CHECK_EQ(trap.address, (uintptr_t)direct);
    void *page = temp_map(frame);
    CHECK(page != direct);
    CHECK(!trap_catch(read_word, page, &trap));
    temp_unmap(page);
    CHECK(trap_catch(read_word, page, &trap));
    CHECK_EQ(trap.address, (uintptr_t)page);
    CHECK_UNMAPPED();
    CHECK_EQ(frame_free(frame, 1), OK);
}

/* Two frames in turn at one address: a translation that outlives its map would show the wrong one. */
TEST(zones, a_slot_shows_what_was_mapped_last)
{
    pfn_t first;
    NEED(ZONE_HIGHMEM, "no HighMem");
    CHECK_EQ(alloc_in(ZONE_HIGHMEM, 2, 0, &first), OK);
    for (unsigned i = 0; i < 2; i++)
        fill(pfn(first.v + i), i);
    for (unsigned round = 0; round < 100; round++)
        CHECK(holds(pfn(first.v + round % 2), round % 2));
    CHECK_UNMAPPED();
    CHECK_EQ(frame_free(first, 2), OK);
}

TEST(zones, maps_nest)
{
    uint64_t *page[TEMP_SLOTS];
    struct trap_info trap;
    pfn_t first, direct;
    NEED(ZONE_HIGHMEM, "no HighMem");
    CHECK_EQ(alloc_in(ZONE_HIGHMEM, TEMP_SLOTS, 0, &first), OK);
    CHECK_EQ(frame_alloc_one(0, &direct), OK);
    for (unsigned i = 0; i < TEMP_SLOTS; i++) {
        page[i] = temp_map(pfn(first.v + i));
        temp_unmap(temp_map(direct)); /* takes none of the slots */
        page[i][0] = i;
    }
    bool intact = true, apart = true;
    for (unsigned i = 0; i < TEMP_SLOTS; i++) {
        apart &= trap_catch(read_word, page[i] + WORDS, &trap);
        apart &= trap_catch(read_word, page[i] - 1, &trap);
    }
    for (unsigned i = TEMP_SLOTS; i-- > 0;) {
        for (unsigned j = 0; j <= i; j++)
            intact &= page[j][0] == j;
        temp_unmap(page[i]);
    }
    CHECK(intact && apart);
    CHECK_UNMAPPED();
    CHECK_EQ(frame_free(first, TEMP_SLOTS), OK);
    CHECK_EQ(frame_free(direct, 1), OK);
}

/* Each CPU writes frames of its own, then reads another's, through its own window. */
#define WRITERS 8
#define FRAMES_EACH 16u

static struct {
    pfn_t frame[WRITERS][FRAMES_EACH];
    unsigned writers;
    _Atomic unsigned failures;
} shared;

static void write_own(void *context, unsigned index)
{
    (void)context;
    for (unsigned i = 0; i < FRAMES_EACH; i++) {
        if (alloc_in(ZONE_HIGHMEM, 1, 0, &shared.frame[index][i]) == OK)
            fill(shared.frame[index][i], index);
        else
            atomic_fetch_add(&shared.failures, 1);
    }
}

static void read_others(void *context, unsigned index)
{
    (void)context;
    unsigned other = (index + 1) % shared.writers;
    for (unsigned round = 0; round < 4; round++)
        for (unsigned i = 0; i < FRAMES_EACH; i++)
            if (!holds(shared.frame[other][i], other))
                atomic_fetch_add(&shared.failures, 1);
}

TEST(zones, every_cpu_reads_what_another_wrote)
{
    NEED(ZONE_HIGHMEM, "no HighMem");
    shared.writers = (unsigned)min_u64(cpus_online(), WRITERS);
    atomic_store(&shared.failures, 0);
    cpus_run(shared.writers, write_own, NULL);
    CHECK_EQ(atomic_load(&shared.failures), 0);
    cpus_run(shared.writers, read_others, NULL);
    CHECK_EQ(atomic_load(&shared.failures), 0);
    CHECK_UNMAPPED();
    for (unsigned i = 0; i < shared.writers * FRAMES_EACH; i++)
        CHECK_EQ(frame_free(shared.frame[i / FRAMES_EACH][i % FRAMES_EACH], 1), OK);
}

TEST(zones, highmem_comes_zeroed)
{
    const uint64_t count = 32;
    struct frame_request request = {.count = count, .node = FRAME_NODE_ANY, .zone = ZONE_HIGHMEM};
    pfn_t first;
    NEED(ZONE_HIGHMEM, "no HighMem");
    CHECK_EQ(alloc_in(ZONE_HIGHMEM, count, 0, &first), OK);
    for (uint64_t i = 0; i < count; i++)
        fill(pfn(first.v + i), 1);
    CHECK_EQ(frame_free(first, count), OK);
    request.at = first;
    request.flags = FRAME_AT | FRAME_ZEROED;
    CHECK_EQ(frame_alloc(&request, &first), OK);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t *page = temp_map(pfn(first.v + i)), any = 0;
        for (unsigned word = 0; word < WORDS; word++)
            any |= page[word];
        temp_unmap(page);
        CHECK_EQ(any, 0);
    }
    CHECK_UNMAPPED();
    CHECK_EQ(frame_free(first, count), OK);
}

/* ---- What lies where ---------------------------------------------------------------------------------- */

static bool count_leaf(void *context, const struct pt_leaf *leaf)
{
    (void)leaf;
    (*(uint64_t *)context)++;
    return true;
}

TEST(zones, the_direct_map_ends_where_it_should)
{
    uint64_t leaves = 0, end = machine.limits.direct_end, size = HAL_DIRECT_SIZE(kernel_pt.levels);
    vaddr_t base = HAL_DIRECT_BASE(kernel_pt.levels);
    if (end == size)
        SKIP("nothing limits the direct map");
    pt_visit(&kernel_pt, base + end, base + (size - 1), count_leaf, &leaves);
    CHECK_EQ(leaves, 0);
}

/* What the kernel keeps where it is: mapped, and not in zone Movable. */
static bool stays(paddr_t address)
{
    zone_kind_t kind = zone_of(&machine.limits, address.v);
    return address.v < machine.limits.direct_end && kind <= ZONE_NORMAL;
}

TEST(zones, the_kernel_stays_below_the_borders)
{
    struct pt_leaf leaf;
    CHECK(stays(boot_info.image) && stays(paddr_add(boot_info.image, boot_info.image_size - 1)));
    CHECK(stays(kernel_pt.root));
    for (unsigned i = 0; i < machine.map.region_count; i++) {
        const struct mem_region *region = &machine.map.region[i];
        if (region->type == MEM_EARLY)
            CHECK(stays(region->start) && stays(paddr(region->end.v - 1)));
    }
    for (unsigned i = 0; i < cpu_count(); i++) {
        const struct percpu *cpu = cpu_get(i);
        CHECK_EQ(pt_lookup(&kernel_pt, cpu->stack_top - 8, &leaf), OK);
        CHECK(stays(leaf.target));
        CHECK_EQ(pt_lookup(&kernel_pt, cpu->emergency_top - 8, &leaf), OK);
        CHECK(stays(leaf.target));
        CHECK_EQ(pt_lookup(&kernel_pt, (vaddr_t)cpu->temp_entry, &leaf), OK);
        CHECK(stays(leaf.target));
    }
}

/* ---- Movable ------------------------------------------------------------------------------------------ */

/* Runs of one zone, kept outside them: they may not be mapped. Powers of two from the largest down, so that a
 * few will do. */
static struct {
    pfn_t first;
    uint64_t count;
} run[1024];

/* Takes all of a kind of zone; returns the number of runs. */
static unsigned take_all(zone_kind_t kind)
{
    unsigned runs = 0;
    for (unsigned order = FRAME_ORDERS; order-- > 0;) {
        uint64_t count = UINT64_C(1) << order;
        while (runs < ARRAY_LEN(run) && alloc_in(kind, count, 0, &run[runs].first) == OK)
            run[runs++].count = count;
    }
    return runs;
}

static bool give_back(unsigned runs)
{
    bool good = true;
    for (unsigned i = 0; i < runs; i++)
        good &= frame_free(run[i].first, run[i].count) == OK;
    return good;
}

TEST(zones, movable_is_for_those_who_ask)
{
    uint64_t before = frame_free_count(), movable = free_in(ZONE_MOVABLE);
    struct chain chain = {0};
    pfn_t frame;
    NEED(ZONE_MOVABLE, "no Movable");
    chain_take_all(&chain, ANY_FRAMES(1), FRAME_ORDERS - 1);
    bool none = frame_alloc_one(0, &frame) == ERR_NO_MEMORY;
    uint64_t left = free_in(ZONE_MOVABLE), normal = free_mapped();
    bool foreign = false;
    for (const struct link *link = chain.top; link != NULL; link = link->next)
        foreign |= kind_of(pfn_of(port_virt_to_phys(link))) > ZONE_NORMAL;
    chain_free_all(&chain);
    CHECK(none && !foreign && !chain.damaged);
    CHECK_EQ(left, movable);
    CHECK_EQ(normal, 0);
    CHECK_RESTORED(before);
}

TEST(zones, movable_can_be_filled)
{
    uint64_t before = frame_free_count(), movable = free_in(ZONE_MOVABLE), sum = 0;
    unsigned outside = 0;
    NEED(ZONE_MOVABLE, "no Movable");
    unsigned runs = take_all(ZONE_MOVABLE);
    for (unsigned i = 0; i < runs; i++) {
        sum += run[i].count;
        outside +=
            kind_of(run[i].first) != ZONE_MOVABLE || paddr_of(run[i].first).v < machine.limits.movable_start;
        fill(run[i].first, i);
    }
    for (unsigned i = 0; i < runs; i++)
        outside += !holds(run[i].first, i);
    uint64_t left = free_in(ZONE_MOVABLE);
    CHECK(give_back(runs));
    CHECK_EQ(outside, 0);
    CHECK_EQ(left, 0);
    CHECK_EQ(sum, movable);
    CHECK_UNMAPPED();
    CHECK_RESTORED(before);
}

/* An unrestricted request starts with Movable and goes down from there. */
TEST(zones, unrestricted_requests_fall_back_downwards)
{
    struct frame_request request = {.count = 1, .node = FRAME_NODE_ANY, .zone = ZONE_MOVABLE};
    pfn_t frame;
    NEED(ZONE_MOVABLE, "no Movable");
    unsigned runs = take_all(ZONE_MOVABLE);
    status_t status = frame_alloc(&request, &frame);
    CHECK(give_back(runs));
    CHECK_EQ(status, OK);
    CHECK(kind_of(frame) < ZONE_MOVABLE);
    CHECK_EQ(frame_free(frame, 1), OK);
}
