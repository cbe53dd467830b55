/* SPDX-License-Identifier: MIT
 *
 * Memory in the device tree: memory nodes say where RAM is, the reservation list and /reserved-memory what of
 * it is taken. A reservation without an address (size, alignment, alloc-ranges) leaves the place to the
 * kernel; it is recorded and takes nothing away here.
 *
 * Of ranges that pass the end of the address space, memory is left out and a reservation kept up to there:
 * either way, less is free.
 */
#include "reader.h"

#include <string.h>

static status_t claim(struct fdt_walk *walk, const char *what, uint32_t offset, uint64_t start, uint64_t size,
                      mem_type_t type)
{
    struct mem_claim claimed = {.start = paddr(start),
                                .type = type,
                                .source = SOURCE_FDT,
                                .detail = offset,
                                .ram = type == MEM_USABLE};
    if (type != MEM_USABLE && size > UINT64_MAX - start) {
        note(&walk->machine->notes, "%s 0x%x: 0x%llx + 0x%llx wraps around; cut at the end", what, offset,
             (unsigned long long)start, (unsigned long long)size);
        size = UINT64_MAX - start;
    }
    return reader_claim(walk->machine, what, &claimed, size);
}

static struct fdt_ranges find_ranges(struct fdt_walk *walk, const char *property)
{
    struct fdt_ranges ranges = fdt_ranges(walk, property);
    if (!ranges.fits)
        note(&walk->machine->notes, "fdt: at 0x%x: %s of %s does not fit its cells",
             fdt_offset_in_blob(walk->fdt, fdt_here(walk)->node), property,
             fdt_get_name(walk->fdt, fdt_here(walk)->node, NULL));
    return ranges;
}

static void note_wide(struct fdt_walk *walk, const char *what, uint32_t offset, const char *outcome)
{
    note(&walk->machine->notes, "%s 0x%x: needs more than 64 bits; %s", what, offset, outcome);
}

/* ---- Memory nodes ------------------------------------------------------------------------------------- */

/* The node that a memory node belongs to; without a number it is 0. */
static uint16_t node_of_memory(struct fdt_walk *walk)
{
    uint32_t id;
    uint16_t node;
    if (!fdt_numa_id(walk, &id))
        id = 0;
    return reader_node(walk->machine, "fdt: memory", id, &node) ? node : NODE_NONE;
}

status_t fdt_memory(struct fdt_walk *walk)
{
    if (!walk->with_memory)
        return OK;
    uint32_t offset = fdt_offset_in_blob(walk->fdt, fdt_here(walk)->node);
    uint16_t node = walk->with_topology ? node_of_memory(walk) : NODE_NONE;
    /* A kernel started after a crash may use only this part. */
    const char *property = "linux,usable-memory";
    if (fdt_getprop(walk->fdt, fdt_here(walk)->node, property, NULL) == NULL)
        property = "reg";
    struct fdt_ranges ranges = find_ranges(walk, property);
    for (int i = 0; i < ranges.count; i++) {
        uint64_t start, size;
        if (!fdt_range(&ranges, i, &start, &size)) {
            note_wide(walk, "fdt: memory at", offset, "left out");
            continue;
        }
        status_t status = claim(walk, "fdt: memory at", offset, start, size, MEM_USABLE);
        if (status != OK)
            return status;
        if (node != NODE_NONE && topo_add_range(&walk->machine->topo, node, start, size, false) == ERR_FULL)
            note(&walk->machine->notes, "fdt: at 0x%x: more than %u ranges; its node is guessed", offset,
                 TOPO_MAX_RANGES);
    }
    return OK;
}

/* ---- Reservations ------------------------------------------------------------------------------------- */

status_t fdt_reserve_entries(struct fdt_walk *walk)
{
    int count = fdt_num_mem_rsv(walk->fdt);
    for (int i = 0; i < count; i++) {
        uint64_t start, size;
        if (fdt_get_mem_rsv(walk->fdt, i, &start, &size) != 0)
            break;
        uint32_t offset = fdt_off_mem_rsvmap(walk->fdt) + 16 * (uint32_t)i;
        status_t status = claim(walk, "fdt: memory reservation at", offset, start, size, MEM_RESERVED);
        if (status != OK)
            return status;
    }
    return OK;
}

/* The first entry of alloc-ranges, if there is one that makes sense. */
static void read_alloc_range(struct fdt_walk *walk, struct dynamic_reservation *reservation)
{
    struct fdt_ranges ranges = find_ranges(walk, "alloc-ranges");
    uint64_t start, size;
    if (ranges.count > 1)
        note(&walk->machine->notes, "fdt: at 0x%x: the first of %d alloc-ranges counts",
             fdt_offset_in_blob(walk->fdt, fdt_here(walk)->node), ranges.count);
    if (ranges.count > 0 && fdt_range(&ranges, 0, &start, &size) && size <= UINT64_MAX - start) {
        reservation->range_start = start;
        reservation->range_end = start + size;
    }
}

static void add_dynamic(struct fdt_walk *walk)
{
    struct machine *machine = walk->machine;
    int node = fdt_here(walk)->node;
    uint32_t offset = fdt_offset_in_blob(walk->fdt, node);
    struct dynamic_reservation reservation = {
        .nomap = fdt_getprop(walk->fdt, node, "no-map", NULL) != NULL,
        .reusable = fdt_getprop(walk->fdt, node, "reusable", NULL) != NULL,
    };
    if (!fdt_prop_number(walk->fdt, node, "size", &reservation.size) || reservation.size == 0)
        return; /* neither a place nor a size: properties for a driver, nothing is asked for */
    if (machine->dynamic_count == MACHINE_MAX_DYNAMIC) {
        note(&machine->notes, "fdt: at 0x%x: more than %u reservations without an address", offset,
             MACHINE_MAX_DYNAMIC);
        return;
    }
    if (fdt_getprop(walk->fdt, node, "alignment", NULL) != NULL &&
        !fdt_prop_number(walk->fdt, node, "alignment", &reservation.align))
        note(&machine->notes, "fdt: at 0x%x: alignment is no number", offset);
    read_alloc_range(walk, &reservation);
    const char *name = fdt_get_name(walk->fdt, node, NULL);
    memcpy(reservation.name, name, strnlen(name, sizeof(reservation.name) - 1));
    machine->dynamic[machine->dynamic_count++] = reservation;
}

status_t fdt_reservations(struct fdt_walk *walk)
{
    const struct fdt_level *here = fdt_here(walk);
    if (!here->available)
        return OK;
    if (fdt_getprop(walk->fdt, here->node, "reg", NULL) == NULL) {
        add_dynamic(walk);
        return OK;
    }
    uint32_t offset = fdt_offset_in_blob(walk->fdt, here->node);
    mem_type_t type = fdt_getprop(walk->fdt, here->node, "no-map", NULL) != NULL ? MEM_NOMAP : MEM_RESERVED;
    struct fdt_ranges ranges = find_ranges(walk, "reg");
    for (int i = 0; i < ranges.count; i++) {
        uint64_t start, size;
        if (!fdt_range(&ranges, i, &start, &size)) {
            note_wide(walk, "fdt: reserved-memory at", offset, "cut at the end");
            size = UINT64_MAX - start;
        }
        status_t status = claim(walk, "fdt: reserved-memory at", offset, start, size, type);
        if (status != OK)
            return status;
    }
    return OK;
}
