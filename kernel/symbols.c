/* SPDX-License-Identifier: MIT
 *
 * Names for backtraces. The kernel is linked twice: first with an empty table, then with the one that
 * tools/symbols.py makes from the first link. The table has the same size in both, so nothing moves.
 *
 * Format: entries in rising order, each a 32-bit offset from KERNEL_BASE and a NUL-terminated name; an empty
 * name ends.
 */
#include <arch/layout.h>
#include <kernel/symbols.h>
#include <mm/port.h>
#include <string.h>

extern const char symbol_table[];
extern const uint32_t symbol_table_size;
extern char __text_start[], __text_end[];

const char *symbol_find(vaddr_t address, uint64_t *offset)
{
    if (address < (vaddr_t)__text_start || address >= (vaddr_t)__text_end)
        return NULL;
    const char *found = NULL;
    for (uint32_t at = 0; at + sizeof(uint32_t) < symbol_table_size;) {
        uint32_t start;
        memcpy(&start, symbol_table + at, sizeof(start));
        const char *name = symbol_table + at + sizeof(start);
        if (name[0] == '\0' || HAL_KERNEL_BASE + start > address)
            break;
        found = name;
        *offset = address - HAL_KERNEL_BASE - start;
        at += (uint32_t)(sizeof(start) + strlen(name) + 1);
    }
    return found;
}

const char *port_symbol(uintptr_t address, uint64_t *offset)
{
    return symbol_find(address, offset);
}
