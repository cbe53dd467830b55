/* SPDX-License-Identifier: MIT
 *
 * Page-table entries and the walker, on tables that no MMU looks at. Table frames come from the live
 * allocator, through a purse that counts them and can run dry.
 */
#include <string.h>

#include <mm/frame.h>
#include <mm/port.h>
#include <mm/pt.h>

#include "quire_test.h"

#define ALL_PROTS 32u

struct purse {
    uint64_t held;  /* tables out */
    uint64_t limit; /* no more than this */
    bool wrong;     /* something came back that cannot be freed */
};

static status_t purse_alloc(void *context, paddr_t *table)
{
    struct purse *purse = context;
    pfn_t frame;
    status_t status;

    if (purse->held == purse->limit)
        return ERR_NO_MEMORY;
    status = frame_alloc_one(0, &frame);
    if (status != OK)
        return status;
    memset(port_phys_to_virt(paddr_of(frame)), 0x5a, FRAME_SIZE); /* contents are undefined: make them bad */
    purse->held++;
    *table = paddr_of(frame);
    return OK;
}

static void purse_free(void *context, paddr_t table)
{
    struct purse *purse = context;

    purse->held--;
    if (frame_free(pfn_of(table), 1) != OK)
        purse->wrong = true;
}

/* An address space for a test; space_end says whether everything came back. */
static bool space_begin(struct pt *pt, struct purse *purse, unsigned levels, unsigned max_leaf)
{
    *purse = (struct purse){.limit = UINT64_MAX};
    return pt_init(pt, levels, max_leaf, (struct pt_frames){purse_alloc, purse_free, purse}) == OK;
}

static bool space_end(struct pt *pt, struct purse *purse)
{
    bool clean = pt->tables == 1 && pt_check(pt) == NULL && purse->held == 1;

    purse_free(purse, pt->root);
    return clean && !purse->wrong;
}

/* What pt_visit saw. */
struct census {
    uint64_t leaves[3];
    uint64_t bytes;
    vaddr_t first, end;
    bool ordered;
    uint64_t stop_after; /* leaves; 0: never */
};

static bool census_visit(void *context, const struct pt_leaf *leaf)
{
    struct census *census = context;
    uint64_t seen = census->leaves[0] + census->leaves[1] + census->leaves[2];

    if (seen == 0)
        census->first = leaf->start;
    else if (leaf->start < census->end)
        census->ordered = false;
    census->end = leaf->start + pt_level_size(leaf->level);
    census->leaves[leaf->level]++;
    census->bytes += pt_level_size(leaf->level);
    return seen + 1 != census->stop_after;
}

static struct census census_of(const struct pt *pt, vaddr_t start, vaddr_t last)
{
    struct census census = {.ordered = true};

    pt_visit(pt, start, last, census_visit, &census);
    return census;
}

static bool census_equal(const struct census *a, const struct census *b)
{
    return memcmp(a->leaves, b->leaves, sizeof(a->leaves)) == 0 && a->bytes == b->bytes &&
           a->first == b->first && a->end == b->end;
}

/* ---- Entries ------------------------------------------------------------------------------------------- */

TEST(pt, leaves_read_back)
{
    const uint64_t top = (UINT64_C(1) << PTE_PADDR_BITS) - 1;
    const uint64_t target[] = {0, UINT64_C(0x123456789a) << 12, top};

    for (unsigned level = 0; level < 3; level++) {
        for (unsigned prot = 0; prot < ALL_PROTS; prot++) {
            for (unsigned i = 0; i < 3 * ARRAY_LEN(target); i++) {
                memtype_t type = (memtype_t)(i % 3);
                paddr_t pa = paddr(align_down(target[i / 3] & top, pt_level_size(level)));
                pte_t e = pte_make_leaf(pa, level, prot | PROT_READ, type);

                CHECK(pte_present(e));
                CHECK(!pte_is_table(e, level));
                CHECK_EQ(pte_paddr(e, level).v, pa.v);
                CHECK_EQ(pte_prot(e, level), prot | PROT_READ);
                CHECK_EQ(pte_memtype(e, level), type);
            }
        }
    }
}

