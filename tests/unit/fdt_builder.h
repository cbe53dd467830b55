/* SPDX-License-Identifier: MIT
 *
 * Builds small device trees in memory, for tests that run where there is no dtc. Numbers are written
 * big-endian; what does not fit sets `full` and is left out.
 */
#ifndef FDT_BUILDER_H
#define FDT_BUILDER_H

#include <mm/types.h>

#define FDT_BUILDER_STRUCT 1536
#define FDT_BUILDER_STRINGS 256
#define FDT_BUILDER_BYTES (40 + 32 + FDT_BUILDER_STRUCT + FDT_BUILDER_STRINGS)

struct fdt_builder {
    uint32_t struct_size, strings_size;
    uint64_t reserve_start, reserve_size; /* one entry, if its size is not 0 */
    bool full;
    uint8_t structure[FDT_BUILDER_STRUCT];
    uint8_t strings[FDT_BUILDER_STRINGS];
    uint8_t blob[FDT_BUILDER_BYTES] __attribute__((aligned(8)));
};

void fdt_begin(struct fdt_builder *builder, const char *name);
void fdt_end(struct fdt_builder *builder);
void fdt_text(struct fdt_builder *builder, const char *property, const char *text);
void fdt_cells_(struct fdt_builder *builder, const char *property, const uint32_t *cells, uint32_t count);
#define fdt_cells(builder, property, ...)                                                                    \
    fdt_cells_(builder, property, (const uint32_t[]){__VA_ARGS__},                                           \
               sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* Writes the blob; returns its size. */
uint32_t fdt_finish(struct fdt_builder *builder);

#endif
