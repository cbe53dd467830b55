/* SPDX-License-Identifier: MIT
 *
 * The walker. Everything is done through a cursor, which stands on the entry that decides about an address:
 * a leaf, or an absent entry at the level where the tables end. It moves along a table without coming down
 * from the root again.
 *
 * Changes come in two steps. The first looks at the whole range and says what is wrong; pt_map also counts
 * the tables it will need and fetches them. The second step cannot fail. Unlinked tables are given back only
 * after the TLB flush; until then they are chained through their first word, which no walker takes for an
 * entry: a frame-aligned address is "not present" on every ISA.
 *
 * Nothing here remembers the address of a mapped table from one call to the next.
 */
#include <mm/atomic.h>
#include <mm/port.h>
#include <mm/pt.h>

#define PROT_ALL (PROT_READ | PROT_WRITE | PROT_EXEC | PROT_USER | PROT_GLOBAL)

typedef _Atomic pte_t entry_t;

_Static_assert(sizeof(entry_t) * PT_ENTRIES == FRAME_SIZE, "a table fills a frame");

struct cursor {
    const struct pt *pt;
    entry_t *entry;
    pte_t value; /* of the entry, when it was reached */
    unsigned level;
    vaddr_t start;                /* of what the entry translates */
    paddr_t table[PT_MAX_LEVELS]; /* the tables on the way, by level */
};

/* ---- Addresses ----------------------------------------------------------------------------------------- */

static unsigned index_at(vaddr_t va, unsigned level)
{
    return (unsigned)(va >> (FRAME_SHIFT + PT_INDEX_BITS * level)) % PT_ENTRIES;
}

/* The first address above the lower half; its negative begins the upper half. */
static uint64_t half_size(const struct pt *pt)
{
    return pt_level_size(pt->levels) / 2;
}

static bool canonical(const struct pt *pt, vaddr_t va)
{
    return va < half_size(pt) || va >= -half_size(pt);
}

/* [va, va + size) is frame aligned, not empty, and lies in one half. */
static bool range_valid(const struct pt *pt, vaddr_t va, uint64_t size)
{
    vaddr_t last = va + size - 1;

    return size > 0 && is_aligned(va | size, FRAME_SIZE) && last >= va && canonical(pt, va) &&
           canonical(pt, last) && (va ^ last) >> 63 == 0;
}

/* ---- The cursor ---------------------------------------------------------------------------------------- */

static entry_t *table_entry(paddr_t table, unsigned index)
{
    return (entry_t *)port_phys_to_virt(table) + index;
}

static pte_t load(entry_t *entry)
{
    return load_acquire(entry);
}

static void store(entry_t *entry, pte_t value)
{
    store_release(entry, value);
}

/* From the cursor's entry down to the one that decides about va. At most one round per level. */
static void descend(struct cursor *cursor, vaddr_t va)
{
    cursor->value = load(cursor->entry);
    while (pte_is_table(cursor->value, cursor->level)) {
        paddr_t table = pte_paddr(cursor->value, cursor->level);

        cursor->level--;
        cursor->table[cursor->level] = table;
        cursor->entry = table_entry(table, index_at(va, cursor->level));
        cursor->value = load(cursor->entry);
    }
    cursor->start = align_down(va, pt_level_size(cursor->level));
}

static void seek(struct cursor *cursor, const struct pt *pt, vaddr_t va)
{
    cursor->pt = pt;
    cursor->level = pt->levels - 1u;
    cursor->table[cursor->level] = pt->root;
    cursor->entry = table_entry(pt->root, index_at(va, cursor->level));
    descend(cursor, va);
}

/* The last address that the entry translates. */
static vaddr_t cursor_last(const struct cursor *cursor)
{
    return cursor->start + (pt_level_size(cursor->level) - 1);
}

/* Whether the entry is the last of its table. */
static bool at_table_end(const struct cursor *cursor)
{
    return index_at(cursor->start, cursor->level) == PT_ENTRIES - 1;
}

/* On to the next entry. The caller knows that the address space goes on. */
static void step(struct cursor *cursor)
{
    vaddr_t next = cursor_last(cursor) + 1;

    if (at_table_end(cursor)) {
        seek(cursor, cursor->pt, next);
    } else {
        cursor->entry++;
        descend(cursor, next);
    }
}

