/* SPDX-License-Identifier: MIT
 *
 * The device tree (Devicetree Specification 0.4), through libfdt. libfdt stays inside the blob once its
 * header is true, but trusts that the structure makes sense; so the whole structure is checked first, token
 * by token, and a tree that fails is refused as a whole: nothing has been claimed by then.
 *
 * Two rules of our own: nodes are visited by one walk instead of by path look-ups, which would make hostile
 * trees quadratic; and stdout-path's alias is followed here, once, because libfdt would follow an alias that
 * names itself for ever.
 */
#include "reader.h"

#include <string.h>

/* ---- Is it a tree? ------------------------------------------------------------------------------------ */

static status_t refuse(struct machine *machine, uint32_t offset, const char *why)
{
    note_final(&machine->notes, "fdt: at 0x%x: %s", offset, why);
    return ERR_CORRUPT;
}

static status_t check_header(struct machine *machine, const void *fdt, uint64_t size)
{
    if (size < sizeof(struct fdt_header))
        return refuse(machine, (uint32_t)size, "the blob ends inside its header");
    if (((uintptr_t)fdt & 7) != 0)
        return refuse(machine, 0, "the blob is not aligned to 8 bytes");
    if (fdt_magic(fdt) != FDT_MAGIC)
        return refuse(machine, 0, "no device tree magic");
    if (fdt_totalsize(fdt) > size)
        return refuse(machine, 4, "total size is larger than the blob");
    if (fdt_off_mem_rsvmap(fdt) % 8 != 0 || fdt_off_dt_struct(fdt) % 4 != 0)
        return refuse(machine, 8, "a block is not aligned as its entries need it");
    int error = fdt_check_header(fdt);
    if (error != 0)
        return refuse(machine, 0, fdt_strerror(error));
    return OK;
}

/* The reservation list has an end. */
static status_t check_reservations(struct machine *machine, const void *fdt)
{
    if (fdt_num_mem_rsv(fdt) < 0)
        return refuse(machine, fdt_off_mem_rsvmap(fdt), "the memory reservations have no end");
    return OK;
}

/* Every token is whole, nodes nest, every property has a name. Each turn consumes at least one token. */
static status_t check_structure(struct machine *machine, const void *fdt)
{
    int offset = 0, next, depth = 0;
    for (;; offset = next) {
        uint32_t tag = fdt_next_tag(fdt, offset, &next);
        uint32_t where = fdt_offset_in_blob(fdt, offset);
        if (next < 0)
            return refuse(machine, where, "a broken token");
        if (tag == FDT_END)
            return depth == 0 && offset > 0 ? OK : refuse(machine, where, "the tree ends inside a node");
        if (tag == FDT_END_NODE && --depth < 0)
            return refuse(machine, where, "more nodes end than begin");
        if (tag == FDT_BEGIN_NODE)
            depth++;
        if (tag != FDT_PROP)
            continue;
        const char *name;
        int length;
        if (depth == 0 || fdt_getprop_by_offset(fdt, offset, &name, &length) == NULL)
            return refuse(machine, where, "a property without a name");
    }
}

/* ---- Properties --------------------------------------------------------------------------------------- */

bool fdt_number(const fdt32_t *value, int cells, uint64_t *number)
{
    *number = 0;
    for (int i = 0; i < cells; i++) {
        if (*number >> 32 != 0)
            return false;
        *number = *number << 32 | fdt32_to_cpu(value[i]);
    }
    return true;
}

bool fdt_prop_number(const void *fdt, int node, const char *name, uint64_t *number)
{
    int length;
    const fdt32_t *value = fdt_getprop(fdt, node, name, &length);
    return value != NULL && (length == 4 || length == 8) && fdt_number(value, length / 4, number);
}

const char *fdt_prop_text(const void *fdt, int node, const char *name)
{
    int length;
    const char *text = fdt_getprop(fdt, node, name, &length);
    return text != NULL && length > 0 && text[length - 1] == '\0' ? text : NULL;
}

bool fdt_is_compatible(const void *fdt, int node, const char *const *names)
{
    for (; *names != NULL; names++)
        if (fdt_node_check_compatible(fdt, node, *names) == 0)
            return true;
    return false;
}

struct fdt_ranges fdt_ranges(const struct fdt_walk *walk, const char *property)
{
    const struct fdt_level *parent = fdt_parent(walk);
    int length, cells = parent->address_cells + parent->size_cells;
    struct fdt_ranges ranges = {.address_cells = parent->address_cells, .size_cells = parent->size_cells};
    ranges.value = fdt_getprop(walk->fdt, fdt_here(walk)->node, property, &length);
    bool usable = parent->address_cells > 0 && parent->size_cells >= 0;
    if (ranges.value != NULL && usable)
        ranges.count = length / 4 / cells;
    ranges.fits = ranges.value == NULL || (usable && length % (4 * cells) == 0);
    return ranges;
}

bool fdt_range(const struct fdt_ranges *ranges, int index, uint64_t *start, uint64_t *size)
{
    const fdt32_t *entry = ranges->value + index * (ranges->address_cells + ranges->size_cells);
    bool start_fits = fdt_number(entry, ranges->address_cells, start);
    bool size_fits = fdt_number(entry + ranges->address_cells, ranges->size_cells, size);
    if (!start_fits)
        *start = UINT64_MAX;
    if (!size_fits)
        *size = UINT64_MAX;
    return start_fits && size_fits;
}

