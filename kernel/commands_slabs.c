/* SPDX-License-Identifier: MIT
 *
 * `slabs`: caches of kernel objects, and where their objects are.
 */
#include "commands.h"

#include <kernel/console.h>
#include <mm/slab.h>

typedef unsigned long long ull;

bool command_slabs(int argc, char **argv)
{
    unsigned number = 0;
    bool json;

    if (!only_json(argc, argv, &json))
        return false;
    if (json)
        kprintf("{\"slabs\":[");
    else
        kprintf("  %-16s %6s %6s %8s %8s %8s %8s %8s %8s\n", "cache", "bytes", "slabs", "frames", "objects", "used",
                "free", "depot", "CPUs");
    for (struct slab_cache *cache = NULL; (cache = slab_cache_next(cache)) != NULL;) {
        struct slab_stats stats;

        slab_cache_stats(cache, &stats);
        kprintf(json ? "%s{\"name\":\"%s\",\"bytes\":%u,\"slabs\":%llu,\"frames\":%llu,\"objects\":%llu,\"used\":%llu,"
                       "\"free\":%llu,\"depot\":%llu,\"cpus\":%llu}"
                     : "%s  %-16s %6u %6llu %8llu %8llu %8llu %8llu %8llu %8llu\n",
                json ? separator(number++) : "", cache->type.name, cache->type.size, (ull)stats.slabs,
                (ull)stats.frames, (ull)stats.objects,
                (ull)(stats.objects - stats.in_slabs - stats.in_depot - stats.in_cpus), (ull)stats.in_slabs,
                (ull)stats.in_depot, (ull)stats.in_cpus);
    }
    if (json)
        kprintf("]}\n");
    return true;
}
