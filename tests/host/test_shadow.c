/* SPDX-License-Identifier: MIT
 *
 * A TLB in software, as greedy as hardware may be: after every operation it holds all translations and all
 * tables that it came through. Only flushes make it forget; a table only one that covers all it translates.
 * What must never happen: a table is given back while it is held; a translation held afterwards differs from
 * the tables; a leaf that must be broken first is replaced at once.
 */
#include <mm/frame.h>
#include <mm/port.h>
#include <mm/pt.h>

#include "host.h"
#include "quire_test.h"

#define SHADOW_MAX 4096
#define PAGES      1536u
#define BASE       (GIB(1) - MIB(2))

struct translation {
    struct pt_leaf leaf;
    pte_t entry;
    paddr_t path[PT_MAX_LEVELS]; /* tables by level */
};

struct held_table {
    paddr_t table;
    vaddr_t start;
    uint64_t size; /* what it translates */
};

static struct pt space;
static struct translation shadow[SHADOW_MAX];
static unsigned held;
static struct held_table upper[SHADOW_MAX];
static unsigned upper_held;
static const char *broken;

/* Translates as hardware does. */
static bool walk(vaddr_t va, struct translation *translation)
{
    paddr_t table = space.root;

    *translation = (struct translation){0};
    for (unsigned level = space.levels; level-- > 0;) {
        const pte_t *entries = port_phys_to_virt(table);
        pte_t entry = entries[va >> (FRAME_SHIFT + PT_INDEX_BITS * level) & (PT_ENTRIES - 1)];

        translation->path[level] = table;
        translation->entry = entry;
        if (!pte_present(entry))
            return false;
        if (!pte_is_table(entry, level)) {
            translation->leaf =
                (struct pt_leaf){align_down(va, pt_level_size(level)), pte_paddr(entry, level),
                                 (uint8_t)level, pte_prot(entry, level), pte_memtype(entry, level)};
            return true;
        }
        table = pte_paddr(entry, level);
    }
    return false;
}

static void on_flush(vaddr_t start, uint64_t size)
{
    for (unsigned i = 0; i < held;) {
        struct translation *old = &shadow[i];

        if (old->leaf.start < start + size && start < old->leaf.start + pt_level_size(old->leaf.level))
            *old = shadow[--held];
        else
            i++;
    }
    for (unsigned i = 0; i < upper_held;) {
        if (start <= upper[i].start && upper[i].start + upper[i].size <= start + size)
            upper[i] = upper[--upper_held];
        else
            i++;
    }
}

/* Remembers the tables on the way to a translation, the root excepted. */
static void hold_tables(const struct translation *translation)
{
    for (unsigned level = translation->leaf.level; level + 1u < space.levels; level++) {
        uint64_t size = pt_level_size(level + 1);
        bool known = false;

        for (unsigned i = 0; i < upper_held; i++)
            known = known || upper[i].table.v == translation->path[level].v;
        if (!known && upper_held < SHADOW_MAX)
            upper[upper_held++] = (struct held_table){translation->path[level],
                                                      align_down(translation->leaf.start, size), size};
    }
}

static bool hold(void *context, const struct pt_leaf *leaf)
{
    (void)context;
    for (unsigned i = 0; i < held; i++) {
        if (shadow[i].leaf.start == leaf->start)
            return true;
    }
    if (held == SHADOW_MAX)
        return false;
    if (!walk(leaf->start, &shadow[held]))
        broken = "a leaf that pt_visit shows does not translate";
    hold_tables(&shadow[held++]);
    return true;
}

static void compare(void)
{
    for (unsigned i = 0; i < held; i++) {
        struct translation now;

        if (!walk(shadow[i].leaf.start, &now))
            broken = "a translation outlived its mapping";
        else if (now.entry != shadow[i].entry)
            broken = "a translation outlived a change of its entry";
    }
}

static status_t table_alloc(void *context, paddr_t *table)
{
    pfn_t frame;
    status_t status = frame_alloc_one(0, &frame);

    (void)context;
    if (status == OK)
        *table = paddr_of(frame);
    return status;
}

static void table_free(void *context, paddr_t table)
{
    (void)context;
    for (unsigned i = 0; i < upper_held; i++) {
        if (upper[i].table.v == table.v)
            broken = "a table was given back before its flush";
    }
    if (frame_free(pfn_of(table), 1) != OK)
        broken = "a table was given back twice";
}

/* A flush that comes between breaking and making sees the entry absent. */
static void on_flush_broken(vaddr_t start, uint64_t size)
{
    struct translation now;

    if (size == FRAME_SIZE && held > 0 && walk(start, &now) && pte_needs_break(shadow[0].entry, now.entry))
        broken = "an entry was replaced without being broken";
    on_flush(start, size);
}

static void random_operation(uint64_t *seed)
{
    uint64_t pick = test_random(seed);
    uint64_t at = pick % PAGES, count = 1 + (pick >> 20) % 64;
    unsigned prot = (unsigned)(pick >> 40) % 32;

    if (pick >> 60 < 4)
        at = at / 512 * 512, count = 512;
    count = min_u64(count, PAGES - at);
    if (pick >> 50 & 1)
        (void)!pt_map(&space, BASE + at * FRAME_SIZE, paddr(GIB(2) + at * FRAME_SIZE), count * FRAME_SIZE,
                      prot, MEMTYPE_NORMAL);
    else if (pick >> 51 & 1)
        (void)!pt_protect(&space, BASE + at * FRAME_SIZE, count * FRAME_SIZE, prot);
    else
        (void)!pt_unmap(&space, BASE + at * FRAME_SIZE, count * FRAME_SIZE);
}

