/* SPDX-License-Identifier: MIT
 *
 * Page tables: one walker for every ISA and paging mode, over the entry encodings of <arch/pte.h>.
 *
 * Levels count from 0 (4 KiB leaves) upwards; a table has 512 entries of 64 bits at every level. A table
 * frame is reached through port_phys_to_virt().
 *
 * pt_map checks the whole range before it changes anything and takes the largest leaves that address, size and
 * alignment allow. Tables that become empty are given back. Not thread safe: one lock per address space, held
 * by the caller.
 */
#ifndef MM_PT_H
#define MM_PT_H

#include <mm/types.h>

#define PT_ENTRIES 512
#define PT_INDEX_BITS 9
#define PT_MAX_LEVELS 5

typedef uint64_t pte_t;

typedef enum prot {
    PROT_READ = 1 << 0, /* always set in a leaf */
    PROT_WRITE = 1 << 1,
    PROT_EXEC = 1 << 2,
    PROT_USER = 1 << 3,
    PROT_GLOBAL = 1 << 4, /* in every address space: kernel mappings */
} prot_t;

typedef enum memtype {
    MEMTYPE_NORMAL, /* write-back cacheable */
    MEMTYPE_DEVICE, /* strongly ordered, uncached */
    MEMTYPE_UNCACHED, /* normal memory, not cached: framebuffers, DMA */
} memtype_t;

/* What pte_ad, pte_set_ad and pte_clear_ad speak of. */
#define PTE_ACCESSED 1u
#define PTE_DIRTY 2u

#include <arch/pte.h>

/* Where table frames come from and go to. alloc returns one frame, contents undefined. */
struct pt_frames {
    status_t (*alloc)(void *context, paddr_t *table) MUST_CHECK;
    void (*free)(void *context, paddr_t table);
    void *context;
};

struct pt {
    paddr_t root;
    uint8_t levels;          /* 3 … 5 */
    uint8_t max_leaf;        /* highest level at which this CPU takes a leaf: 0 … 2 */
    uint64_t tables;         /* frames in use, the root included */
    uint64_t windows;        /* level-0 tables that pt_window made: these may be empty */
    struct pt_frames frames;
};

struct pt_leaf {
    vaddr_t start;   /* of the leaf, aligned to its size */
    paddr_t target;
    uint8_t level;
    unsigned prot;   /* prot_t */
    memtype_t type;
};

/* An empty address space. ERR_NO_MEMORY. */
MUST_CHECK status_t pt_init(struct pt *pt, unsigned levels, unsigned max_leaf, struct pt_frames frames);

/* Maps [va, va + size) to [pa, …). All three are frame aligned and size > 0.
 * ERR_INVALID: misaligned, wraps, or outside the canonical addresses. ERR_EXISTS: a part is mapped already.
 * ERR_NO_MEMORY. In each case nothing stays mapped that was not before. */
MUST_CHECK status_t pt_map(struct pt *pt, vaddr_t va, paddr_t pa, uint64_t size, unsigned prot,
                           memtype_t type);

/* Removes every leaf in [va, va + size), gives empty tables back, flushes. Whole leaves only: ERR_INVALID if
 * the range cuts one, or nothing at some address is mapped (ERR_NOT_FOUND); then nothing was changed. */
MUST_CHECK status_t pt_unmap(struct pt *pt, vaddr_t va, uint64_t size);

/* Changes the rights of a range that is mapped throughout; same errors as pt_unmap. */
MUST_CHECK status_t pt_protect(struct pt *pt, vaddr_t va, uint64_t size, unsigned prot);

/* Makes the tables for 4 KiB leaves at va and hands out the level-0 one, which is kept though it is empty. Its
 * entries are the caller's, to write and to flush; pt_map and pt_unmap have no business in the 2 MiB around va.
 * A second call for the same 2 MiB gives the same table. ERR_INVALID: not canonical. ERR_EXISTS: a larger leaf is
 * there. ERR_NO_MEMORY. */
MUST_CHECK status_t pt_window(struct pt *pt, vaddr_t va, paddr_t *table);

/* The leaf that translates va. ERR_NOT_FOUND. */
MUST_CHECK status_t pt_lookup(const struct pt *pt, vaddr_t va, struct pt_leaf *leaf);

/* Calls visit for every leaf that meets [start, last], in rising order, until it returns false. */
void pt_visit(const struct pt *pt, vaddr_t start, vaddr_t last,
              bool (*visit)(void *context, const struct pt_leaf *leaf), void *context);

/* Bytes that one entry of a level translates. */
static inline uint64_t pt_level_size(unsigned level)
{
    return FRAME_SIZE << (PT_INDEX_BITS * level);
}

/* Verifies that every table is reachable once and counted; NULL or what is broken. */
const char *pt_check(const struct pt *pt);

#endif