static struct pt_leaf leaf_of(const struct cursor *cursor)
{
    return (struct pt_leaf){
        .start = cursor->start,
        .target = pte_paddr(cursor->value, cursor->level),
        .level = (uint8_t)cursor->level,
        .prot = pte_prot(cursor->value, cursor->level),
        .type = pte_memtype(cursor->value, cursor->level),
    };
}

/* ---- Tables in hand: chained through their first word -------------------------------------------------- */

/* No table's address (zero is one: frame 0 is a frame like any other), and, as it is stored in a table too, not
 * present on any ISA: bit 0 is clear. */
static const paddr_t chain_end = {2};

static void chain_push(paddr_t *chain, paddr_t table)
{
    store(table_entry(table, 0), chain->v);
    *chain = table;
}

static paddr_t chain_pop(paddr_t *chain)
{
    paddr_t table = *chain;

    chain->v = load(table_entry(table, 0));
    return table;
}

static void chain_free(const struct pt *pt, paddr_t chain)
{
    while (chain.v != chain_end.v)
        pt->frames.free(pt->frames.context, chain_pop(&chain));
}

/* Fetches `count` tables; on failure none is kept. */
static status_t chain_alloc(const struct pt *pt, uint64_t count, paddr_t *chain)
{
    *chain = chain_end;
    for (uint64_t i = 0; i < count; i++) {
        paddr_t table;
        status_t status = pt->frames.alloc(pt->frames.context, &table);

        if (status != OK) {
            chain_free(pt, *chain);
            return status;
        }
        chain_push(chain, table);
    }
    return OK;
}

/* ---- Mapping ------------------------------------------------------------------------------------------- */

status_t pt_init(struct pt *pt, unsigned levels, unsigned max_leaf, struct pt_frames frames)
{
    paddr_t root;
    status_t status = frames.alloc(frames.context, &root);

    if (status != OK)
        return status;
    port_frame_zero(pfn_of(root));
    *pt = (struct pt){.root = root, .tables = 1, .frames = frames};
    pt->levels = (uint8_t)levels;
    pt->max_leaf = (uint8_t)max_leaf;
    return OK;
}

/* Tables to be made for [va, last] under an absent entry of `level`. An entry of level j that the range meets
 * needs a table below it, unless the range covers it wholly and a leaf of that size can be aligned. offset is
 * the distance from virtual to physical addresses. */
static uint64_t tables_needed(const struct pt *pt, vaddr_t va, vaddr_t last, uint64_t offset, unsigned level)
{
    uint64_t tables = 0;

    for (unsigned j = 1; j <= level; j++) {
        uint64_t size = pt_level_size(j);
        uint64_t first_met = va / size, last_met = last / size;
        uint64_t first_whole = first_met + (va % size != 0);
        uint64_t end_whole = last_met + (last % size == size - 1);

        tables += last_met - first_met + 1;
        if (j <= pt->max_leaf && is_aligned(offset, size) && end_whole > first_whole)
            tables -= end_whole - first_whole;
    }
    return tables;
}

/* Looks at the whole range: ERR_EXISTS if anything is there, else the number of tables to be made. */
static status_t plan(const struct pt *pt, vaddr_t va, vaddr_t last, uint64_t offset, uint64_t *tables)
{
    struct cursor cursor;

    *tables = 0;
    for (seek(&cursor, pt, va);; step(&cursor)) {
        if (pte_present(cursor.value))
            return ERR_EXISTS;
        *tables += tables_needed(pt, max_u64(va, cursor.start), min_u64(last, cursor_last(&cursor)), offset,
                                 cursor.level);
        if (cursor_last(&cursor) >= last)
            return OK;
    }
}

/* Hangs an empty table under the cursor's absent entry and goes down into it. */
static void grow(struct cursor *cursor, vaddr_t va, paddr_t table)
{
    port_frame_zero(pfn_of(table));
    store(cursor->entry, pte_make_table(table));
    descend(cursor, va);
}

/* The largest leaf for `va` that the level, the alignments and what is left allow. */
static unsigned leaf_level(const struct pt *pt, unsigned level, vaddr_t va, vaddr_t last, uint64_t pa)
{
    if (level > pt->max_leaf)
        level = pt->max_leaf;
    while (!is_aligned(va | pa, pt_level_size(level)) || last - va < pt_level_size(level) - 1)
        level--; /* 0 always fits */
    return level;
}

