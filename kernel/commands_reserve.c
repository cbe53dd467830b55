/* SPDX-License-Identifier: MIT
 *
 * `reserve`: what is kept back for emergencies, and how far each zone is from needing it.
 */
#include "commands.h"

#include <kernel/console.h>
#include <kernel/early.h>
#include <kernel/text.h>
#include <mm/frame_pressure.h>
#include <mm/frame_reserve.h>

typedef unsigned long long ull;

static void print_pool(uint16_t node, frame_reserve_t class, bool json, unsigned number)
{
    struct frame_reserve_info info;
    frame_reserve_info(node, class, &info);
    kprintf(json ? "%s{\"node\":%u,\"class\":\"%s\",\"size\":%llu,\"held\":%llu,\"taken\":%llu,\"filled\":%llu}"
                 : "%s  %4u  %-12s %6llu %6llu %8llu %8llu\n",
            json ? separator(number) : "", node_id(node), frame_reserve_name(class), (ull)info.size, (ull)info.held,
            (ull)info.taken, (ull)info.filled);
}

static void print_marks(unsigned index, bool json)
{
    struct frame_zone_info zone;
    struct frame_pressure_info info;
    frame_zone_info(index, &zone);
    frame_pressure_info(index, &info);
    kprintf(json ? "%s{\"node\":%u,\"zone\":\"%s\",\"level\":\"%s\",\"free\":%llu,\"high\":%llu,\"low\":%llu,"
                   "\"min\":%llu,\"critical\":%llu}"
                 : "%s  %4u  %-8s %-9s %10llu %8llu %8llu %8llu %8llu\n",
            json ? separator(index) : "", node_id(zone.node), zone_name(zone.kind), frame_pressure_name(info.level),
            (ull)info.free, (ull)info.marks.high, (ull)info.marks.low, (ull)info.marks.min, (ull)info.marks.critical);
}

bool command_reserve(int argc, char **argv)
{
    bool json;
    unsigned number = 0;
    if (!only_json(argc, argv, &json))
        return false;
    if (json)
        kprintf("{\"reserves\":[");
    else
        kprintf("  %4s  %-12s %6s %6s %8s %8s   frames\n", "node", "class", "size", "held", "taken", "filled");
    for (uint16_t node = 0; node < frame_topo()->node_count; node++)
        for (unsigned class = FRAME_RESERVE_NONE + 1; class < FRAME_RESERVE_CLASSES; class++)
            print_pool(node, (frame_reserve_t)class, json, number++);
    if (json)
        kprintf("],\"zones\":[");
    else
        kprintf("  %4s  %-8s %-9s %10s %8s %8s %8s %8s   frames\n", "node", "zone", "pressure", "free", "high", "low",
                "min", "critical");
    for (unsigned i = 0; i < frame_zone_count(); i++)
        print_marks(i, json);
    if (json)
        kprintf("]}\n");
    return true;
}
