/* SPDX-License-Identifier: MIT
 *
 * What is in a file? Formats with a magic number say so themselves. Bare arrays (e820, EFI) are recognised by
 * whether most of their entries make sense as one and not as the other; a few hostile entries must not hide
 * the rest. What content leaves open, the file's name decides, then its folder's.
 */
#include "inspect.h"
#include "readers.h"

#include <ctype.h>
#include <libfdt.h>
#include <string.h>
#include <strings.h>

const char *kind_name(enum kind kind)
{
    static const char *const names[] = {
        [KIND_UNKNOWN] = "Unknown",      [KIND_FDT] = "Device tree", [KIND_ACPI] = "ACPI tables",
        [KIND_PHYS] = "Memory image",    [KIND_E820] = "e820 map",   [KIND_EFI] = "EFI memory map",
        [KIND_TOPO] = "Topology",
    };
    return names[kind];
}

bool text_is(struct bytes bytes)
{
    size_t stray = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t byte = bytes.data[i];
        if (byte != '\0' && byte < 0x80 && !isprint(byte) && !isspace(byte))
            return false;
        stray += byte == '\0';
    }
    return bytes.size > 0 && stray <= bytes.size / 16;
}

/* ---- By content --------------------------------------------------------------------------------------- */

bool acpi_is(struct bytes bytes)
{
    static const char known[] =
        "APIC SRAT SLIT SPCR FACP FACS XSDT RSDT DSDT SSDT HMAT MSCT CEDT NFIT MCFG HPET "
        "DMAR IVRS BGRT WAET RHCT GTDT PPTT IORT DBG2 TPM2 TCPA BOOT ";
    char signature[6];
    if (bytes.size < 8)
        return false;
    if (memcmp(bytes.data, "RSD PTR ", 8) == 0)
        return true;
    for (unsigned i = 0; i < 4; i++)
        if (!isupper(bytes.data[i]) && !isdigit(bytes.data[i]) && bytes.data[i] != '_')
            return false;
    memcpy(signature, bytes.data, 4);
    memcpy(signature + 4, " ", 2);
    return strstr(known, signature) != NULL || le32(bytes.data + 4) == bytes.size;
}

static bool e820_makes_sense(const uint8_t *entry)
{
    uint64_t start = le64(entry), size = le64(entry + 8);
    uint32_t type = le32(entry + 16);
    return size != 0 && start <= UINT64_MAX - size && ((type >= 1 && type <= 20) || type == E820_SPECIFIC);
}

static bool efi_makes_sense(const uint8_t *entry)
{
    uint32_t type = le32(entry), padding = le32(entry + 4);
    uint64_t start = le64(entry + 8), pages = le64(entry + 24);
    return (type <= 15 || type >= 0x70000000) && padding == 0 && is_aligned(start, FRAME_SIZE) &&
           pages != 0 && pages <= UINT64_MAX >> FRAME_SHIFT;
}

/* Three of four entries, at least. */
static bool is_array(struct bytes bytes, size_t entry_size, bool (*makes_sense)(const uint8_t *entry))
{
    size_t count = bytes.size / entry_size, good = 0;
    for (size_t i = 0; i < count; i++)
        good += makes_sense(bytes.data + i * entry_size);
    return count > 0 && good * 4 >= count * 3;
}

#define BLANKS " \t\r\n"

static enum kind by_text(struct bytes bytes)
{
    const char *line = (const char *)bytes.data;
    /* Blanks, comments and empty lines first; the text ends with NUL. */
    for (line += strspn(line, BLANKS); *line == '#'; line += strspn(line, BLANKS))
        line += strcspn(line, "\n");
    if (strncmp(line, "node ", 5) == 0 || strncmp(line, "distance ", 9) == 0)
        return KIND_TOPO;
    if (strncmp(line, "0x", 2) != 0)
        return KIND_UNKNOWN;
    unsigned columns = text_columns(bytes);
    return columns == 3 ? KIND_E820 : columns == 4 ? KIND_EFI : KIND_UNKNOWN;
}

static enum kind by_content(struct bytes bytes, uint32_t efi_desc_size)
{
    if (bytes.size >= 4 && fdt_magic(bytes.data) == FDT_MAGIC)
        return KIND_FDT;
    if (bytes.size >= 8 && memcmp(bytes.data, "PHYSIMG1", 8) == 0)
        return KIND_PHYS;
    if (acpi_is(bytes))
        return KIND_ACPI;
    if (text_is(bytes))
        return by_text(bytes);
    bool e820 = is_array(bytes, sizeof(struct e820_entry), e820_makes_sense);
    bool efi = is_array(bytes, efi_desc_size >= 40 ? efi_desc_size : 48, efi_makes_sense);
    return e820 == efi ? KIND_UNKNOWN : e820 ? KIND_E820 : KIND_EFI;
}

/* ---- By name ------------------------------------------------------------------------------------------ */

static const struct {
    const char *part;
    enum kind kind;
} name_parts[] = {
    {"e820", KIND_E820}, {"efi", KIND_EFI},   {".dtb", KIND_FDT}, {"fdt", KIND_FDT},
    {".phys", KIND_PHYS}, {".topo", KIND_TOPO}, {"acpi", KIND_ACPI}, {"dtb", KIND_FDT},
};

static enum kind by_part(const char *name, size_t length)
{
    for (size_t i = 0; i < ARRAY_LEN(name_parts); i++) {
        size_t part = strlen(name_parts[i].part);
        for (size_t at = 0; at + part <= length; at++)
            if (strncasecmp(name + at, name_parts[i].part, part) == 0)
                return name_parts[i].kind;
    }
    return KIND_UNKNOWN;
}

/* The last component, then the one before it. */
static enum kind by_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    enum kind kind = by_part(name, strlen(name));
    if (kind != KIND_UNKNOWN || slash == NULL)
        return kind;
    const char *folder = slash;
    while (folder > path && folder[-1] != '/')
        folder--;
    return by_part(folder, (size_t)(slash - folder));
}

enum kind detect(const char *path, struct bytes bytes, uint32_t efi_desc_size)
{
    enum kind kind = by_content(bytes, efi_desc_size);
    return kind != KIND_UNKNOWN ? kind : by_name(path);
}