/* Setting and clearing accessed and dirty changes those, and nothing else that can be read. */
TEST(pt, accessed_and_dirty)
{
    paddr_t pa = paddr(UINT64_C(0x80000000));

    for (unsigned i = 0; i < ALL_PROTS * 3 * 3; i++) {
        unsigned prot = i % ALL_PROTS | PROT_READ, level = i / ALL_PROTS % 3;
        memtype_t type = (memtype_t)(i / ALL_PROTS / 3);
        pte_t fresh = pte_make_leaf(pa, level, prot, type);

        for (unsigned ad = 0; ad < 4; ad++) {
            pte_t e = pte_set_ad(pte_clear_ad(fresh, PTE_ACCESSED | PTE_DIRTY), ad);

            CHECK_EQ(pte_ad(e), ad);
            CHECK_EQ(pte_ad(pte_clear_ad(e, PTE_ACCESSED)), ad & PTE_DIRTY);
            CHECK_EQ(pte_ad(pte_clear_ad(e, PTE_DIRTY)), ad & PTE_ACCESSED);
            CHECK(pte_present(e) && !pte_is_table(e, level));
            CHECK_EQ(pte_paddr(e, level).v, pa.v);
            CHECK_EQ(pte_prot(e, level), prot);
            CHECK_EQ(pte_memtype(e, level), type);
        }
    }
}

TEST(pt, tables_and_nothing)
{
    const uint64_t top = align_down((UINT64_C(1) << PTE_PADDR_BITS) - 1, FRAME_SIZE);

    for (unsigned level = 0; level < PT_MAX_LEVELS; level++) {
        CHECK(!pte_is_table(0, level));
        if (level == 0)
            continue;
        for (unsigned shift = 0; shift < 3; shift++) {
            paddr_t table = paddr(align_down(top >> (shift * 13), FRAME_SIZE));
            pte_t e = pte_make_table(table);

            CHECK(pte_present(e));
            CHECK(pte_is_table(e, level));
            CHECK_EQ(pte_paddr(e, level).v, table.v);
            CHECK(!pte_present(table.v)); /* chained tables must not look like entries */
        }
    }
    CHECK(!pte_present(0));
}

TEST(pt, breaks_only_where_something_was)
{
    pte_t one = pte_make_leaf(paddr(GIB(1)), 0, PROT_READ | PROT_WRITE, MEMTYPE_NORMAL);

    CHECK(!pte_needs_break(0, one));
    CHECK(!pte_needs_break(one, 0));
    CHECK(!pte_needs_break(one, one));
}

/* ---- Mapping ------------------------------------------------------------------------------------------- */

TEST(pt, one_page_in_every_mode)
{
    for (unsigned levels = 3; levels <= PT_MAX_LEVELS; levels++) {
        uint64_t half = pt_level_size(levels) / 2;
        const vaddr_t place[] = {0, FRAME_SIZE, half - FRAME_SIZE, -half, -FRAME_SIZE};

        for (unsigned i = 0; i < ARRAY_LEN(place); i++) {
            struct pt_leaf leaf;
            struct purse purse;
            struct pt pt;

            CHECK(space_begin(&pt, &purse, levels, 2));
            CHECK_EQ(pt_lookup(&pt, place[i], &leaf), ERR_NOT_FOUND);
            CHECK_EQ(pt_map(&pt, place[i], paddr(0x7000), FRAME_SIZE, PROT_WRITE, MEMTYPE_DEVICE), OK);
            CHECK_EQ(pt.tables, levels);
            CHECK(pt_check(&pt) == NULL);
            CHECK_EQ(pt_lookup(&pt, place[i] + 0xfff, &leaf), OK);
            CHECK(leaf.start == place[i] && leaf.target.v == 0x7000 && leaf.level == 0);
            CHECK(leaf.prot == (PROT_READ | PROT_WRITE) && leaf.type == MEMTYPE_DEVICE);
            CHECK_EQ(census_of(&pt, 0, UINT64_MAX).bytes, FRAME_SIZE);
            CHECK_EQ(census_of(&pt, 0, UINT64_MAX).first, place[i]);
            CHECK_EQ(pt_unmap(&pt, place[i], FRAME_SIZE), OK);
            CHECK_EQ(pt_lookup(&pt, place[i], &leaf), ERR_NOT_FOUND);
            CHECK(space_end(&pt, &purse));
        }
    }
}

