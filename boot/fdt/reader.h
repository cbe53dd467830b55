/* SPDX-License-Identifier: MIT
 *
 * The device tree reader, inside: one walk over all nodes that keeps the path from the root, so that nothing
 * has to search for a parent. fdt.c walks, the other files look at the nodes that concern them.
 */
#ifndef BOOT_FDT_READER_H
#define BOOT_FDT_READER_H

#include "../readers.h"

#include <libfdt.h>

/* Nodes nested deeper are not looked at; buses on real boards nest five deep. */
#define FDT_MAX_DEPTH 16

struct fdt_level {
    int node;
    int address_cells, size_cells; /* that the node prescribes to its children; < 0: nonsense */
    bool available;                /* neither the node nor one above it is disabled */
};

struct fdt_walk {
    struct machine *machine;
    const void *fdt;
    bool with_memory, with_topology;
    int console;                   /* the node that stdout-path names, else the alias serial0, or < 0 */
    struct console_desc guess;     /* the first UART that is known, in case that node gives none */
    int distance_map;              /* the first there is, or < 0; read when all nodes are known */
    int depth;                     /* of the node looked at; path[0] is the root */
    struct fdt_level path[FDT_MAX_DEPTH];
    const fdt32_t *timer;          /* interrupts of the architected timer, for when the controller is known */
    int timer_length;
    uint32_t interrupt_cells;      /* of the GIC */
    uint32_t bcm2836_cells;        /* of the BCM2836's controller */
    bool has_mmu_types;            /* some CPU says what MMU it has, so those that do not have none */
    uint64_t no_mmu[TOPO_MAX_CPUS / 64]; /* CPUs, by their index, that say nothing */
};

/* Each looks at the node that the walk stands on (memory, topology) or at the node that it names. */
MUST_CHECK status_t fdt_memory(struct fdt_walk *walk);
MUST_CHECK status_t fdt_reservations(struct fdt_walk *walk);
MUST_CHECK status_t fdt_reserve_entries(struct fdt_walk *walk);
MUST_CHECK status_t fdt_cpu(struct fdt_walk *walk);
void fdt_chosen(struct fdt_walk *walk, int chosen);
void fdt_device(struct fdt_walk *walk);
void fdt_dma_ranges(struct fdt_walk *walk);
void fdt_finish_topology(struct fdt_walk *walk);
void fdt_finish_platform(struct fdt_walk *walk);

/* The numa-node-id of the node looked at; false: none, or one that means none. */
bool fdt_numa_id(const struct fdt_walk *walk, uint32_t *id);

/* ---- Reading properties -------------------------------------------------------------------------------- */

static inline const struct fdt_level *fdt_here(const struct fdt_walk *walk)
{
    return &walk->path[walk->depth];
}

static inline const struct fdt_level *fdt_parent(const struct fdt_walk *walk)
{
    return &walk->path[walk->depth - 1];
}

/* Where a node is in the blob: what claims and notes name. */
static inline uint32_t fdt_offset_in_blob(const void *fdt, int node)
{
    return fdt_off_dt_struct(fdt) + (uint32_t)node;
}

/* A number of `cells` 32-bit cells. False: it needs more than 64 bits. */
bool fdt_number(const fdt32_t *value, int cells, uint64_t *number);

/* A property that is one number of one or two cells. False: absent or another length. */
bool fdt_prop_number(const void *fdt, int node, const char *name, uint64_t *number);

/* A property that is text, or NULL. */
const char *fdt_prop_text(const void *fdt, int node, const char *name);

bool fdt_is_compatible(const void *fdt, int node, const char *const *names);

/* A property of the node looked at that lists addresses and sizes in the parent's cells. Looking one up costs
 * time in the number of properties, so it is done once, not for each entry. */
struct fdt_ranges {
    const fdt32_t *value;
    int count;                     /* 0: absent, or the cells are nonsense */
    int address_cells, size_cells;
    bool fits;                     /* it is whole entries, or absent */
};
struct fdt_ranges fdt_ranges(const struct fdt_walk *walk, const char *property);

/* Entry `index` < count. False: a number needs more than 64 bits; it reads as UINT64_MAX. */
bool fdt_range(const struct fdt_ranges *ranges, int index, uint64_t *start, uint64_t *size);

/* An address as children of path[level] write it, translated upwards to the root's; `property` is "ranges" or
 * "dma-ranges". False: a bus on the way does not pass it on. */
bool fdt_translate(const struct fdt_walk *walk, int level, const char *property, uint64_t *address);

#endif
