/* SPDX-License-Identifier: MIT
 *
 * The memory map: what every source said about every byte, and what follows from it.
 *
 * Readers of firmware tables, and the kernel itself, record claims: "the e820 entry 3 says [a, b) is usable".
 * memmap_settle() turns the claims into regions that are sorted, do not overlap and are merged where equal.
 * Where claims overlap the higher mem_type wins, so that a usable claim always loses; claims are kept, so
 * that `why ADDRESS` can tell who said what.
 *
 * Invariants after settle (memmap_check): regions ascend, are not empty, do not touch with equal type and
 * node, and every byte of a region has the type of its highest claim.
 * Bounds: MEMMAP_MAX_CLAIMS claims, so at most twice as many regions; settling looks at every claim once per
 * boundary. The last byte of the 64-bit address space cannot be claimed.
 */
#ifndef MM_MEMMAP_H
#define MM_MEMMAP_H

#include <mm/types.h>

/* In rising precedence. MEM_USABLE to MEM_PERSISTENT keep the order of ACPI 6.5 table 15.1 (e820), where the
 * highest number wins. MEM_SPECIFIC is memory like any other, only promised to somebody: it takes from
 * MEM_USABLE and gives way to all else. */
typedef enum mem_type {
    MEM_NONE = 0,
    MEM_USABLE,         /* free RAM: what the allocator gets */
    MEM_SPECIFIC,       /* RAM set aside for a specific purpose (a device's): zone Device */
    MEM_BOOT_RECLAIM,   /* RAM that only the boot stage still needs (bootloader, device tree): usable later */
    MEM_RESERVED,       /* the firmware keeps it */
    MEM_ACPI_RECLAIM,   /* ACPI tables; usable once they are read */
    MEM_ACPI_NVS,
    MEM_BAD,            /* RAM with errors */
    MEM_PERSISTENT,
    MEM_MMIO,
    MEM_FIRMWARE,       /* resident firmware: runtime services, OpenSBI */
    MEM_NOMAP,          /* reserved, and not to be mapped either */
    MEM_KERNEL,         /* the running image */
    MEM_MODULE,         /* boot archive */
    MEM_EARLY,          /* taken by the early allocator: metadata, page tables */
    MEM_TYPE_COUNT,
} mem_type_t;

typedef enum mem_source {
    SOURCE_KERNEL,
    SOURCE_FDT,
    SOURCE_E820,
    SOURCE_EFI,
    SOURCE_ACPI,
    SOURCE_TOPO, /* a hand-written or recorded topology (inspect only) */
    SOURCE_COUNT,
} mem_source_t;

const char *mem_type_name(mem_type_t type);       /* "usable", "reserved", … as in --json */
const char *mem_source_name(mem_source_t source); /* "fdt", "e820", … */

#define NODE_NONE UINT16_MAX

struct mem_claim {
    paddr_t start, end;
    mem_type_t type;
    mem_source_t source;
    uint32_t detail; /* where the source says so: entry index (e820, EFI), byte offset in the blob (FDT) */
    bool ram;             /* the firmware counts these bytes as memory that is installed */
};

struct mem_region {
    paddr_t start, end;
    mem_type_t type;
    uint16_t node; /* dense node index, NODE_NONE until the topology is known */
};

#define MEMMAP_MAX_CLAIMS 1024
#define MEMMAP_MAX_REGIONS 2048

struct memmap {
    uint32_t claim_count;
    uint32_t region_count;
    struct mem_claim claim[MEMMAP_MAX_CLAIMS];
    struct mem_region region[MEMMAP_MAX_REGIONS];
};

void memmap_init(struct memmap *map);

/* Records one claim. start and size are bytes and need no alignment. ram: the claim says that there is RAM.
 * ERR_INVALID: empty, or start + size reaches 2^64 (nothing is recorded).
 * ERR_FULL: no room; the map is then not to be trusted. Boot only, one CPU. */
MUST_CHECK status_t memmap_claim(struct memmap *map, uint64_t start, uint64_t size, mem_type_t type,
                                 mem_source_t source, uint32_t detail, bool ram);

/* Works the regions out anew from all claims. May be called again after more claims. ERR_FULL as above. */
MUST_CHECK status_t memmap_settle(struct memmap *map);

/* The region that holds address, or NULL. O(log regions). */
const struct mem_region *memmap_find(const struct memmap *map, paddr_t address);

/* Bytes of one type below limit (UINT64_MAX: all). */
uint64_t memmap_bytes(const struct memmap *map, mem_type_t type, uint64_t limit);

/* 4 KiB frames that lie wholly inside regions of one type; adjoining regions count as one. */
uint64_t memmap_frames(const struct memmap *map, mem_type_t type);

/* The first stretch of installed RAM at or above `from`: bytes that any source counts as such. False: none.
 * Starting with from = 0 and going on with the last *end visits all of it once, in rising order. */
bool memmap_ram_next(const struct memmap *map, uint64_t from, uint64_t *start, uint64_t *end);

/* Bytes of installed RAM, overlaps once; *highest_end its end. */
uint64_t memmap_ram_bytes(const struct memmap *map, uint64_t *highest_end);

/* Verifies the invariants above; returns NULL or a sentence saying which is broken. */
const char *memmap_check(const struct memmap *map);

#endif