/* One range that needs every leaf size on both sides of the largest. */
TEST(pt, largest_leaves)
{
    const uint64_t size = GIB(1) + 4 * MIB(2) + 6 * FRAME_SIZE;
    const vaddr_t start = GIB(4) - 2 * MIB(2) - 3 * FRAME_SIZE;

    for (unsigned max_leaf = 1; max_leaf <= 2; max_leaf++) {
        struct purse purse;
        struct census all;
        struct pt pt;

        CHECK(space_begin(&pt, &purse, 4, max_leaf));
        CHECK_EQ(pt_map(&pt, start, paddr(start + GIB(2)), size, PROT_GLOBAL, MEMTYPE_NORMAL), OK);
        CHECK(pt_check(&pt) == NULL);
        all = census_of(&pt, 0, UINT64_MAX);
        CHECK(all.ordered && all.bytes == size && all.first == start && all.end == start + size);
        CHECK_EQ(all.leaves[0], 6);
        CHECK_EQ(all.leaves[1], max_leaf == 2 ? 4 : 4 + 512);
        CHECK_EQ(all.leaves[2], max_leaf == 2 ? 1 : 0);
        CHECK_EQ(pt.tables, max_leaf == 2 ? 6 : 7);
        CHECK_EQ(purse.held, pt.tables);
        CHECK_EQ(pt_unmap(&pt, start, size), OK);
        CHECK(space_end(&pt, &purse));
    }
}

TEST(pt, small_leaves_where_alignment_differs)
{
    struct purse purse;
    struct census all;
    struct pt pt;

    CHECK(space_begin(&pt, &purse, 4, 2));
    CHECK_EQ(pt_map(&pt, MIB(2), paddr(MIB(2) + FRAME_SIZE), MIB(4), 0, MEMTYPE_NORMAL), OK);
    all = census_of(&pt, 0, UINT64_MAX);
    CHECK_EQ(all.leaves[0], 1024);
    CHECK_EQ(all.leaves[1], 0);
    CHECK_EQ(pt_unmap(&pt, MIB(2), MIB(4)), OK);
    CHECK(space_end(&pt, &purse));
}

TEST(pt, bad_ranges)
{
    struct purse purse;
    struct pt pt;
    uint64_t half = pt_level_size(4) / 2;
    const struct {
        vaddr_t va;
        uint64_t pa, size;
    } bad[] = {
        {0, 0, 0},
        {1, 0, FRAME_SIZE},
        {0, 1, FRAME_SIZE},
        {0, 0, FRAME_SIZE + 1},
        {half, 0, FRAME_SIZE},
        {half - FRAME_SIZE, 0, 2 * FRAME_SIZE},
        {-half - FRAME_SIZE, 0, FRAME_SIZE},
        {-half - FRAME_SIZE, 0, 2 * FRAME_SIZE},
        {0, 0, -FRAME_SIZE},
        {-FRAME_SIZE, 0, 2 * FRAME_SIZE},
        {0, UINT64_C(1) << PTE_PADDR_BITS, FRAME_SIZE},
        {0, (UINT64_C(1) << PTE_PADDR_BITS) - FRAME_SIZE, 2 * FRAME_SIZE},
    };

    CHECK(space_begin(&pt, &purse, 4, 2));
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_EQ(pt_map(&pt, bad[i].va, paddr(bad[i].pa), bad[i].size, 0, MEMTYPE_NORMAL), ERR_INVALID);
        if (bad[i].pa == 0) {
            CHECK_EQ(pt_unmap(&pt, bad[i].va, bad[i].size), ERR_INVALID);
            CHECK_EQ(pt_protect(&pt, bad[i].va, bad[i].size, 0), ERR_INVALID);
        }
    }
    CHECK_EQ(pt_map(&pt, 0, paddr(0), FRAME_SIZE, 1u << 5, MEMTYPE_NORMAL), ERR_INVALID);
    CHECK(space_end(&pt, &purse));
}

