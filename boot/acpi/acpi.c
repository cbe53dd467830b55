/* SPDX-License-Identifier: MIT
 *
 * ACPI: from the root pointer to the few tables that say something about CPUs, nodes and the console (ACPI
 * 6.5, chapter 5). Only static tables are read; nothing is interpreted.
 *
 * A table is mapped twice: its header first, then, if it is wanted and its length believable, all of it. The
 * root table is read once and its entries are only ever compared by signature, so tables that name themselves
 * or each other end nothing. Where a signature comes twice the first counts.
 */
#include "reader.h"

#include <string.h>

#define TABLE_MAX MIB(1)
#define ROOT_ENTRIES_MAX 256

enum { MADT, SRAT, SLIT, SPCR, FADT, GTDT, WANTED };

static const char signatures[WANTED][5] = {"APIC", "SRAT", "SLIT", "SPCR", "FACP", "GTDT"};

struct acpi_tables {
    struct machine *machine;
    struct acpi_table table[WANTED];
    unsigned good, bad; /* tables found in order; tables refused, each with a note */
};

bool acpi_sums_to_zero(const uint8_t *bytes, uint64_t length)
{
    uint8_t sum = 0;
    for (uint64_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return sum == 0;
}

#define AT_LENGTH 4
#define AT_CHECKSUM 9

static void refuse_table(struct acpi_tables *tables, const uint8_t *header, unsigned offset)
{
    note(&tables->machine->notes, "acpi: %.4s: at 0x%x: %s (length %u); table left out", (const char *)header,
         offset, offset == AT_LENGTH ? "not the length of a table that is here" : "the checksum is wrong",
         le32(header + AT_LENGTH));
    tables->bad++;
}

/* ---- Tables ------------------------------------------------------------------------------------------- */

/* Takes a table of which `size` bytes are readable. */
static void take(struct acpi_tables *tables, const uint8_t *bytes, uint64_t size)
{
    uint32_t length = le32(bytes + AT_LENGTH);
    if (length < ACPI_HEADER || length > size) {
        refuse_table(tables, bytes, AT_LENGTH);
        return;
    }
    if (!acpi_sums_to_zero(bytes, length)) {
        refuse_table(tables, bytes, AT_CHECKSUM);
        return;
    }
    tables->good++;
    for (unsigned i = 0; i < WANTED; i++) {
        if (memcmp(bytes, signatures[i], 4) != 0)
            continue;
        if (tables->table[i].bytes == NULL)
            tables->table[i] = (struct acpi_table){bytes, length};
        else
            note(&tables->machine->notes, "acpi: %s comes twice; the first counts", signatures[i]);
    }
}

static bool is_wanted(const uint8_t *header)
{
    for (unsigned i = 0; i < WANTED; i++)
        if (memcmp(header, signatures[i], 4) == 0)
            return true;
    return false;
}

static void take_at(struct acpi_tables *tables, const struct phys_reader *phys, uint64_t address)
{
    const uint8_t *header = phys->map(phys->context, address, ACPI_HEADER);
    if (header == NULL) {
        note(&tables->machine->notes, "acpi: no table can be read at 0x%llx", (unsigned long long)address);
        return;
    }
    if (!is_wanted(header))
        return;
    uint32_t length = le32(header + AT_LENGTH);
    bool believable = length >= ACPI_HEADER && length <= TABLE_MAX;
    const uint8_t *bytes = believable ? phys->map(phys->context, address, length) : NULL;
    if (bytes == NULL)
        refuse_table(tables, header, AT_LENGTH);
    else
        take(tables, bytes, length);
}

/* ---- From the root pointer ----------------------------------------------------------------------------- */

static status_t refuse(struct machine *machine, const char *what, uint64_t address, const char *why)
{
    note_final(&machine->notes, "acpi: %s at 0x%llx: %s", what, (unsigned long long)address, why);
    return ERR_CORRUPT;
}

/* The entries of an XSDT (8 bytes each) or RSDT (4). */
static status_t read_root(struct acpi_tables *tables, const struct phys_reader *phys, const char *name,
                          uint64_t address, uint32_t entry_size)
{
    const uint8_t *root = phys->map(phys->context, address, ACPI_HEADER);
    if (root == NULL)
        return refuse(tables->machine, name, address, "cannot be read");
    uint32_t length = le32(root + AT_LENGTH);
    if (memcmp(root, name, 4) != 0)
        return refuse(tables->machine, name, address, "another signature at 0x0");
    if (length < ACPI_HEADER || length > TABLE_MAX ||
        (root = phys->map(phys->context, address, length)) == NULL)
        return refuse(tables->machine, name, address,
                      "the length at 0x4 is not that of a table that is here");
    if (!acpi_sums_to_zero(root, length))
        return refuse(tables->machine, name, address, "the checksum at 0x9 is wrong");
    uint32_t count = (length - ACPI_HEADER) / entry_size;
    if (count > ROOT_ENTRIES_MAX) {
        note(&tables->machine->notes, "acpi: %s: at 0x%x: more than %u tables; the rest is left out", name,
             ACPI_HEADER + ROOT_ENTRIES_MAX * entry_size, ROOT_ENTRIES_MAX);
        count = ROOT_ENTRIES_MAX;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *entry = root + ACPI_HEADER + i * entry_size;
        uint64_t table = entry_size == 8 ? le64(entry) : le32(entry);
        if (table == address)
            note(&tables->machine->notes, "acpi: %s: at 0x%x: names itself; left out", name,
                 ACPI_HEADER + i * entry_size);
        else if (table != 0)
            take_at(tables, phys, table);
    }
    return OK;
}

static status_t read_rsdp(struct acpi_tables *tables, const struct phys_reader *phys, uint64_t address)
{
    struct machine *machine = tables->machine;
    const uint8_t *rsdp = phys->map(phys->context, address, 20);
    if (rsdp == NULL)
        return refuse(machine, "RSDP", address, "cannot be read");
    if (memcmp(rsdp, "RSD PTR ", 8) != 0)
        return refuse(machine, "RSDP", address, "another signature at 0x0");
    if (!acpi_sums_to_zero(rsdp, 20))
        return refuse(machine, "RSDP", address, "the checksum at 0x8 is wrong");
    uint64_t rsdt = le32(rsdp + 16), xsdt = 0;
    if (rsdp[15] >= 2) {
        const uint8_t *extended = phys->map(phys->context, address, 36);
        uint32_t length = extended != NULL ? le32(extended + 20) : 0;
        if (length < 36 || length > FRAME_SIZE ||
            (extended = phys->map(phys->context, address, length)) == NULL)
            return refuse(machine, "RSDP", address, "the length at 0x14 is wrong");
        if (!acpi_sums_to_zero(extended, length))
            return refuse(machine, "RSDP", address, "the extended checksum at 0x20 is wrong");
        xsdt = le64(extended + 24);
    }
    if (xsdt != 0 && read_root(tables, phys, "XSDT", xsdt, 8) == OK)
        return OK;
    if (rsdt != 0)
        return read_root(tables, phys, "RSDT", rsdt, 4);
    return refuse(machine, "RSDP", address, "no root table can be used");
}

/* ---- Single tables ------------------------------------------------------------------------------------- */

static void take_single(struct acpi_tables *tables, const uint8_t *bytes, uint64_t size)
{
    /* The two structures that lack the common header say nothing by themselves. */
    if (size >= 20 && memcmp(bytes, "RSD PTR ", 8) == 0) {
        bool good = acpi_sums_to_zero(bytes, 20);
        if (!good)
            note(&tables->machine->notes, "acpi: RSDP: at 0x8: the checksum is wrong; left out");
        tables->good += good;
        tables->bad += !good;
    } else if (size >= 8 && memcmp(bytes, "FACS", 4) == 0) {
        tables->good++;
    } else if (size < ACPI_HEADER) {
        note(&tables->machine->notes, "acpi: a table of %llu bytes ends inside its header; left out",
             (unsigned long long)size);
        tables->bad++;
    } else {
        take(tables, bytes, size);
    }
}

static status_t collect(struct acpi_tables *tables, const struct machine_sources *sources)
{
    if (sources->rsdp != 0) {
        status_t status = read_rsdp(tables, &sources->phys, sources->rsdp);
        if (status != OK)
            return status;
    }
    for (uint32_t i = 0; i < sources->acpi_table_count; i++)
        take_single(tables, sources->acpi_table[i], sources->acpi_table_size[i]);
    return OK;
}

status_t acpi_describe(struct machine *machine, const struct machine_sources *sources)
{
    static bool (*const read[WANTED])(struct machine *, struct acpi_table) = {
        [MADT] = acpi_madt, [SRAT] = acpi_srat, [SLIT] = acpi_slit,
        [SPCR] = acpi_spcr, [FADT] = acpi_fadt, [GTDT] = acpi_gtdt};
    struct acpi_tables tables = {.machine = machine};
    status_t status = collect(&tables, sources);
    if (status != OK)
        return status;
    /* In this order: SRAT gives the CPUs of the MADT their nodes, SLIT gives nodes their distances. */
    for (unsigned i = 0; i < WANTED; i++) {
        if (tables.table[i].bytes != NULL && !read[i](machine, tables.table[i])) {
            tables.good--;
            tables.bad++;
        }
    }
    return tables.good == 0 && tables.bad > 0 ? ERR_CORRUPT : OK;
}

bool acpi_has_structures(const struct acpi_structures *walk)
{
    if (walk->next <= walk->table.length)
        return true;
    note(&walk->machine->notes, "acpi: %s: at 0x%x: the table ends inside its header; left out", walk->name,
         walk->table.length);
    return false;
}

/* Each turn moves on by at least two bytes. */
bool acpi_next_structure(struct acpi_structures *walk)
{
    while (walk->next < walk->table.length) {
        uint32_t left = walk->table.length - walk->next;
        const uint8_t *structure = walk->table.bytes + walk->next;
        uint32_t length = left >= 2 ? structure[1] : 0;
        bool ends = length < 2 || length > left;
        walk->offset = walk->next;
        walk->next = ends ? walk->table.length : walk->next + length;
        if (!ends && length >= walk->least(structure[0])) {
            walk->good++;
            return true;
        }
        walk->bad++;
        note(&walk->machine->notes, "acpi: %s: at 0x%x: structure of type %u has length %u; %s left out",
             walk->name, walk->offset, structure[0], length, ends ? "the rest is" : "it is");
    }
    return false;
}
