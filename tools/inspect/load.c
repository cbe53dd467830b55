/* SPDX-License-Identifier: MIT
 *
 * Files into sources. Binary files stay in memory, since the sources point into them.
 */
#include "inspect.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define FILE_MAX MIB(256)

static struct bytes read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail("%s: %s", path, strerror(errno));
    struct bytes bytes = {malloc(1), 0};
    size_t room = 0;
    /* Doubles its room until the file ends or is too large. */
    do {
        room = room == 0 ? KIB(64) : 2 * room;
        bytes.data = realloc(bytes.data, room + 1);
        if (bytes.data == NULL)
            fail("%s: out of memory", path);
        bytes.size += fread(bytes.data + bytes.size, 1, room - bytes.size, file);
    } while (bytes.size == room && room < FILE_MAX);
    if (ferror(file))
        fail("%s: %s", path, strerror(errno));
    if (bytes.size >= FILE_MAX)
        fail("%s: larger than %llu MiB", path, (unsigned long long)(FILE_MAX >> 20));
    fclose(file);
    bytes.data[bytes.size] = 0;
    return bytes;
}

static void add_names(struct subject *subject, const char *path, enum kind kind)
{
    size_t used = strlen(subject->paths);
    snprintf(subject->paths + used, sizeof(subject->paths) - used, "%s%s", used > 0 ? ", " : "", path);
    used = strlen(subject->title);
    snprintf(subject->title + used, sizeof(subject->title) - used, "%s%s: %s", used > 0 ? "\n" : "",
             kind_name(kind), path);
}

/* ---- One file ----------------------------------------------------------------------------------------- */

static void add_acpi(struct subject *subject, const char *path, struct bytes bytes)
{
    struct machine_sources *sources = &subject->sources;
    if (sources->acpi_table_count == ACPI_TABLES_MAX)
        fail("%s: more than %u ACPI tables", path, ACPI_TABLES_MAX);
    sources->acpi_table[sources->acpi_table_count] = bytes.data;
    sources->acpi_table_size[sources->acpi_table_count++] = bytes.size;
}

static void add_e820(struct subject *subject, const char *path, struct bytes bytes)
{
    struct machine_sources *sources = &subject->sources;
    if (sources->e820 != NULL)
        fail("%s: a second e820 map", path);
    if (text_is(bytes)) {
        parse_e820(path, bytes, sources);
        free(bytes.data);
        return;
    }
    if (bytes.size % sizeof(struct e820_entry) != 0)
        fail("%s: e820: at %#zx: the map ends inside an entry (20 bytes each)", path,
             bytes.size - bytes.size % sizeof(struct e820_entry));
    sources->e820 = (const struct e820_entry *)bytes.data;
    sources->e820_count = (uint32_t)(bytes.size / sizeof(struct e820_entry));
}

static void add_efi(struct subject *subject, const char *path, struct bytes bytes, uint32_t efi_desc_size)
{
    struct machine_sources *sources = &subject->sources;
    if (sources->efi_map != NULL)
        fail("%s: a second EFI memory map", path);
    if (text_is(bytes)) {
        parse_efi(path, bytes, sources);
        free(bytes.data);
        return;
    }
    sources->efi_map = bytes.data;
    sources->efi_map_size = bytes.size;
    sources->efi_desc_size = efi_desc_size;
}

static void add_phys(struct subject *subject, const char *path, struct bytes bytes)
{
    struct machine_sources *sources = &subject->sources;
    if (sources->rsdp != 0)
        fail("%s: a second memory image", path);
    phys_open(path, bytes, &subject->image, &sources->rsdp);
    sources->phys = (struct phys_reader){phys_map, &subject->image};
}