/* Two mapped islands with a hole, and a large leaf: what does not fit is refused as a whole. */
TEST(pt, refusals_change_nothing)
{
    struct purse purse;
    struct census before, after;
    struct pt pt;
    const vaddr_t a = MIB(64);

    CHECK(space_begin(&pt, &purse, 4, 2));
    CHECK_EQ(pt_map(&pt, a, paddr(a), 8 * FRAME_SIZE, 0, MEMTYPE_NORMAL), OK);
    CHECK_EQ(pt_map(&pt, a + 9 * FRAME_SIZE, paddr(a), FRAME_SIZE, 0, MEMTYPE_NORMAL), OK);
    CHECK_EQ(pt_map(&pt, a + MIB(4), paddr(a), MIB(2), 0, MEMTYPE_NORMAL), OK);
    before = census_of(&pt, 0, UINT64_MAX);

    CHECK_EQ(pt_map(&pt, a + 8 * FRAME_SIZE, paddr(0), 2 * FRAME_SIZE, 0, MEMTYPE_NORMAL), ERR_EXISTS);
    CHECK_EQ(pt_map(&pt, a + MIB(2), paddr(0), MIB(4), 0, MEMTYPE_NORMAL), ERR_EXISTS);
    CHECK_EQ(pt_map(&pt, a + MIB(5), paddr(0), FRAME_SIZE, 0, MEMTYPE_NORMAL), ERR_EXISTS);
    CHECK_EQ(pt_map(&pt, 0, paddr(0), GIB(1), 0, MEMTYPE_NORMAL), ERR_EXISTS);
    CHECK_EQ(pt_unmap(&pt, a, 10 * FRAME_SIZE), ERR_NOT_FOUND);
    CHECK_EQ(pt_unmap(&pt, 0, FRAME_SIZE), ERR_NOT_FOUND);
    CHECK_EQ(pt_unmap(&pt, a + MIB(4), MIB(1)), ERR_INVALID);
    CHECK_EQ(pt_unmap(&pt, a + MIB(5), MIB(1)), ERR_INVALID);
    CHECK_EQ(pt_protect(&pt, a, 10 * FRAME_SIZE, PROT_WRITE), ERR_NOT_FOUND);
    CHECK_EQ(pt_protect(&pt, a + MIB(4), FRAME_SIZE, PROT_WRITE), ERR_INVALID);
    CHECK_EQ(pt_protect(&pt, a, FRAME_SIZE, 1u << 7), ERR_INVALID);

    after = census_of(&pt, 0, UINT64_MAX);
    CHECK(census_equal(&before, &after));
    CHECK(pt_check(&pt) == NULL);
    CHECK_EQ(pt_unmap(&pt, a, 8 * FRAME_SIZE), OK);
    CHECK_EQ(pt_unmap(&pt, a + 9 * FRAME_SIZE, FRAME_SIZE), OK);
    CHECK_EQ(pt_unmap(&pt, a + MIB(4), MIB(2)), OK);
    CHECK(space_end(&pt, &purse));
}

