/* SPDX-License-Identifier: MIT
 *
 * ACPI. Random bytes never have a right checksum, so the harness sets it, and signature and length too,
 * unless the input asks for its own. The input is a sequence of tables, each after a control byte and a
 * length:
 *
 *   control & 7    signature: one of those below, 7 keeps the input's
 *   control & 8    keeps the length field      control & 16   keeps the checksum
 *   control & 128  the rest of the input is physical memory with the RSDP at its start
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#define BASE UINT64_C(0x1000)
#define HEADER 36

struct image {
    uint8_t *data;
    size_t size;
};

static const void *map(void *context, uint64_t address, uint64_t size)
{
    const struct image *image = context;
    if (address < BASE || address - BASE > image->size || size > image->size - (address - BASE))
        return NULL;
    return image->data + (address - BASE);
}

static void set_sum(uint8_t *bytes, size_t length, size_t at)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + bytes[i]);
    bytes[at] = (uint8_t)(bytes[at] - sum);
}

/* Every table that starts at a multiple of 16 and fits gets its checksum. */
static void sum_tables(struct image *image)
{
    for (size_t at = 48; at + HEADER <= image->size; at += 16) {
        uint32_t length;
        memcpy(&length, image->data + at + 4, 4);
        if (length >= HEADER && length <= image->size - at)
            set_sum(image->data + at, length, 9);
    }
}

static void run_image(const uint8_t *data, size_t size)
{
    struct image image = {fuzz_copy(data, size), size};
    if (size >= 36) {
        memcpy(image.data, "RSD PTR ", 8);
        sum_tables(&image);
        set_sum(image.data, 20, 8);
        set_sum(image.data, 36, 32);
    }
    fuzz_describe(&(struct machine_sources){.rsdp = BASE, .phys = {map, &image}});
    free(image.data);
}

static void dress(uint8_t *table, uint32_t length, unsigned control)
{
    static const char signatures[7][5] = {"APIC", "SRAT", "SLIT", "SPCR", "FACP", "XSDT", "FACS"};
    if (length < HEADER)
        return;
    if ((control & 7) < 7)
        memcpy(table, signatures[control & 7], 4);
    if ((control & 8) == 0)
        memcpy(table + 4, &length, 4);
    if ((control & 16) == 0)
        set_sum(table, length, 9);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine_sources sources = {0};
    uint8_t *tables[8];
    unsigned count = 0;
    if (size > 0 && (data[0] & 128) != 0) {
        run_image(data + 1, size - 1);
        return 0;
    }
    while (size >= 3 && count < 8) {
        unsigned control = data[0];
        uint32_t length = data[1] | (uint32_t)data[2] << 8;
        data += 3;
        size -= 3;
        length = length > size ? (uint32_t)size : length;
        tables[count] = fuzz_copy(data, length);
        dress(tables[count], length, control);
        sources.acpi_table[count] = tables[count];
        sources.acpi_table_size[count++] = length;
        data += length;
        size -= length;
    }
    sources.acpi_table_count = count;
    fuzz_describe(&sources);
    for (unsigned i = 0; i < count; i++)
        free(tables[i]);
    return 0;
}
