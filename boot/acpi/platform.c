/* SPDX-License-Identifier: MIT
 *
 * SPCR (Microsoft, revision 4) names the console; the FADT's ARM flags (ACPI 6.5, 5.2.9) say how PSCI is
 * called; GTDT (5.2.25) which interrupt the virtual timer raises.
 */
#include "reader.h"

#include <mm/bits.h>

#define SPCR_LENGTH 80
#define FADT_ARM_FLAGS 129
#define GTDT_VIRTUAL_TIMER 64

enum { SPACE_MEMORY = 0, SPACE_IO = 1 };

/* Serial port subtypes of the DBG2 table. */
static enum console_kind kind_of(uint8_t interface)
{
    switch (interface) {
    case 0x00: /* 16550 */
    case 0x01: /* 16450 */
    case 0x12: /* 16550 with the generic address structure */
        return CONSOLE_NS16550;
    case 0x03: /* PL011 */
    case 0x0d: /* its subset in ARM's base system architecture, 32 bits only */
    case 0x0e:
        return CONSOLE_PL011;
    case 0x15: /* RISC-V SBI */
        return CONSOLE_SBI;
    default:
        return CONSOLE_NONE;
    }
}

static uint32_t baud_of(uint8_t code)
{
    switch (code) {
    case 3:
        return 9600;
    case 4:
        return 19200;
    case 6:
        return 57600;
    case 7:
        return 115200;
    default:
        return 0;
    }
}

bool acpi_spcr(struct machine *machine, struct acpi_table table)
{
    if (table.length < SPCR_LENGTH) {
        note(&machine->notes, "acpi: SPCR: at 0x%x: the table ends too early; left out", table.length);
        return false;
    }
    const uint8_t *bytes = table.bytes, *address = bytes + 40;
    uint8_t space = address[0], bit_width = address[1], access = address[3];
    struct console_desc console = {
        .kind = kind_of(bytes[36]),
        .io_port = space == SPACE_IO,
        .base = le64(address + 4),
        .reg_width = access >= 1 && access <= 3 ? 1u << (access - 1) : 1,
        .baud = baud_of(bytes[58]),
        .clock = bytes[8] >= 3 ? le32(bytes + 76) : 0,
    };
    if (console.kind == CONSOLE_PL011)
        console.reg_width = 4;
    else if (!console.io_port && is_power_of_two(bit_width) && bit_width >= 8)
        console.reg_shift = log2_floor(bit_width / 8);
    bool reachable = space == SPACE_MEMORY || (space == SPACE_IO && console.base <= UINT16_MAX);
    if (console.kind == CONSOLE_SBI || (console.kind != CONSOLE_NONE && console.base != 0 && reachable))
        machine->platform.console = console;
    return true;
}

bool acpi_fadt(struct machine *machine, struct acpi_table table)
{
    if (table.length < FADT_ARM_FLAGS + 2 || machine->platform.cpu_method != CPU_METHOD_NONE)
        return true;
    uint16_t flags = le16(table.bytes + FADT_ARM_FLAGS);
    if ((flags & 1) != 0)
        machine->platform.cpu_method = (flags & 2) != 0 ? CPU_METHOD_PSCI_HVC : CPU_METHOD_PSCI_SMC;
    return true;
}

bool acpi_gtdt(struct machine *machine, struct acpi_table table)
{
    if (table.length < GTDT_VIRTUAL_TIMER + 4) {
        note(&machine->notes, "acpi: GTDT: at 0x%x: the table ends too early; left out", table.length);
        return false;
    }
    machine->platform.timer_irq = le32(table.bytes + GTDT_VIRTUAL_TIMER);
    return true;
}
