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

/* Checks the structures (type, length, …) that fill a table from `offset` on: each fits and is at least as
 * long as `least(type)` ≥ 2 says. True if all are good; otherwise `name` and the offset are noted. */
bool acpi_check_structures(struct machine *machine, struct acpi_table table, const char *name,
                           uint32_t offset, uint32_t (*least)(uint8_t type));

#endif
