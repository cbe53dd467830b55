/* SPDX-License-Identifier: MIT
 *
 * SRAT and SLIT (ACPI 6.5, 5.2.16 and 5.2.17): which proximity domain a CPU or a range of memory belongs to,
 * and how far apart domains are. SRAT says where memory may be, not that it is there.
 *
 * Domains had 8 bits until revision 2 of the SRAT; in older tables the other bytes mean nothing.
 */
#include "reader.h"

#define SRAT_STRUCTURES 48
#define SLIT_MATRIX 44
#define SLIT_SIDE_MAX 1024 /* no larger matrix fits a table */

enum {
    LAPIC_AFFINITY = 0,
    MEMORY_AFFINITY = 1,
    X2APIC_AFFINITY = 2,
    GICC_AFFINITY = 3,
    INITIATOR_AFFINITY = 5,
    RINTC_AFFINITY = 7,
};

#define ENABLED 1u
#define HOT_PLUGGABLE 2u

static uint32_t least(uint8_t type)
{
    switch (type) {
    case LAPIC_AFFINITY:
        return 16;
    case MEMORY_AFFINITY:
        return 40;
    case X2APIC_AFFINITY:
        return 24;
    case GICC_AFFINITY:
        return 18;
    case INITIATOR_AFFINITY:
        return 32;
    case RINTC_AFFINITY:
        return 20;
    default:
        return 2;
    }
}

/* ---- SRAT --------------------------------------------------------------------------------------------- */

static bool find_domain(struct machine *machine, uint32_t domain, uint8_t revision, uint16_t *node)
{
    return reader_node(machine, "acpi: SRAT", revision <= 1 ? domain & 0xff : domain, node);
}

/* Joins a CPU with its domain: by hardware id (APIC) or by processor uid. Without a MADT the CPU is new, and
 * its id all there is to know it by. */
static void place_cpu(struct machine *machine, uint32_t offset, uint32_t id, bool by_uid, bool have_madt,
                      uint16_t node)
{
    struct topo *topo = &machine->topo;
    if (!have_madt) {
        if (topo_add_cpu(topo, id, id, node, true) == ERR_FULL)
            note(&machine->notes, "acpi: SRAT: at 0x%x: CPU 0x%x is one too many, this kernel knows %u",
                 offset, id, TOPO_MAX_CPUS);
        return;
    }
    for (uint32_t i = 0; i < topo->cpu_count; i++) {
        struct topo_cpu *cpu = &topo->cpu[i];
        if (by_uid ? cpu->uid == id : cpu->hw_id == id)
            cpu->node = node;
    }
}

static void read_memory(struct machine *machine, uint32_t offset, const uint8_t *at, uint8_t revision)
{
    uint16_t node;
    uint32_t flags = le32(at + 28);
    uint64_t start = le64(at + 8), size = le64(at + 16);
    if ((flags & ENABLED) == 0 || size == 0 || !find_domain(machine, le32(at + 2), revision, &node))
        return;
    status_t status = topo_add_range(&machine->topo, node, start, size, (flags & HOT_PLUGGABLE) != 0);
    if (status == ERR_INVALID)
        note(&machine->notes, "acpi: SRAT: at 0x%x: 0x%llx + 0x%llx wraps around; left out", offset,
             (unsigned long long)start, (unsigned long long)size);
    else if (status == ERR_FULL)
        note(&machine->notes, "acpi: SRAT: at 0x%x: more than %u ranges; its node is guessed", offset,
             TOPO_MAX_RANGES);
}

