/* SPDX-License-Identifier: MIT */
#include <mm/frame.h>

const char *zone_name(zone_kind_t kind)
{
    static const char *const name[ZONE_KINDS] = {"DMA", "DMA32", "Normal", "HighMem", "Movable", "Device"};

    return name[kind];
}
