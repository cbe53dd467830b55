/* SPDX-License-Identifier: MIT
 *
 * Topology in the device tree: /cpus, numa-node-id, and the distance map, whose entries are (from, to,
 * distance). The map need not list both directions; one that is missing is as far as the other. It is
 * read after all nodes, since it may come before those that it speaks of.
 */
#include "reader.h"

#include <string.h>

bool fdt_numa_id(const struct fdt_walk *walk, uint32_t *id)
{
    uint64_t number;
    int node = fdt_here(walk)->node;
    if (!fdt_prop_number(walk->fdt, node, "numa-node-id", &number))
        return false;
    if (number >= UINT32_MAX) {
        note(&walk->machine->notes, "fdt: at 0x%x: numa-node-id 0x%llx is none; left out",
             fdt_offset_in_blob(walk->fdt, node), (unsigned long long)number);
        return false;
    }
    *id = (uint32_t)number;
    return true;
}

/* ---- CPUs --------------------------------------------------------------------------------------------- */

static void note_cpu(struct fdt_walk *walk, const char *why)
{
    note(&walk->machine->notes, "fdt: at 0x%x: CPU %s; left out",
         fdt_offset_in_blob(walk->fdt, fdt_here(walk)->node), why);
}

/* What all CPUs have alike may stand in /cpus instead (Devicetree Specification, 3.7). */
static int node_with(const struct fdt_walk *walk, const char *property)
{
    int node = fdt_here(walk)->node;
    return fdt_getprop(walk->fdt, node, property, NULL) != NULL ? node : fdt_parent(walk)->node;
}

static const char *cpu_text(const struct fdt_walk *walk, const char *property)
{
    return fdt_prop_text(walk->fdt, node_with(walk, property), property);
}

static bool cpu_number(const struct fdt_walk *walk, const char *property, uint64_t *number)
{
    return fdt_prop_number(walk->fdt, node_with(walk, property), property, number);
}

/* A disabled CPU waits to be started by its enable-method (3.8.1). RISC-V's are started by the SBI in any
 * case, and disabled there means that others use it. */
static bool can_start(const struct fdt_walk *walk, bool riscv)
{
    const char *status = fdt_prop_text(walk->fdt, fdt_here(walk)->node, "status");
    bool waits = !riscv && status != NULL && strcmp(status, "disabled") == 0 &&
                 cpu_text(walk, "enable-method") != NULL;
    return fdt_here(walk)->available || (waits && fdt_parent(walk)->available);
}

/* The word that a CPU polls is the firmware's. Side by side, such words need one claim. */
static status_t read_release(struct fdt_walk *walk, uint32_t index)
{
    uint64_t *release = &walk->machine->platform.release[index];
    const char *method = cpu_text(walk, "enable-method");
    if (method == NULL || strcmp(method, "spin-table") != 0 || !cpu_number(walk, "cpu-release-addr", release))
        return OK;
    uint64_t frame = align_down(*release, FRAME_SIZE);
    if (index > 0 && release[-1] != 0 && align_down(release[-1], FRAME_SIZE) == frame)
        return OK;
    struct mem_claim claimed = {.start = paddr(frame),
                                .type = MEM_RESERVED,
                                .source = SOURCE_FDT,
                                .detail = fdt_offset_in_blob(walk->fdt, fdt_here(walk)->node)};
    return reader_claim(walk->machine, "fdt: cpu at", &claimed, FRAME_SIZE);
}

/* Whether the CPU that has just been added can run this kernel at all: RISC-V's small harts for housekeeping
 * are listed like the others, but without an MMU. */
static void read_mmu(struct fdt_walk *walk, uint32_t index)
{
    const char *mmu = cpu_text(walk, "mmu-type");
    walk->has_mmu_types |= mmu != NULL;
    if (mmu == NULL)
        walk->no_mmu[index / 64] |= UINT64_C(1) << index % 64;
    else if (strcmp(mmu, "riscv,none") == 0)
        walk->machine->topo.cpu[index].enabled = false;
}

