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

static void note_length(struct fdt_walk *walk, const char *property)
{
    const struct fdt_level *parent = fdt_parent(walk);
    int length, cells = parent->address_cells + parent->size_cells;
    if (fdt_getprop(walk->fdt, fdt_here(walk)->node, property, &length) != NULL &&
        (parent->address_cells < 0 || parent->size_cells < 0 || cells == 0 || length % (4 * cells) != 0))
        note(&walk->machine->notes, "fdt: at 0x%x: %s of %s does not fit its cells",
             fdt_offset_in_blob(walk->fdt, fdt_here(walk)->node), property,
             fdt_get_name(walk->fdt, fdt_here(walk)->node, NULL));
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
    note_length(walk, property);
    uint64_t start, size;
    for (int i = 0; fdt_range(walk, property, i, &start, &size); i++) {
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
    uint64_t start, size;
    if (fdt_range(walk, "alloc-ranges", 0, &start, &size) && size <= UINT64_MAX - start) {
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
    uint64_t start, size;
    note_length(walk, "reg");
    for (int i = 0; fdt_range(walk, "reg", i, &start, &size); i++) {
        status_t status = claim(walk, "fdt: reserved-memory at", offset, start, size, type);
        if (status != OK)
            return status;
    }
    return OK;
}