/* The purse runs dry at every possible table; nothing is mapped and no table is kept. */
TEST(pt, out_of_memory_midway)
{
    const vaddr_t start = GIB(512) - MIB(2) - FRAME_SIZE;
    const uint64_t size = MIB(4) + 2 * FRAME_SIZE;
    uint64_t free = frame_free_count();
    struct purse purse;
    struct pt pt;

    CHECK(space_begin(&pt, &purse, 4, 1));
    for (purse.limit = 1; purse.limit < 7; purse.limit++) {
        CHECK_EQ(pt_map(&pt, start, paddr(start), size, 0, MEMTYPE_NORMAL), ERR_NO_MEMORY);
        CHECK_EQ(purse.held, 1);
        CHECK_EQ(pt.tables, 1);
        CHECK(pt_check(&pt) == NULL);
        CHECK_EQ(frame_free_count(), free - 1);
    }
    CHECK_EQ(pt_map(&pt, start, paddr(start), size, 0, MEMTYPE_NORMAL), OK);
    CHECK_EQ(pt.tables, 7);
    CHECK_EQ(pt_unmap(&pt, start, size), OK);
    CHECK(space_end(&pt, &purse));
    CHECK_EQ(frame_free_count(), free);
}

TEST(pt, tables_go_as_they_become_empty)
{
    struct purse purse;
    struct pt pt;

    CHECK(space_begin(&pt, &purse, 4, 0));
    CHECK_EQ(pt_map(&pt, GIB(1) - MIB(2), paddr(0), MIB(4), 0, MEMTYPE_NORMAL), OK);
    CHECK_EQ(pt.tables, 6);
    CHECK_EQ(pt_unmap(&pt, GIB(1) - FRAME_SIZE, 2 * FRAME_SIZE), OK);
    CHECK_EQ(pt.tables, 6);
    CHECK_EQ(pt_unmap(&pt, GIB(1) - MIB(2), MIB(2) - FRAME_SIZE), OK);
    CHECK_EQ(pt.tables, 4);
    CHECK(pt_check(&pt) == NULL);
    CHECK_EQ(pt_unmap(&pt, GIB(1) + FRAME_SIZE, MIB(2) - FRAME_SIZE), OK);
    CHECK(space_end(&pt, &purse));
}

/* Rights change, what is mapped does not; accessed and dirty are kept. */
TEST(pt, protect)
{
    struct purse purse;
    struct pt_leaf leaf;
    struct pt pt;

    CHECK(space_begin(&pt, &purse, 3, 2));
    CHECK_EQ(pt_map(&pt, MIB(2) - FRAME_SIZE, paddr(MIB(4) - FRAME_SIZE), MIB(2) + 2 * FRAME_SIZE, PROT_WRITE,
                    MEMTYPE_UNCACHED),
             OK);
    for (unsigned prot = 0; prot < ALL_PROTS; prot++) {
        CHECK_EQ(pt_protect(&pt, MIB(2) - FRAME_SIZE, MIB(2) + FRAME_SIZE, prot), OK);
        CHECK_EQ(pt_lookup(&pt, MIB(2) - 1, &leaf), OK);
        CHECK(leaf.level == 0 && leaf.prot == (prot | PROT_READ) && leaf.target.v == MIB(4) - FRAME_SIZE);
        CHECK_EQ(pt_lookup(&pt, MIB(3), &leaf), OK);
        CHECK(leaf.level == 1 && leaf.prot == (prot | PROT_READ) && leaf.target.v == MIB(4));
        CHECK(leaf.type == MEMTYPE_UNCACHED);
        CHECK_EQ(pt_lookup(&pt, MIB(4), &leaf), OK);
        CHECK(leaf.prot == (PROT_READ | PROT_WRITE));
    }
    CHECK(pt_check(&pt) == NULL);
    CHECK_EQ(pt_unmap(&pt, MIB(2) - FRAME_SIZE, MIB(2) + 2 * FRAME_SIZE), OK);
    CHECK(space_end(&pt, &purse));
}

