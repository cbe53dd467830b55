/* SPDX-License-Identifier: MIT
 *
 * Physical memory images: "PHYSIMG1", a count, (address, length) for each blob, then the blobs in order. All
 * other memory is absent, and reading it fails.
 */
#include "acpi/reader.h"
#include "inspect.h"

#include <string.h>

#define HEADER 16
#define ENTRY 16
#define RSDP_SIZE 20 /* as far as the first checksum goes */

/* Blob i: where it lies in memory, how long it is, and its bytes. The offset of blob i in the file is the sum
 * of those before it, so blobs are visited in order. */
struct blob {
    uint64_t address, size;
    const uint8_t *bytes;
};

static struct blob blob_at(const struct phys_image *image, uint64_t i, uint64_t offset)
{
    const uint8_t *entry = image->data + HEADER + i * ENTRY;
    return (struct blob){le64(entry), le64(entry + 8), image->data + offset};
}

const void *phys_map(void *context, uint64_t address, uint64_t size)
{
    const struct phys_image *image = context;
    uint64_t offset = HEADER + image->count * ENTRY;
    for (uint64_t i = 0; i < image->count; i++) {
        struct blob blob = blob_at(image, i, offset);
        if (address >= blob.address && address - blob.address < blob.size &&
            size <= blob.size - (address - blob.address))
            return blob.bytes + (address - blob.address);
        offset += blob.size;
    }
    return NULL;
}

/* The first root pointer with a right checksum at a multiple of 4, else the first with a wrong one, for the
 * reader to refuse. 0: none. */
static uint64_t find_rsdp(const struct phys_image *image)
{
    uint64_t offset = HEADER + image->count * ENTRY, wrong = 0;
    for (uint64_t i = 0; i < image->count; i++) {
        struct blob blob = blob_at(image, i, offset);
        for (uint64_t at = 0; at + RSDP_SIZE <= blob.size; at += 4) {
            if (memcmp(blob.bytes + at, "RSD PTR ", 8) != 0)
                continue;
            if (acpi_sums_to_zero(blob.bytes + at, RSDP_SIZE))
                return blob.address + at;
            if (wrong == 0)
                wrong = blob.address + at;
        }
        offset += blob.size;
    }
    return wrong;
}

void phys_open(const char *path, struct bytes bytes, struct phys_image *image, uint64_t *rsdp)
{
    if (bytes.size < HEADER || memcmp(bytes.data, "PHYSIMG1", 8) != 0)
        fail("%s: phys: at 0x0: no PHYSIMG1 header", path);
    *image = (struct phys_image){bytes.data, bytes.size, le64(bytes.data + 8)};
    if (image->count > (bytes.size - HEADER) / ENTRY)
        fail("%s: phys: at 0x8: %llu blobs do not fit the file", path, (unsigned long long)image->count);
    uint64_t left = bytes.size - HEADER - image->count * ENTRY;
    for (uint64_t i = 0; i < image->count; i++) {
        struct blob blob = blob_at(image, i, 0);
        if (blob.size > left || blob.address > UINT64_MAX - blob.size)
            fail("%s: phys: at %#llx: blob %llu does not fit the file", path,
                 (unsigned long long)(HEADER + i * ENTRY), (unsigned long long)i);
        left -= blob.size;
    }
    *rsdp = find_rsdp(image);
    if (*rsdp == 0)
        fail("%s: phys: no ACPI root pointer (RSDP) in the image", path);
}
