/* SPDX-License-Identifier: MIT
 *
 * The EFI memory map (UEFI 2.10, 7.2), as it stands after ExitBootServices: what the loader and the boot
 * services used is free again. Descriptors may be longer than the structure known here; the map says how
 * long.
 *
 * Firmware cuts the map into many descriptors of equal kind; runs that adjoin become one claim, named by the
 * first descriptor's index.
 */
#include "../readers.h"

#define DESC_MIN 40

/* EFI_MEMORY_TYPE */
enum {
    EFI_LOADER_CODE = 1,
    EFI_LOADER_DATA = 2,
    EFI_BOOT_CODE = 3,
    EFI_BOOT_DATA = 4,
    EFI_RUNTIME_CODE = 5,
    EFI_RUNTIME_DATA = 6,
    EFI_CONVENTIONAL = 7,
    EFI_UNUSABLE = 8,
    EFI_ACPI_RECLAIM = 9,
    EFI_ACPI_NVS = 10,
    EFI_MMIO = 11,
    EFI_MMIO_PORT = 12,
    EFI_PAL_CODE = 13,
    EFI_PERSISTENT = 14,
};

#define ATTR_WC UINT64_C(0x2)
#define ATTR_WT UINT64_C(0x4)
#define ATTR_WB UINT64_C(0x8)
#define ATTR_SP UINT64_C(0x40000) /* memory set aside for a specific purpose */

static mem_type_t type_of(uint32_t type, uint64_t attributes)
{
    switch (type) {
    case EFI_LOADER_CODE:
    case EFI_LOADER_DATA:
    case EFI_BOOT_CODE:
    case EFI_BOOT_DATA:
    case EFI_CONVENTIONAL:
        if ((attributes & ATTR_WB) == 0)
            return MEM_RESERVED;
        return (attributes & ATTR_SP) != 0 ? MEM_SPECIFIC : MEM_USABLE;
    case EFI_RUNTIME_CODE:
    case EFI_RUNTIME_DATA:
    case EFI_PAL_CODE:
        return MEM_FIRMWARE;
    case EFI_UNUSABLE:
        return MEM_BAD;
    case EFI_ACPI_RECLAIM:
        return MEM_ACPI_RECLAIM;
    case EFI_ACPI_NVS:
        return MEM_ACPI_NVS;
    case EFI_MMIO:
    case EFI_MMIO_PORT:
        return MEM_MMIO;
    case EFI_PERSISTENT:
        return MEM_PERSISTENT;
    default:
        return MEM_RESERVED;
    }
}

/* One descriptor as a claim with its end; false, with a note, if it is empty or wraps. */
static bool read_descriptor(struct machine *machine, const uint8_t *descriptor, uint32_t index,
                            struct mem_claim *claim)
{
    uint32_t type = le32(descriptor);
    uint64_t start = le64(descriptor + 8), pages = le64(descriptor + 24), attributes = le64(descriptor + 32);
    uint64_t end;
    if (pages == 0 || pages > UINT64_MAX >> FRAME_SHIFT ||
        __builtin_add_overflow(start, pages << FRAME_SHIFT, &end)) {
        note(&machine->notes, "efi: descriptor %u: 0x%llx pages at 0x%llx %s; left out", index,
             (unsigned long long)pages, (unsigned long long)start, pages == 0 ? "are none" : "wrap around");
        return false;
    }
    bool mmio = type == EFI_MMIO || type == EFI_MMIO_PORT;
    *claim = (struct mem_claim){.start = paddr(start),
                                .end = paddr(end),
                                .type = type_of(type, attributes),
                                .source = SOURCE_EFI,
                                .detail = index,
                                .ram = (attributes & (ATTR_WB | ATTR_WT | ATTR_WC)) != 0 && !mmio};
    return true;
}

static bool continues(const struct mem_claim *run, const struct mem_claim *next)
{
    return run->end.v == next->start.v && run->type == next->type && run->ram == next->ram;
}

static status_t check_shape(struct machine *machine, uint64_t size, uint32_t desc_size)
{
    if (desc_size < DESC_MIN || desc_size % 8 != 0)
        note_final(&machine->notes, "efi: descriptor size %u is not a multiple of 8 from %u up", desc_size,
                   DESC_MIN);
    else if (size % desc_size != 0)
        note_final(&machine->notes, "efi: map of %llu bytes ends inside descriptor %llu (%u bytes each)",
                   (unsigned long long)size, (unsigned long long)(size / desc_size), desc_size);
    else if (size / desc_size > UINT32_MAX)
        note_final(&machine->notes, "efi: map of %llu bytes is no memory map", (unsigned long long)size);
    else
        return OK;
    return ERR_CORRUPT;
}

status_t efi_describe(struct machine *machine, const void *map, uint64_t size, uint32_t desc_size)
{
    status_t status = check_shape(machine, size, desc_size);
    if (status != OK)
        return status;
    struct mem_claim run = {.type = MEM_NONE}, next;
    uint32_t count = (uint32_t)(size / desc_size);
    for (uint32_t i = 0; i < count; i++) {
        if (!read_descriptor(machine, (const uint8_t *)map + (uint64_t)i * desc_size, i, &next))
            continue;
        if (continues(&run, &next)) {
            run.end = next.end;
            continue;
        }
        status = reader_claim(machine, "efi: descriptor", &run, run.end.v - run.start.v);
        if (status != OK)
            return status;
        run = next;
    }
    return reader_claim(machine, "efi: descriptor", &run, run.end.v - run.start.v);
}