/* The word that decides about va, found as hardware does. */
static pte_t *entry_of(const struct pt *pt, vaddr_t va)
{
    paddr_t table = pt->root;

    for (unsigned level = pt->levels - 1u;; level--) {
        pte_t *entry = (pte_t *)port_phys_to_virt(table) + va / pt_level_size(level) % PT_ENTRIES;

        if (!pte_is_table(*entry, level))
            return entry;
        table = pte_paddr(*entry, level);
    }
}

TEST(pt, protect_keeps_accessed_and_dirty)
{
    struct purse purse;
    struct pt pt;

    CHECK(space_begin(&pt, &purse, 3, 0));
    CHECK_EQ(pt_map(&pt, GIB(1), paddr(0), FRAME_SIZE, PROT_WRITE, MEMTYPE_NORMAL), OK);
    for (unsigned ad = 0; ad < 4; ad++) {
        pte_t *entry = entry_of(&pt, GIB(1));

        *entry = pte_set_ad(pte_clear_ad(*entry, PTE_ACCESSED | PTE_DIRTY), ad);
        CHECK_EQ(pt_protect(&pt, GIB(1), FRAME_SIZE, ad % 2 != 0 ? PROT_EXEC : PROT_WRITE), OK);
        CHECK_EQ(pte_ad(*entry), ad);
    }
    CHECK_EQ(pt_unmap(&pt, GIB(1), FRAME_SIZE), OK);
    CHECK(space_end(&pt, &purse));
}

TEST(pt, visit_bounds_and_stop)
{
    struct census census = {.ordered = true, .stop_after = 3};
    struct purse purse;
    struct pt pt;
    uint64_t half = pt_level_size(3) / 2;

    CHECK(space_begin(&pt, &purse, 3, 2));
    CHECK_EQ(pt_map(&pt, MIB(2), paddr(MIB(2)), MIB(2) + 4 * FRAME_SIZE, 0, MEMTYPE_NORMAL), OK);
    CHECK_EQ(pt_map(&pt, half - FRAME_SIZE, paddr(0), FRAME_SIZE, 0, MEMTYPE_NORMAL), OK);
    CHECK_EQ(pt_map(&pt, -half, paddr(0), FRAME_SIZE, 0, MEMTYPE_NORMAL), OK);
    CHECK_EQ(pt_map(&pt, -FRAME_SIZE, paddr(0), FRAME_SIZE, 0, MEMTYPE_NORMAL), OK);

    CHECK_EQ(census_of(&pt, 0, UINT64_MAX).bytes, MIB(2) + 7 * FRAME_SIZE);
    CHECK_EQ(census_of(&pt, MIB(3), MIB(3)).bytes, MIB(2)); /* inside a leaf */
    CHECK_EQ(census_of(&pt, MIB(4) - 1, MIB(4)).bytes, MIB(2) + FRAME_SIZE);
    CHECK_EQ(census_of(&pt, MIB(4) + FRAME_SIZE, MIB(4) + 2 * FRAME_SIZE - 1).bytes, FRAME_SIZE);
    CHECK_EQ(census_of(&pt, 0, MIB(2) - 1).bytes, 0);
    CHECK_EQ(census_of(&pt, half - 1, half).bytes, FRAME_SIZE);
    CHECK_EQ(census_of(&pt, half, -half - 1).bytes, 0);
    CHECK_EQ(census_of(&pt, half, -half).bytes, FRAME_SIZE);
    CHECK_EQ(census_of(&pt, -half + FRAME_SIZE, UINT64_MAX).first, -FRAME_SIZE);
    pt_visit(&pt, 0, UINT64_MAX, census_visit, &census);
    CHECK_EQ(census.bytes, MIB(2) + 2 * FRAME_SIZE);

    CHECK_EQ(pt_unmap(&pt, MIB(2), MIB(2) + 4 * FRAME_SIZE), OK);
    CHECK_EQ(pt_unmap(&pt, half - FRAME_SIZE, FRAME_SIZE), OK);
    CHECK_EQ(pt_unmap(&pt, -half, FRAME_SIZE), OK);
    CHECK_EQ(pt_unmap(&pt, -FRAME_SIZE, FRAME_SIZE), OK);
    CHECK(space_end(&pt, &purse));
}