static void read_affinity(struct machine *machine, uint32_t offset, const uint8_t *at, uint8_t revision,
                          bool have_madt)
{
    uint32_t flags, domain, id;
    bool by_uid = true;
    switch (at[0]) {
    case MEMORY_AFFINITY:
        read_memory(machine, offset, at, revision);
        return;
    case LAPIC_AFFINITY:
        flags = le32(at + 4);
        domain = at[2] | (uint32_t)at[9] << 8 | (uint32_t)at[10] << 16 | (uint32_t)at[11] << 24;
        id = at[3];
        by_uid = false;
        break;
    case X2APIC_AFFINITY:
        flags = le32(at + 12);
        domain = le32(at + 4);
        id = le32(at + 8);
        by_uid = false;
        break;
    case GICC_AFFINITY:
        flags = le32(at + 10);
        domain = le32(at + 2);
        id = le32(at + 6);
        break;
    case RINTC_AFFINITY:
        flags = le32(at + 12);
        domain = le32(at + 4);
        id = le32(at + 8);
        break;
    case INITIATOR_AFFINITY: /* a node of its own even if it holds nothing else: it has distances */
        flags = le32(at + 24);
        domain = le32(at + 4);
        id = 0;
        break;
    default:
        return;
    }
    uint16_t node;
    if ((flags & ENABLED) != 0 && find_domain(machine, domain, revision, &node) &&
        at[0] != INITIATOR_AFFINITY)
        place_cpu(machine, offset, id, by_uid, have_madt, node);
}

bool acpi_srat(struct machine *machine, struct acpi_table table)
{
    struct acpi_structures walk = {
        .machine = machine, .table = table, .name = "SRAT", .least = least, .next = SRAT_STRUCTURES};
    if (!acpi_has_structures(&walk))
        return false;
    bool have_madt = machine->topo.cpu_count > 0;
    uint8_t revision = table.bytes[8];
    while (acpi_next_structure(&walk))
        read_affinity(machine, walk.offset, table.bytes + walk.offset, revision, have_madt);
    return walk.good > 0 || walk.bad == 0;
}

/* ---- SLIT --------------------------------------------------------------------------------------------- */

static bool check_slit(struct machine *machine, struct acpi_table table)
{
    uint64_t count = table.length >= SLIT_MATRIX ? le64(table.bytes + ACPI_HEADER) : 0;
    if (count == 0 || count > SLIT_SIDE_MAX || count * count > table.length - SLIT_MATRIX) {
        note(&machine->notes, "acpi: SLIT: at 0x%x: %llu localities do not fit the table; left out",
             ACPI_HEADER, (unsigned long long)count);
        return false;
    }
    const uint8_t *matrix = table.bytes + SLIT_MATRIX;
    for (uint32_t i = 0; i < count * count; i++) {
        bool diagonal = i / count == i % count;
        if (diagonal ? matrix[i] == DISTANCE_LOCAL : matrix[i] >= DISTANCE_LOCAL)
            continue;
        note(&machine->notes, "acpi: SLIT: at 0x%x: distance %u makes no sense here; table left out",
             SLIT_MATRIX + i, matrix[i]);
        return false;
    }
    return true;
}

/* The node of a locality: one that SRAT named, or a new one. Many firmwares list more localities than the
 * machine has; beyond the kernel's limit those that nobody else named are passed over. */
static bool find_locality(struct machine *machine, uint32_t locality, uint16_t *node)
{
    return topo_add_node(&machine->topo, locality, node) == OK;
}

bool acpi_slit(struct machine *machine, struct acpi_table table)
{
    if (!check_slit(machine, table))
        return false;
    uint32_t count = (uint32_t)le64(table.bytes + ACPI_HEADER), left_out = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t from, to;
        if (!find_locality(machine, i, &from)) {
            left_out++;
            continue;
        }
        for (uint32_t j = 0; j < count; j++)
            if (find_locality(machine, j, &to) &&
                topo_set_distance(&machine->topo, from, to, table.bytes[SLIT_MATRIX + i * count + j]) != OK)
                left_out++;
    }
    if (left_out > 0)
        note(&machine->notes, "acpi: SLIT: %u of %u localities are left out, this kernel knows %u nodes",
             left_out, count, TOPO_MAX_NODES);
    return true;
}