static status_t add_cpu(struct fdt_walk *walk, uint64_t hw_id, bool riscv)
{
    uint32_t id;
    uint16_t node = NODE_NONE;
    if (fdt_numa_id(walk, &id) && !reader_node(walk->machine, "fdt: cpu", id, &node))
        node = NODE_NONE;
    struct topo *topo = &walk->machine->topo;
    status_t status = topo_add_cpu(topo, hw_id, 0, node, can_start(walk, riscv));
    if (status == OK && riscv)
        read_mmu(walk, topo->cpu_count - 1);
    else if (status == OK)
        return read_release(walk, topo->cpu_count - 1);
    else if (status == ERR_EXISTS)
        note_cpu(walk, "has the id of another");
    else if (status == ERR_FULL)
        note_cpu(walk, "is one too many for this kernel");
    return OK;
}

status_t fdt_cpu(struct fdt_walk *walk)
{
    static const char *const compatible[] = {"riscv", NULL};
    struct platform *platform = &walk->machine->platform;
    int node = fdt_here(walk)->node, length;
    bool riscv = fdt_is_compatible(walk->fdt, node, compatible);
    if (riscv)
        platform->cpu_method = CPU_METHOD_SBI;
    uint64_t hertz;
    if (platform->timebase_hz == 0 && cpu_number(walk, "timebase-frequency", &hertz))
        platform->timebase_hz = hertz;
    if (!walk->with_topology)
        return OK;
    const fdt32_t *reg = fdt_getprop(walk->fdt, node, "reg", &length);
    int cells = fdt_parent(walk)->address_cells;
    uint64_t hw_id;
    if (reg != NULL && cells >= 1 && length / 4 >= cells && fdt_number(reg, cells, &hw_id))
        return add_cpu(walk, hw_id, riscv);
    note_cpu(walk, "has no usable id");
    return OK;
}

/* ---- Distances ---------------------------------------------------------------------------------------- */

/* As in a SLIT, a node is 10 away from itself and no other is nearer. The map makes no nodes. */
static bool set_distance(struct topo *topo, const fdt32_t *entry)
{
    uint32_t from = fdt32_to_cpu(entry[0]), to = fdt32_to_cpu(entry[1]), distance = fdt32_to_cpu(entry[2]);
    uint16_t a, b;
    if (from == to ? distance != DISTANCE_LOCAL : distance < DISTANCE_LOCAL)
        return false;
    if (!topo_find_node(topo, from, &a) || !topo_find_node(topo, to, &b) ||
        topo_set_distance(topo, a, b, distance) != OK)
        return false;
    return topo->distance[b][a] != 0 || topo_set_distance(topo, b, a, distance) == OK;
}

static void read_distances(struct fdt_walk *walk)
{
    int length, first = -1, left_out = 0;
    const fdt32_t *matrix = fdt_getprop(walk->fdt, walk->distance_map, "distance-matrix", &length);
    int count = matrix == NULL ? 0 : length / 12;
    for (int i = 0; i < count; i++) {
        if (set_distance(&walk->machine->topo, matrix + 3 * i))
            continue;
        if (left_out++ == 0)
            first = i;
    }
    if (left_out > 0)
        note(&walk->machine->notes,
             "fdt: at 0x%x: distance-matrix: %d of %d entries, from entry %d on, make no sense or name no "
             "node here; left out",
             fdt_offset_in_blob(walk->fdt, walk->distance_map), left_out, count, first);
}

void fdt_finish_topology(struct fdt_walk *walk)
{
    struct topo *topo = &walk->machine->topo;
    for (uint32_t i = 0; walk->has_mmu_types && walk->with_topology && i < topo->cpu_count; i++)
        if ((walk->no_mmu[i / 64] >> i % 64 & 1) != 0)
            topo->cpu[i].enabled = false;
    if (walk->distance_map >= 0)
        read_distances(walk);
}
