/* SPDX-License-Identifier: MIT
 *
 * e820: a list of ranges with types, in any order, from PVH or the Linux boot protocol. Where entries overlap
 * the highest type wins (ACPI 6.5, 15.2), which the memory map does by itself.
 */
#include "../readers.h"

static mem_type_t type_of(uint32_t type)
{
    switch (type) {
    case 1:
        return MEM_USABLE;
    case 3:
        return MEM_ACPI_RECLAIM;
    case 4:
        return MEM_ACPI_NVS;
    case 5:
        return MEM_BAD;
    case 7:
    case 12: /* the number in use before ACPI 6.0 gave persistent memory its own */
        return MEM_PERSISTENT;
    case E820_SPECIFIC:
        return MEM_SPECIFIC;
    default:
        return MEM_RESERVED;
    }
}

status_t e820_describe(struct machine *machine, const struct e820_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct e820_entry *entry = &entries[i];
        if (entry->size == 0)
            note(&machine->notes, "e820: entry %u at 0x%llx is empty; left out", i,
                 (unsigned long long)entry->start);
        mem_type_t type = type_of(entry->type);
        struct mem_claim claim = {.start = paddr(entry->start),
                                  .type = type,
                                  .source = SOURCE_E820,
                                  .detail = i,
                                  .ram = type == MEM_USABLE || type == MEM_SPECIFIC};
        status_t status = reader_claim(machine, "e820: entry", &claim, entry->size);
        if (status != OK)
            return status;
    }
    return OK;
}
