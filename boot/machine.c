/* SPDX-License-Identifier: MIT
 *
 * The machine from its sources: which of them is asked, in which order, and what follows from the answers.
 * ACPI comes first, because it decides whether the device tree's topology counts; the memory sources follow.
 */
#include "machine.h"
#include "readers.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- Notes -------------------------------------------------------------------------------------------- */

#define NOTE_FINAL_BYTES 512

static void make_printable(char *line)
{
    for (; *line != '\0'; line++)
        if (*line < ' ' || *line > '~')
            *line = '?';
}

static bool is_there(const struct notes *notes, const char *text)
{
    const char *line = note_next(notes, NULL);
    while (line != NULL && strcmp(line, text) != 0)
        line = note_next(notes, line);
    return line != NULL;
}

/* Writes a line behind the others, where it does not count yet; at most up to `limit`. Returns its length
 * uncut, or `limit` if there is no room at all. */
static PRINTF(3, 0) uint32_t write_line(struct notes *notes, uint32_t limit, const char *format, va_list args)
{
    if (notes->used + 2 > limit)
        return limit;
    int length = vsnprintf(notes->text + notes->used, limit - notes->used, format, args);
    make_printable(notes->text + notes->used);
    return length < 0 ? limit : (uint32_t)length;
}

void note(struct notes *notes, const char *format, ...)
{
    const uint32_t limit = NOTES_BYTES - NOTE_FINAL_BYTES;
    va_list args;
    va_start(args, format);
    uint32_t length = write_line(notes, limit, format, args);
    va_end(args);
    if (notes->used + length + 1 > limit) {
        notes->dropped++;
    } else if (!is_there(notes, notes->text + notes->used)) {
        notes->used += length + 1;
        notes->count++;
    }
}

void note_final(struct notes *notes, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    uint32_t length = write_line(notes, NOTES_BYTES, format, args);
    va_end(args);
    if (length == NOTES_BYTES) {
        notes->dropped++;
        return;
    }
    notes->used += (uint32_t)min_u64(length + 1, NOTES_BYTES - notes->used);
    notes->count++;
}

const char *note_next(const struct notes *notes, const char *previous)
{
    const char *next = previous == NULL ? notes->text : previous + strlen(previous) + 1;
    return next < notes->text + notes->used ? next : NULL;
}

/* ---- What the readers share ---------------------------------------------------------------------------- */

status_t reader_claim(struct machine *machine, const char *what, const struct mem_claim *claim, uint64_t size)
{
    const uint32_t usable_max = MEMMAP_MAX_CLAIMS - CLAIMS_KEPT_FOR_RESERVATIONS;
    if (size == 0)
        return OK;
    if (claim->type == MEM_USABLE && machine->map.claim_count >= usable_max) {
        note(&machine->notes, "memory map: more than %u ranges; further usable memory is left out", usable_max);
        return OK;
    }
    status_t status = memmap_claim(&machine->map, claim->start.v, size, claim->type, claim->source,
                                   claim->detail, claim->ram);
    if (status == ERR_INVALID) {
        note(&machine->notes, "%s 0x%x: 0x%llx + 0x%llx wraps around; left out", what,
             claim->detail, (unsigned long long)claim->start.v, (unsigned long long)size);
        return OK;
    }
    if (status == ERR_FULL)
        note_final(&machine->notes, "%s 0x%x: more than %u memory ranges", what, claim->detail,
                   MEMMAP_MAX_CLAIMS);
    return status;
}

bool reader_node(struct machine *machine, const char *what, uint32_t id, uint16_t *node)
{
    if (topo_add_node(&machine->topo, id, node) == OK)
        return true;
    note(&machine->notes, "%s: node %u is left out, this kernel knows %u nodes at most", what, id,
         TOPO_MAX_NODES);
    return false;
}

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
    memmap_init(&machine->map);
    topo_init(&machine->topo);
    status_t status = describe_all(machine, sources);
    if (status != OK)
        return status;
    set_limits(machine, sources);
    status = machine_settle(machine);
    if (status == OK && machine->topo.conflicts > 0)
        note_final(&machine->notes, "topology: nodes share memory in %u places; the lower node keeps it",
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