/* One bus upwards: entries are (address on the bus, address on the parent's, size). */
static bool translate_once(const struct fdt_walk *walk, int level, const char *property, uint64_t *address)
{
    const struct fdt_level *bus = &walk->path[level];
    int length, parent_cells = walk->path[level - 1].address_cells;
    const fdt32_t *value = fdt_getprop(walk->fdt, bus->node, property, &length);
    if (value == NULL)
        return strcmp(property, "dma-ranges") == 0; /* says nothing about DMA: assume the parent's view */
    if (length == 0)
        return true;
    int cells = bus->address_cells + parent_cells + bus->size_cells;
    if (bus->address_cells < 0 || bus->size_cells < 0 || parent_cells < 0)
        return false;
    for (int i = 0; i < length / 4 / cells; i++, value += cells) {
        uint64_t from, to, size;
        if (fdt_number(value, bus->address_cells, &from) &&
            fdt_number(value + bus->address_cells, parent_cells, &to) &&
            fdt_number(value + bus->address_cells + parent_cells, bus->size_cells, &size) &&
            *address >= from && *address - from < size) {
            *address = to + (*address - from);
            return true;
        }
    }
    return false;
}

bool fdt_translate(const struct fdt_walk *walk, int level, const char *property, uint64_t *address)
{
    for (; level > 0; level--)
        if (!translate_once(walk, level, property, address))
            return false;
    return true;
}

/* ---- The walk ----------------------------------------------------------------------------------------- */

static bool is_available(const void *fdt, int node)
{
    const char *status = fdt_prop_text(fdt, node, "status");
    return status == NULL || strcmp(status, "okay") == 0 || strcmp(status, "ok") == 0;
}

/* How many cells a node's children use; the specification's defaults are 2 and 1. Negative: more than the
 * four that any bus has, or fewer than `least`. */
static int cells(const void *fdt, int node, const char *name, int unsaid, uint32_t least)
{
    int length;
    const fdt32_t *value = fdt_getprop(fdt, node, name, &length);
    if (value == NULL)
        return unsaid;
    uint32_t number = length == 4 ? fdt32_to_cpu(*value) : UINT32_MAX;
    return number >= least && number <= FDT_MAX_NCELLS ? (int)number : -1;
}

static void enter(struct fdt_walk *walk, int node, int depth)
{
    walk->depth = depth;
    walk->path[depth] = (struct fdt_level){
        .node = node,
        .address_cells = cells(walk->fdt, node, "#address-cells", 2, 1),
        .size_cells = cells(walk->fdt, node, "#size-cells", 1, 0),
        .available = is_available(walk->fdt, node) && (depth == 0 || walk->path[depth - 1].available),
    };
}

static bool named(const void *fdt, int node, const char *name)
{
    const char *text = fdt_get_name(fdt, node, NULL);
    return text != NULL && strcmp(text, name) == 0;
}

static bool has_text(const void *fdt, int node, const char *property, const char *text)
{
    const char *value = fdt_prop_text(fdt, node, property);
    return value != NULL && strcmp(value, text) == 0;
}

static status_t visit(struct fdt_walk *walk)
{
    static const char *const distance_map[] = {"numa-distance-map-v1", NULL};
    const void *fdt = walk->fdt;
    int node = fdt_here(walk)->node;
    if (walk->depth == 2 && named(fdt, fdt_parent(walk)->node, "reserved-memory"))
        return fdt_reservations(walk);
    if (walk->depth == 2 && named(fdt, fdt_parent(walk)->node, "cpus") &&
        has_text(fdt, node, "device_type", "cpu"))
        return fdt_cpu(walk);
    if (!fdt_here(walk)->available)
        return OK;
    if (walk->depth == 1 && has_text(fdt, node, "device_type", "memory"))
        return fdt_memory(walk);
    if (walk->with_topology && walk->distance_map < 0 && fdt_is_compatible(fdt, node, distance_map))
        walk->distance_map = node;
    fdt_dma_ranges(walk);
    fdt_device(walk);
    return OK;
}

static status_t walk_all(struct fdt_walk *walk)
{
    int depth = 0;
    bool too_deep = false;
    enter(walk, 0, 0);
    for (int node = fdt_next_node(walk->fdt, 0, &depth); node >= 0 && depth > 0;
         node = fdt_next_node(walk->fdt, node, &depth)) {
        if (depth >= FDT_MAX_DEPTH) {
            if (!too_deep)
                note(&walk->machine->notes, "fdt: at 0x%x: nodes nested deeper than %u are not looked at",
                     fdt_offset_in_blob(walk->fdt, node), FDT_MAX_DEPTH);
            too_deep = true;
            continue;
        }
        enter(walk, node, depth);
        status_t status = visit(walk);
        if (status != OK)
            return status;
    }
    return OK;
}

status_t fdt_describe(struct machine *machine, const void *fdt, uint64_t size, bool with_memory,
                      bool with_topology)
{
    status_t status = check_header(machine, fdt, size);
    if (status == OK)
        status = check_reservations(machine, fdt);
    if (status == OK)
        status = check_structure(machine, fdt);
    if (status != OK)
        return status;
    struct fdt_walk walk = {
        .machine = machine,
        .fdt = fdt,
        .with_memory = with_memory,
        .with_topology = with_topology,
        .console = -1,
        .distance_map = -1,
        .interrupt_cells = 3,
    };
    const char *model = fdt_prop_text(fdt, 0, "model");
    if (model != NULL)
        memcpy(machine->platform.model, model, strnlen(model, sizeof(machine->platform.model) - 1));
    fdt_chosen(&walk, fdt_subnode_offset(fdt, 0, "chosen"));
    status = fdt_reserve_entries(&walk);
    if (status == OK)
        status = walk_all(&walk);
    fdt_finish_topology(&walk);
    fdt_finish_platform(&walk);
    return status;
}
