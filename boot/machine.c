/* SPDX-License-Identifier: MIT
 *
 * The machine from its sources: which of them is asked, in which order, and what follows from the answers.
 * ACPI comes first, because it decides whether the device tree's topology counts; the memory sources follow.
 */
#include "machine.h"
#include "readers.h"

#include <string.h>

/* ---- The sources in order ------------------------------------------------------------------------------ */

/* e820 over EFI, else EFI together with the device tree. */
static status_t describe_memory(struct machine *machine, const struct machine_sources *sources)
{
    if (sources->e820 != NULL)
        return e820_describe(machine, sources->e820, sources->e820_count);
    if (sources->efi_map != NULL)
        return efi_describe(machine, sources->efi_map, sources->efi_map_size, sources->efi_desc_size);
    return OK;
}

static status_t describe_all(struct machine *machine, const struct machine_sources *sources)
{
    bool firmware_map = sources->e820 != NULL || sources->efi_map != NULL;
    if (sources->rsdp != 0 || sources->acpi_table_count > 0) {
        status_t status = acpi_describe(machine, sources);
        if (status == ERR_FULL || (status != OK && !firmware_map && sources->fdt == NULL))
            return status;
    }
    status_t status = describe_memory(machine, sources);
    if (status != OK || sources->fdt == NULL)
        return status;
    bool acpi_topology = machine->topo.node_count > 0 || machine->topo.cpu_count > 0;
    status = fdt_describe(machine, sources->fdt, sources->fdt_size, sources->e820 == NULL, !acpi_topology);
    return status == ERR_CORRUPT && firmware_map ? OK : status;
}

/* x86: ISA bridges reach 16 MiB. Elsewhere the device tree's dma-ranges have said (0: no narrow device). */
static void set_limits(struct machine *machine, const struct machine_sources *sources)
{
    if (sources->e820 != NULL || machine->platform.cpu_method == CPU_METHOD_APIC)
        machine->limits.dma_end = MIB(16);
    machine->limits.dma32_end = GIB(4);
    machine->limits.direct_end = UINT64_MAX;
}

status_t machine_describe(struct machine *machine, const struct machine_sources *sources)
{
    memset(machine, 0, sizeof(*machine));
    machine->boot_cpu = BOOT_CPU_UNKNOWN;
    memmap_init(&machine->map);
    topo_init(&machine->topo);
    status_t status = describe_all(machine, sources);
    if (status != OK)
        return status;
    set_limits(machine, sources);
    status = machine_settle(machine);
    if (status == OK && machine->topo.conflicts > 0)
        note_final(&machine->notes, "topology: nodes share memory (overlaps: %u); the lower node keeps it",
                   machine->topo.conflicts);
    return status;
}

status_t machine_settle(struct machine *machine)
{
    status_t status = memmap_settle(&machine->map);
    if (status == OK) {
        topo_settle(&machine->topo);
        topo_count(&machine->topo, &machine->map);
        status = topo_assign(&machine->topo, &machine->map);
    }
    if (status == ERR_FULL)
        note_final(&machine->notes, "memory map: more than %u regions", MEMMAP_MAX_REGIONS);
    return status;
}