TEST(pt, shadow_tlb)
{
    uint64_t seed = 4242;

    held = upper_held = 0;
    broken = NULL;
    CHECK_EQ(pt_init(&space, 4, 1, (struct pt_frames){table_alloc, table_free, NULL}), OK);
    host_tlb_observer = on_flush;
    for (unsigned i = 0; i < 3000 && broken == NULL; i++) {
        pt_visit(&space, 0, UINT64_MAX, hold, NULL);
        random_operation(&seed);
        compare();
    }
    for (uint64_t at = 0; at < PAGES && broken == NULL; at++) {
        struct pt_leaf leaf;

        if (pt_lookup(&space, BASE + at * FRAME_SIZE, &leaf) == OK &&
            pt_unmap(&space, leaf.start, pt_level_size(leaf.level)) != OK)
            broken = "a leaf cannot be unmapped";
    }
    host_tlb_observer = NULL;
    if (broken != NULL)
        test_fail(test_result_, __FILE__, __LINE__, "%s", broken);
    CHECK_EQ(space.tables, 1);
    CHECK_EQ(frame_free(pfn_of(space.root), 1), OK);
}

/* One unmapping empties tables at its start and leaves one at its end. */
TEST(pt, shadow_tlb_of_the_first_table)
{
    const uint64_t size = MIB(2) + 64 * FRAME_SIZE;

    held = upper_held = 0;
    broken = NULL;
    CHECK_EQ(pt_init(&space, 4, 0, (struct pt_frames){table_alloc, table_free, NULL}), OK);
    CHECK_EQ(pt_map(&space, BASE, paddr(0), size + FRAME_SIZE, 0, MEMTYPE_NORMAL), OK);
    pt_visit(&space, 0, UINT64_MAX, hold, NULL);
    host_tlb_observer = on_flush;
    CHECK_EQ(pt_unmap(&space, BASE, size), OK);
    CHECK_EQ(pt_unmap(&space, BASE + size, FRAME_SIZE), OK);
    host_tlb_observer = NULL;
    if (broken != NULL)
        test_fail(test_result_, __FILE__, __LINE__, "%s", broken);
    CHECK_EQ(frame_free(pfn_of(space.root), 1), OK);
}

/* Rights to and from every combination on one page: the only flush that may meet a changed entry is the last.
 */
TEST(pt, break_before_make)
{
    const unsigned all = 32;

    held = upper_held = 0;
    broken = NULL;
    CHECK_EQ(pt_init(&space, 4, 1, (struct pt_frames){table_alloc, table_free, NULL}), OK);
    CHECK_EQ(pt_map(&space, BASE, paddr(0), FRAME_SIZE, 0, MEMTYPE_NORMAL), OK);
    host_tlb_observer = on_flush_broken;
    for (unsigned i = 0; i < all * all; i++) {
        CHECK_EQ(pt_protect(&space, BASE, FRAME_SIZE, i / all), OK);
        pt_visit(&space, 0, UINT64_MAX, hold, NULL);
        CHECK_EQ(pt_protect(&space, BASE, FRAME_SIZE, i % all), OK);
        compare();
        CHECK(broken == NULL);
    }
    CHECK_EQ(pt_unmap(&space, BASE, FRAME_SIZE), OK);
    host_tlb_observer = NULL;
    CHECK_EQ(frame_free(pfn_of(space.root), 1), OK);
}

/* Tables out, the second of which is frame 0; two may be had beside the root. */
static unsigned tables_out;

static status_t low_alloc(void *context, paddr_t *table)
{
    if (tables_out == 3)
        return ERR_NO_MEMORY;
    if (tables_out++ != 1)
        return table_alloc(context, table);
    *table = paddr(0);
    return OK;
}

static void low_free(void *context, paddr_t table)
{
    tables_out--;
    if (table.v != 0)
        table_free(context, table);
}

TEST(pt, frame_0_as_a_table)
{
    static _Alignas(FRAME_SIZE) uint8_t frame_0[FRAME_SIZE];

    host_frame_0 = frame_0;
    tables_out = upper_held = 0;
    broken = NULL;
    CHECK_EQ(pt_init(&space, 3, 0, (struct pt_frames){low_alloc, low_free, NULL}), OK);
    CHECK_EQ(pt_map(&space, MIB(2), paddr(0), MIB(4), 0, MEMTYPE_NORMAL), ERR_NO_MEMORY);
    CHECK_EQ(tables_out, 1);
    CHECK_EQ(pt_map(&space, MIB(2), paddr(0), MIB(2), 0, MEMTYPE_NORMAL), OK);
    CHECK(pt_check(&space) == NULL);
    CHECK_EQ(pt_unmap(&space, MIB(2), MIB(2)), OK);
    CHECK_EQ(tables_out, 1);
    CHECK(broken == NULL);
    CHECK_EQ(frame_free(pfn_of(space.root), 1), OK);
    host_frame_0 = NULL;
}
