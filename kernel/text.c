/* SPDX-License-Identifier: MIT */
#include <kernel/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The next unit is used for exact multiples, and otherwise once it counts ten: "2046 MiB" says more than "1.9
 * GiB". */
const char *size_text(struct size_text *buffer, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    uint64_t scale = 1;
    while (unit + 1 < ARRAY_LEN(units) && bytes / scale >= 1024 &&
           (bytes % (scale << 10) == 0 || bytes / scale >= 10240)) {
        scale <<= 10;
        unit++;
    }
    unsigned long long whole = bytes / scale;
    unsigned long long tenths = unit == 0 ? 0 : (bytes % scale) / (scale >> 10) * 10 >> 10;
    if (bytes % scale == 0 || whole >= 100)
        snprintf(buffer->text, sizeof(buffer->text), "%llu %s", whole, units[unit]);
    else
        snprintf(buffer->text, sizeof(buffer->text), "%llu.%llu %s", whole, tenths, units[unit]);
    return buffer->text;
}

bool parse_size(const char *text, uint64_t *value)
{
    bool hex = text[0] == '0' && (text[1] | 0x20) == 'x';
    char *end;
    uint64_t number = strtoull(text, &end, hex ? 16 : 10);
    if (end == text || number == UINT64_MAX) /* no number, or one that does not fit */
        return false;
    static const char units[] = "KMGT";
    const char *unit = *end == '\0' ? NULL : strchr(units, *end & ~0x20);
    unsigned shift = unit == NULL ? 0 : (unsigned)(unit - units + 1) * 10;
    end += unit != NULL;
    if (*end != '\0' || (shift > 0 && number >> (64 - shift) != 0))
        return false;
    *value = number << shift;
    return true;
}