status_t pt_map(struct pt *pt, vaddr_t va, paddr_t pa, uint64_t size, unsigned prot, memtype_t type)
{
    const uint64_t pa_end = UINT64_C(1) << PTE_PADDR_BITS;
    vaddr_t last = va + size - 1;
    uint64_t offset = pa.v - va, tables;
    struct cursor cursor;
    paddr_t spare;
    status_t status;

    if (!range_valid(pt, va, size) || !is_aligned(pa.v, FRAME_SIZE) || size > pa_end ||
        pa.v > pa_end - size || (prot & ~(unsigned)PROT_ALL) != 0 || type > MEMTYPE_UNCACHED)
        return ERR_INVALID;
    status = plan(pt, va, last, offset, &tables);
    if (status == OK)
        status = chain_alloc(pt, tables, &spare);
    if (status != OK)
        return status;

    for (seek(&cursor, pt, va);; step(&cursor)) {
        vaddr_t at = max_u64(va, cursor.start);
        unsigned level = leaf_level(pt, cursor.level, at, last, at + offset);

        while (cursor.level > level)
            grow(&cursor, at, chain_pop(&spare));
        store(cursor.entry, pte_make_leaf(paddr(at + offset), level, prot | PROT_READ, type));
        if (cursor_last(&cursor) == last)
            break;
    }
    pt->tables += tables;
    port_pte_sync();
    return OK;
}

status_t pt_window(struct pt *pt, vaddr_t va, paddr_t *table)
{
    struct cursor cursor;
    paddr_t spare;
    status_t status;

    if (!canonical(pt, va))
        return ERR_INVALID;
    seek(&cursor, pt, va);
    if (cursor.level > 0) {
        uint64_t tables = cursor.level;

        if (pte_present(cursor.value))
            return ERR_EXISTS;
        status = chain_alloc(pt, tables, &spare);
        if (status != OK)
            return status;
        while (cursor.level > 0)
            grow(&cursor, va, chain_pop(&spare));
        pt->tables += tables;
        pt->windows++;
        port_pte_sync();
    }
    *table = cursor.table[0];
    return OK;
}

/* ---- Changing what is mapped --------------------------------------------------------------------------- */

/* Whether the range consists of whole leaves. */
static status_t mapped_throughout(const struct pt *pt, vaddr_t va, uint64_t size)
{
    vaddr_t last = va + size - 1;
    struct cursor cursor;

    if (!range_valid(pt, va, size))
        return ERR_INVALID;
    for (seek(&cursor, pt, va);; step(&cursor)) {
        if (!pte_present(cursor.value))
            return ERR_NOT_FOUND;
        if (cursor.start < va || cursor_last(&cursor) > last)
            return ERR_INVALID;
        if (cursor_last(&cursor) == last)
            return OK;
    }
}

static bool table_empty(paddr_t table)
{
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        if (load(table_entry(table, i)) != 0)
            return false;
    }
    return true;
}

/* Unlinks the cursor's table if it is empty, then the one above, and so on; never the root. Returns the level
 * of the uppermost entry that was cleared for it, 0 if none. */
static unsigned prune(struct pt *pt, const struct cursor *cursor, paddr_t *unlinked)
{
    unsigned level = cursor->level, cleared = 0;

    for (; level + 1 < pt->levels && table_empty(cursor->table[level]); level++) {
        cleared = level + 1;
        store(table_entry(cursor->table[cleared], index_at(cursor->start, cleared)), 0);
        chain_push(unlinked, cursor->table[level]);
        pt->tables--;
    }
    return cleared;
}

/* Flushes all that entries of `level` in the range translated: an MMU may hold entries that led to tables now
 * unlinked, and some forget those only with everything below them. */
static void flush_entries(vaddr_t va, vaddr_t last, unsigned level)
{
    uint64_t size = pt_level_size(level);
    vaddr_t start = align_down(va, size);

    port_pte_sync();
    port_tlb_flush(start, align_down(last, size) - start + size);
}

status_t pt_unmap(struct pt *pt, vaddr_t va, uint64_t size)
{
    vaddr_t last = va + size - 1;
    status_t status = mapped_throughout(pt, va, size);
    paddr_t unlinked = chain_end;
    unsigned cleared = 0;
    struct cursor cursor;

    if (status != OK)
        return status;
    for (seek(&cursor, pt, va);; step(&cursor)) {
        bool done = cursor_last(&cursor) == last;

        store(cursor.entry, 0);
        if (done || at_table_end(&cursor)) {
            unsigned level = prune(pt, &cursor, &unlinked);

            cleared = level > cleared ? level : cleared;
        }
        if (done)
            break;
    }
    flush_entries(va, last, cleared);
    chain_free(pt, unlinked);
    return OK;
}

