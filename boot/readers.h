/* SPDX-License-Identifier: MIT
 *
 * The readers of firmware tables, as machine.c calls them, and what they share.
 *
 * A reader takes bytes that may be anything, stays inside them, ends after a number of steps bounded by their
 * length, and allocates nothing. What it understands becomes claims, topology and platform entries; what it
 * refuses becomes a note.
 *
 * Each returns OK, ERR_CORRUPT (the source is unusable as a whole: note_final has said why) or ERR_FULL.
 */
#ifndef BOOT_READERS_H
#define BOOT_READERS_H

#include "machine.h"

/* with_memory: the tree's memory nodes count; with_topology: so do its nodes, distances and CPUs.
 * Reservations, console, interrupt controller and the like always do. */
MUST_CHECK status_t fdt_describe(struct machine *machine, const void *fdt, uint64_t size, bool with_memory,
                                 bool with_topology);

/* Topology and platform; ACPI tables describe no memory by themselves. */
MUST_CHECK status_t acpi_describe(struct machine *machine, const struct machine_sources *sources);

MUST_CHECK status_t e820_describe(struct machine *machine, const struct e820_entry *entries, uint32_t count);

MUST_CHECK status_t efi_describe(struct machine *machine, const void *map, uint64_t size, uint32_t desc_size);

/* e820's number for what EFI marks as set aside for a specific purpose. No firmware uses it, but boot loaders and
 * kernels that hand on a map do (Linux: E820_TYPE_SOFT_RESERVED). */
#define E820_SPECIFIC 0xefffffff

/* The last claims the table has room for are not for usable memory. */
#define CLAIMS_KEPT_FOR_RESERVATIONS 64

/* memmap_claim for readers: an empty range is passed over, one that wraps is noted (`what` at `detail`). When
 * the table is nearly full, further usable memory is left out, with a note; a reservation that finds no room
 * is fatal (ERR_FULL). */
MUST_CHECK status_t reader_claim(struct machine *machine, const char *what, const struct mem_claim *claim,
                                 uint64_t size);

/* topo_add_node for readers: false, with a note, if there is no room. */
bool reader_node(struct machine *machine, const char *what, uint32_t id, uint16_t *node);

/* Little-endian fields at any alignment. */
static inline uint16_t le16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static inline uint32_t le32(const uint8_t *bytes)
{
    return le16(bytes) | (uint32_t)le16(bytes + 2) << 16;
}

static inline uint64_t le64(const uint8_t *bytes)
{
    return le32(bytes) | (uint64_t)le32(bytes + 4) << 32;
}

#endif
