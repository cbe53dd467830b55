/* SPDX-License-Identifier: MIT */
#include "fdt_builder.h"

#include <string.h>

enum { BEGIN_NODE = 1, END_NODE = 2, PROP = 3, END = 9 };

static void put_be32(uint8_t *to, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void add_word(struct fdt_builder *builder, uint32_t value)
{
    if (builder->struct_size + 4 > FDT_BUILDER_STRUCT) {
        builder->full = true;
        return;
    }
    put_be32(builder->structure + builder->struct_size, value);
    builder->struct_size += 4;
}

/* Bytes, padded to whole words. */
static void add_bytes(struct fdt_builder *builder, const void *bytes, uint32_t size)
{
    uint32_t padded = (size + 3) & ~3u;
    if (builder->struct_size + padded > FDT_BUILDER_STRUCT) {
        builder->full = true;
        return;
    }
    memset(builder->structure + builder->struct_size, 0, padded);
    memcpy(builder->structure + builder->struct_size, bytes, size);
    builder->struct_size += padded;
}

static uint32_t add_name(struct fdt_builder *builder, const char *name)
{
    uint32_t size = (uint32_t)strlen(name) + 1;
    for (uint32_t at = 0; at + size <= builder->strings_size; at++)
        if (memcmp(builder->strings + at, name, size) == 0)
            return at;
    if (builder->strings_size + size > FDT_BUILDER_STRINGS) {
        builder->full = true;
        return 0;
    }
    memcpy(builder->strings + builder->strings_size, name, size);
    builder->strings_size += size;
    return builder->strings_size - size;
}

static void add_property(struct fdt_builder *builder, const char *name, const void *value, uint32_t size)
{
    add_word(builder, PROP);
    add_word(builder, size);
    add_word(builder, add_name(builder, name));
    add_bytes(builder, value, size);
}

void fdt_begin(struct fdt_builder *builder, const char *name)
{
    add_word(builder, BEGIN_NODE);
    add_bytes(builder, name, (uint32_t)strlen(name) + 1);
}

void fdt_end(struct fdt_builder *builder)
{
    add_word(builder, END_NODE);
}

void fdt_text(struct fdt_builder *builder, const char *property, const char *text)
{
    add_property(builder, property, text, (uint32_t)strlen(text) + 1);
}

void fdt_cells_(struct fdt_builder *builder, const char *property, const uint32_t *cells, uint32_t count)
{
    uint8_t bytes[64];
    if (count > sizeof(bytes) / 4) {
        builder->full = true;
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        put_be32(bytes + 4 * i, cells[i]);
    add_property(builder, property, bytes, 4 * count);
}

uint32_t fdt_finish(struct fdt_builder *builder)
{
    const uint32_t reserve = 40, structure = 72;
    add_word(builder, END);
    uint32_t strings = structure + builder->struct_size, total = strings + builder->strings_size;
    const uint32_t header[10] = {0xd00dfeed, total, structure, strings, reserve,
                                 17,         16,    0,         builder->strings_size, builder->struct_size};
    memset(builder->blob, 0, sizeof(builder->blob));
    for (unsigned i = 0; i < 10; i++)
        put_be32(builder->blob + 4 * i, header[i]);
    put_be32(builder->blob + reserve, (uint32_t)(builder->reserve_start >> 32));
    put_be32(builder->blob + reserve + 4, (uint32_t)builder->reserve_start);
    put_be32(builder->blob + reserve + 8, (uint32_t)(builder->reserve_size >> 32));
    put_be32(builder->blob + reserve + 12, (uint32_t)builder->reserve_size);
    memcpy(builder->blob + structure, builder->structure, builder->struct_size);
    memcpy(builder->blob + strings, builder->strings, builder->strings_size);
    return total;
}
