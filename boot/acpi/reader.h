/* SPDX-License-Identifier: MIT
 *
 * The ACPI reader, inside. acpi.c finds the tables and checks their frames, the other files read one table
 * each from bytes that are known to be there.
 */
#ifndef BOOT_ACPI_READER_H
#define BOOT_ACPI_READER_H

#include "../readers.h"

#define ACPI_HEADER 36

/* A table whose length and checksum are right; length ≥ ACPI_HEADER. */
struct acpi_table {
    const uint8_t *bytes; /* NULL: there is none */
    uint32_t length;
};

/* What every ACPI checksum is about. */
bool acpi_sums_to_zero(const uint8_t *bytes, uint64_t length);

/* Each refuses the whole table, with a note, or reads all of it: false or true. */
bool acpi_madt(struct machine *machine, struct acpi_table table);
bool acpi_srat(struct machine *machine, struct acpi_table table);
bool acpi_slit(struct machine *machine, struct acpi_table table);
bool acpi_spcr(struct machine *machine, struct acpi_table table);
bool acpi_fadt(struct machine *machine, struct acpi_table table);
bool acpi_gtdt(struct machine *machine, struct acpi_table table);

/* The structures (type, length, …) that fill a table from some offset on. One that is shorter than its type
 * needs is passed over; one that does not fit, or has no length, ends the table. Either is noted. */
struct acpi_structures {
    struct machine *machine;
    struct acpi_table table;
    const char *name;
    uint32_t (*least)(uint8_t type);
    uint32_t offset;    /* of the structure found */
    uint32_t next;      /* where to look; at first, the end of the table's header */
    uint32_t good, bad; /* structures so far; a table that has only bad ones is refused */
};

/* False, with a note: the table ends inside its header. */
bool acpi_has_structures(const struct acpi_structures *walk);

/* The next structure, whole, at `offset`. False: there is none. */
bool acpi_next_structure(struct acpi_structures *walk);

#endif