/* ---- Random sequences against an array of pages -------------------------------------------------------- */

#define WINDOW_PAGES 2048u
#define WINDOW       (GIB(1) - MIB(4)) /* tables of two levels end in its middle */

struct page {
    uint64_t target; /* 0: not mapped */
    unsigned prot;
    bool starts; /* a leaf starts here */
};

static struct page page[WINDOW_PAGES];

static status_t model_status(unsigned at, unsigned count)
{
    bool cut = !page[at].starts ||
               (at + count < WINDOW_PAGES && page[at + count].target != 0 && !page[at + count].starts);

    for (unsigned i = at; i < at + count; i++) {
        if (page[i].target == 0)
            return ERR_NOT_FOUND;
    }
    return cut ? ERR_INVALID : OK;
}

static bool model_empty(unsigned at, unsigned count)
{
    for (unsigned i = at; i < at + count; i++) {
        if (page[i].target != 0)
            return false;
    }
    return true;
}

static void model_map(unsigned at, unsigned count, uint64_t target, unsigned prot)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t va = WINDOW + (at + i) * FRAME_SIZE, pa = target + i * FRAME_SIZE;
        uint64_t leaf_va = align_down(va, MIB(2)), into = va - leaf_va;
        bool large = is_aligned(va ^ pa, MIB(2)) && leaf_va >= WINDOW + at * FRAME_SIZE &&
                     leaf_va + MIB(2) <= WINDOW + (at + count) * FRAME_SIZE;

        page[at + i] = (struct page){pa, prot | PROT_READ, !large || into == 0};
    }
}

static bool model_agrees(const struct pt *pt)
{
    for (unsigned i = 0; i < WINDOW_PAGES; i++) {
        vaddr_t va = WINDOW + i * FRAME_SIZE;
        struct pt_leaf leaf;
        bool there = pt_lookup(pt, va, &leaf) == OK;

        if (there != (page[i].target != 0))
            return false;
        if (there && (leaf.target.v + (va - leaf.start) != page[i].target || leaf.prot != page[i].prot ||
                      (leaf.start == va) != page[i].starts))
            return false;
    }
    return pt_check(pt) == NULL;
}

/* One random operation on both; false if they answer differently. */
static bool random_operation(struct pt *pt, uint64_t *seed)
{
    uint64_t pick = test_random(seed), offset = pick >> 40 & 1 ? 0 : (pick >> 41 & 7) * FRAME_SIZE;
    unsigned at = (unsigned)(pick % WINDOW_PAGES),
             count = 1 + (unsigned)(pick >> 16 & (pick >> 60 ? 15 : 1023));
    unsigned prot = (unsigned)(pick >> 32) % ALL_PROTS;
    vaddr_t va;
    status_t expected;

    if (pick >> 59 & 1)
        at = at / 512 * 512, count = 512 * (1 + count % 2);
    count = at + count > WINDOW_PAGES ? WINDOW_PAGES - at : count;
    va = WINDOW + at * FRAME_SIZE;
    if (pick >> 57 & 1) {
        expected = model_empty(at, count) ? OK : ERR_EXISTS;
        if (expected == OK)
            model_map(at, count, va + GIB(1) + offset, prot);
        return pt_map(pt, va, paddr(va + GIB(1) + offset), count * FRAME_SIZE, prot, MEMTYPE_NORMAL) ==
               expected;
    }
    expected = model_status(at, count);
    for (unsigned i = at; expected == OK && i < at + count; i++) {
        if (pick >> 58 & 1)
            page[i].prot = prot | PROT_READ;
        else
            page[i] = (struct page){0};
    }
    if (pick >> 58 & 1)
        return (pt_protect(pt, va, count * FRAME_SIZE, prot) == OK) == (expected == OK);
    return (pt_unmap(pt, va, count * FRAME_SIZE) == OK) == (expected == OK);
}

