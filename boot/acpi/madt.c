/* SPDX-License-Identifier: MIT
 *
 * MADT (ACPI 6.5, 5.2.12): CPUs and interrupt controllers. CPUs that are not enabled are place holders, or
 * may be plugged in later; neither kind is there.
 */
#include "reader.h"

#define MADT_STRUCTURES 44

enum {
    LOCAL_APIC = 0,
    LAPIC_ADDRESS = 5,
    LOCAL_X2APIC = 9,
    GICC = 11,
    GICD = 12,
    GICR = 14,
    RINTC = 24,
};

#define CPU_ENABLED 1u

static uint32_t least(uint8_t type)
{
    switch (type) {
    case LOCAL_APIC:
        return 8;
    case LAPIC_ADDRESS:
        return 12;
    case LOCAL_X2APIC:
    case GICR:
        return 16;
    case GICC:
        return 76; /* up to the MPIDR, which ACPI 5.1 added */
    case GICD:
        return 24;
    case RINTC:
        return 20;
    default:
        return 2;
    }
}

static void add_cpu(struct machine *machine, uint32_t offset, uint64_t hw_id, uint32_t uid, uint32_t flags)
{
    if ((flags & CPU_ENABLED) == 0)
        return;
    status_t status = topo_add_cpu(&machine->topo, hw_id, uid, NODE_NONE, true);
    if (status == ERR_EXISTS)
        note(&machine->notes, "acpi: APIC: at 0x%x: CPU 0x%llx is there already; left out", offset,
             (unsigned long long)hw_id);
    else if (status == ERR_FULL)
        note(&machine->notes, "acpi: APIC: at 0x%x: CPU 0x%llx is one too many, this kernel knows %u", offset,
             (unsigned long long)hw_id, TOPO_MAX_CPUS);
}

static void read_gicc(struct machine *machine, uint32_t offset, const uint8_t *gicc)
{
    struct platform *platform = &machine->platform;
    uint64_t interface = le64(gicc + 32), redistributor = le64(gicc + 60);
    add_cpu(machine, offset, le64(gicc + 68), le32(gicc + 8), le32(gicc + 12));
    if (platform->gic_cpu != 0)
        return;
    /* The GICD, which may follow, says for certain which version it is. */
    platform->gic_cpu = redistributor != 0 ? redistributor : interface;
    platform->gic_cpu_size = redistributor != 0 ? KIB(128) : KIB(8);
}

static void read_gicd(struct platform *platform, const uint8_t *gicd)
{
    platform->gic_dist = le64(gicd + 8);
    platform->gic_version = gicd[20];
}

static void read_structure(struct machine *machine, uint32_t offset, const uint8_t *at)
{
    struct platform *platform = &machine->platform;
    switch (at[0]) {
    case LOCAL_APIC:
        platform->cpu_method = CPU_METHOD_APIC;
        add_cpu(machine, offset, at[3], at[2], le32(at + 4));
        break;
    case LOCAL_X2APIC:
        platform->cpu_method = CPU_METHOD_APIC;
        add_cpu(machine, offset, le32(at + 4), le32(at + 12), le32(at + 8));
        break;
    case LAPIC_ADDRESS:
        platform->lapic = le64(at + 4);
        break;
    case GICC:
        read_gicc(machine, offset, at);
        break;
    case GICD:
        read_gicd(platform, at);
        break;
    case GICR:
        platform->gic_cpu = le64(at + 4);
        platform->gic_cpu_size = le32(at + 12);
        break;
    case RINTC:
        platform->cpu_method = CPU_METHOD_SBI;
        add_cpu(machine, offset, le64(at + 8), le32(at + 16), le32(at + 4));
        break;
    default:
        break;
    }
}

bool acpi_madt(struct machine *machine, struct acpi_table table)
{
    struct platform *platform = &machine->platform;
    struct acpi_structures walk = {
        .machine = machine, .table = table, .name = "APIC", .least = least, .next = MADT_STRUCTURES};
    if (!acpi_has_structures(&walk))
        return false;
    uint64_t lapic = le32(table.bytes + 36);
    while (acpi_next_structure(&walk))
        read_structure(machine, walk.offset, table.bytes + walk.offset);
    if (platform->cpu_method == CPU_METHOD_APIC && platform->lapic == 0)
        platform->lapic = lapic;
    if (platform->gic_dist != 0) {
        if (platform->gic_version == 0)
            platform->gic_version = platform->gic_cpu_size >= KIB(128) ? 3 : 2;
    }
    return walk.good > 0 || walk.bad == 0;
}