static void add(struct subject *subject, const char *path, enum kind kind, struct bytes bytes,
                uint32_t efi_desc_size)
{
    switch (kind) {
    case KIND_FDT:
        if (subject->sources.fdt != NULL)
            fail("%s: a second device tree", path);
        subject->sources.fdt = bytes.data;
        subject->sources.fdt_size = bytes.size;
        break;
    case KIND_ACPI:
        add_acpi(subject, path, bytes);
        break;
    case KIND_PHYS:
        add_phys(subject, path, bytes);
        break;
    case KIND_E820:
        add_e820(subject, path, bytes);
        break;
    case KIND_EFI:
        add_efi(subject, path, bytes, efi_desc_size);
        break;
    case KIND_TOPO:
        if (subject->recorded)
            fail("%s: a second topology", path);
        parse_topo(path, bytes, &subject->record);
        free(bytes.data);
        subject->recorded = true;
        break;
    case KIND_UNKNOWN:
        fail("%s: neither content nor name tells what this is; write KIND:FILE (fdt, acpi, phys, e820, efi, "
             "topo)",
             path);
    }
}

/* ---- A folder of tables -------------------------------------------------------------------------------- */

/* As the corpus (APIC.bin), Linux (APIC, SSDT1) and acpidump (apic.dat, ssdt1.dat) name tables. */
static int is_table_name(const struct dirent *entry)
{
    const char *name = entry->d_name;
    size_t length = 0;
    while (length < 4 && (isalnum((unsigned char)name[length]) || name[length] == '_'))
        length++;
    if (length < 4)
        return 0;
    name += length + strspn(name + length, "0123456789");
    return *name == '\0' || strcasecmp(name, ".bin") == 0 || strcasecmp(name, ".dat") == 0;
}

/* One entry of a folder: whether it is a table. */
static bool load_entry(struct subject *subject, const char *folder, const char *name)
{
    char path[4096];
    struct stat status;
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
        fail("%s: path too long", folder);
    if (stat(path, &status) != 0)
        fail("%s: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return false;
    struct bytes bytes = read_file(path);
    if (acpi_is(bytes)) {
        add_acpi(subject, path, bytes);
        return true;
    }
    free(bytes.data);
    return false;
}

static void load_folder(struct subject *subject, const char *path)
{
    struct dirent **entries;
    unsigned tables = 0;
    int count = scandir(path, &entries, is_table_name, alphasort);
    if (count < 0)
        fail("%s: %s", path, strerror(errno));
    for (int i = 0; i < count; i++) {
        tables += load_entry(subject, path, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    if (tables == 0)
        fail("%s: a folder without ACPI tables (files like APIC, SSDT1, APIC.bin or apic.dat)", path);
    add_names(subject, path, KIND_ACPI);
}

/* ---- [KIND:]FILE -------------------------------------------------------------------------------------- */

static enum kind read_prefix(const char *argument, const char **path)
{
    static const struct {
        const char *prefix;
        enum kind kind;
    } prefixes[] = {{"fdt:", KIND_FDT},   {"acpi:", KIND_ACPI}, {"phys:", KIND_PHYS},
                    {"e820:", KIND_E820}, {"efi:", KIND_EFI},   {"topo:", KIND_TOPO}};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        size_t length = strlen(prefixes[i].prefix);
        if (strncmp(argument, prefixes[i].prefix, length) == 0) {
            *path = argument + length;
            return prefixes[i].kind;
        }
    }
    *path = argument;
    return KIND_UNKNOWN;
}

void load(struct subject *subject, const char *argument, uint32_t efi_desc_size)
{
    const char *path;
    enum kind kind = read_prefix(argument, &path);
    struct stat status;
    if (*path == '\0')
        fail("\"%s\" names no file", argument);
    if (stat(path, &status) != 0)
        fail("%s: %s", path, strerror(errno));
    if (S_ISDIR(status.st_mode)) {
        if (kind != KIND_UNKNOWN && kind != KIND_ACPI)
            fail("%s: a folder can only hold ACPI tables", path);
        load_folder(subject, path);
        return;
    }
    struct bytes bytes = read_file(path);
    if (kind == KIND_UNKNOWN)
        kind = detect(path, bytes, efi_desc_size);
    add(subject, path, kind, bytes, efi_desc_size);
    add_names(subject, path, kind);
}