TEST(pt, random_sequences)
{
    uint64_t seed = 31337;
    struct purse purse;
    struct pt pt;

    memset(page, 0, sizeof(page));
    CHECK(space_begin(&pt, &purse, 4, 1));
    for (unsigned i = 0; i < 4000; i++) {
        CHECK(random_operation(&pt, &seed));
        if (i % 200 == 0)
            CHECK(model_agrees(&pt));
    }
    CHECK(model_agrees(&pt));
    for (unsigned i = 0; i < WINDOW_PAGES; i++) {
        struct pt_leaf leaf;

        if (pt_lookup(&pt, WINDOW + i * FRAME_SIZE, &leaf) == OK)
            CHECK_EQ(pt_unmap(&pt, leaf.start, pt_level_size(leaf.level)), OK);
    }
    CHECK(space_end(&pt, &purse));
}

/* ---- Windows ------------------------------------------------------------------------------------------- */

TEST(pt, a_window_stays_and_is_written_by_hand)
{
    const vaddr_t va = MIB(6) + 0x5000;
    struct purse purse;
    struct pt pt;
    struct pt_leaf leaf;
    paddr_t table = {0}, again = {0};

    for (unsigned levels = 3; levels <= PT_MAX_LEVELS; levels++) {
        CHECK(space_begin(&pt, &purse, levels, 1));
        CHECK_EQ(pt_window(&pt, va, &table), OK);
        CHECK_EQ(pt_window(&pt, MIB(6), &again), OK);
        CHECK_EQ(again.v, table.v);
        CHECK(pt.tables == levels && purse.held == levels && pt_check(&pt) == NULL);
        CHECK_EQ(pt_lookup(&pt, va, &leaf), ERR_NOT_FOUND);
        pte_t *entry = (pte_t *)port_phys_to_virt(table) + 5;
        *entry = pte_make_leaf(paddr(0x7000), 0, PROT_READ | PROT_WRITE, MEMTYPE_NORMAL);
        CHECK_EQ(pt_lookup(&pt, va, &leaf), OK);
        CHECK(leaf.target.v == 0x7000 && leaf.level == 0);
        *entry = 0;
        CHECK_EQ(pt_lookup(&pt, va, &leaf), ERR_NOT_FOUND);
        pt.windows = 0; /* an empty table that is no window is a fault */
        CHECK(pt_check(&pt) != NULL);
        CHECK_EQ(pt_map(&pt, va, paddr(0x7000), FRAME_SIZE, PROT_READ, MEMTYPE_NORMAL), OK);
        CHECK_EQ(pt_unmap(&pt, va, FRAME_SIZE), OK);
        CHECK(space_end(&pt, &purse));
    }
}

TEST(pt, no_window_where_there_is_no_room)
{
    struct purse purse;
    struct pt pt;
    paddr_t table = {1};

    CHECK(space_begin(&pt, &purse, 4, 1));
    CHECK_EQ(pt_window(&pt, UINT64_C(1) << 60, &table), ERR_INVALID);
    purse.limit = 3;
    CHECK_EQ(pt_window(&pt, MIB(6), &table), ERR_NO_MEMORY);
    CHECK(pt.tables == 1 && purse.held == 1 && pt_check(&pt) == NULL);
    purse.limit = UINT64_MAX;
    CHECK_EQ(pt_map(&pt, MIB(6), paddr(MIB(2)), MIB(2), PROT_READ, MEMTYPE_NORMAL), OK);
    CHECK_EQ(pt_window(&pt, MIB(6), &table), ERR_EXISTS);
    CHECK_EQ(table.v, 1);
    CHECK_EQ(pt_unmap(&pt, MIB(6), MIB(2)), OK);
    CHECK(space_end(&pt, &purse));
}