/* Gives the cursor's leaf other rights; accessed and dirty stay what they are, also when the MMU sets one of
 * them meanwhile. It can do so twice, hence at most three rounds. */
static void change_rights(struct cursor *cursor, unsigned prot)
{
    unsigned level = cursor->level;
    pte_t old = cursor->value, new;

    do {
        new = pte_make_leaf(pte_paddr(old, level), level, prot, pte_memtype(old, level));
        new = pte_set_ad(pte_clear_ad(new, PTE_ACCESSED | PTE_DIRTY), pte_ad(old));
    } while (!compare_exchange(cursor->entry, &old, pte_needs_break(old, new) ? 0 : new));
    if (pte_needs_break(old, new)) {
        flush_entries(cursor->start, cursor->start, level);
        store(cursor->entry, new);
    }
}

status_t pt_protect(struct pt *pt, vaddr_t va, uint64_t size, unsigned prot)
{
    vaddr_t last = va + size - 1;
    struct cursor cursor;
    status_t status;

    if ((prot & ~(unsigned)PROT_ALL) != 0)
        return ERR_INVALID;
    status = mapped_throughout(pt, va, size);
    if (status != OK)
        return status;
    for (seek(&cursor, pt, va);; step(&cursor)) {
        change_rights(&cursor, prot | PROT_READ);
        if (cursor_last(&cursor) == last)
            break;
    }
    flush_entries(va, last, 0);
    return OK;
}

/* ---- Looking ------------------------------------------------------------------------------------------- */

status_t pt_lookup(const struct pt *pt, vaddr_t va, struct pt_leaf *leaf)
{
    struct cursor cursor;

    if (!canonical(pt, va))
        return ERR_NOT_FOUND;
    seek(&cursor, pt, va);
    if (!pte_present(cursor.value))
        return ERR_NOT_FOUND;
    *leaf = leaf_of(&cursor);
    return OK;
}

void pt_visit(const struct pt *pt, vaddr_t start, vaddr_t last,
              bool (*visit)(void *context, const struct pt_leaf *leaf), void *context)
{
    struct cursor cursor;

    if (!canonical(pt, start))
        start = -half_size(pt);
    if (start > last)
        return;
    for (seek(&cursor, pt, start);; step(&cursor)) {
        struct pt_leaf leaf;

        if (pte_present(cursor.value)) {
            leaf = leaf_of(&cursor);
            if (!visit(context, &leaf))
                return;
        }
        if (cursor_last(&cursor) >= last)
            return;
        if (cursor_last(&cursor) == half_size(pt) - 1) { /* on to the upper half, if the range reaches it */
            pt_visit(pt, -half_size(pt), last, visit, context);
            return;
        }
    }
}

struct tally {
    uint64_t tables, empty;
};

/* Walks the tables from one on and counts them in *tally. Depth: at most the levels; gives up as soon as
 * there are more than there should be, so that cycles end. */
static const char *check_table(const struct pt *pt, paddr_t table, unsigned level, struct tally *tally)
{
    const char *broken = NULL;

    if (++tally->tables > pt->tables)
        return "more tables are linked than counted";
    if (!is_aligned(table.v, FRAME_SIZE))
        return "a table is not a frame";
    if (level + 1u < pt->levels && table_empty(table) && (level > 0 || ++tally->empty > pt->windows))
        return "an empty table is linked";
    for (unsigned i = 0; i < PT_ENTRIES && broken == NULL; i++) {
        pte_t value = load(table_entry(table, i));

        if (pte_is_table(value, level))
            broken = check_table(pt, pte_paddr(value, level), level - 1, tally);
        else if (pte_present(value) ? level > pt->max_leaf : value != 0)
            broken = pte_present(value) ? "a leaf is too large for this MMU" : "an absent entry is not zero";
    }
    return broken;
}

const char *pt_check(const struct pt *pt)
{
    struct tally tally = {0, 0};
    const char *broken = check_table(pt, pt->root, pt->levels - 1u, &tally);

    if (broken == NULL && tally.tables != pt->tables)
        return "fewer tables are linked than counted";
    return broken;
}
