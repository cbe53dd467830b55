/* SPDX-License-Identifier: MIT
 *
 * What holds for every machine, however hostile its description: the map and the topology are sound; a byte
 * is free only if a source offered it and none took it; whoever gives up says why.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void broken(const char *what)
{
    fprintf(stderr, "fuzz: %s\n", what);
    abort();
}

void *fuzz_copy(const uint8_t *data, size_t size)
{
    void *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL)
        broken("out of memory");
    memcpy(copy, data, size);
    return copy;
}

/* Looks at claims alone, as an outsider would: the ends of the region and every border inside it. */
static void check_offered(const struct memmap *map, const struct mem_region *region)
{
    for (uint32_t i = 0; i <= map->claim_count; i++) {
        uint64_t at = i < map->claim_count ? map->claim[i].start.v : region->start.v;
        bool offered = false;
        if (at < region->start.v || at >= region->end.v)
            continue;
        for (uint32_t j = 0; j < map->claim_count; j++) {
            const struct mem_claim *claim = &map->claim[j];
            if (at < claim->start.v || at >= claim->end.v)
                continue;
            if (claim->type != MEM_USABLE)
                broken("free memory that a source reserves");
            offered = true;
        }
        if (!offered)
            broken("free memory that nobody offered");
    }
}

static void check_notes(const struct notes *notes)
{
    uint32_t count = 0;
    for (const char *line = note_next(notes, NULL); line != NULL; line = note_next(notes, line)) {
        count++;
        for (const char *c = line; *c != '\0'; c++)
            if (*c < ' ' || *c > '~')
                broken("a note that is not printable");
    }
    if (count != notes->count)
        broken("not as many notes as were counted");
}

void fuzz_describe(const struct machine_sources *sources)
{
    static struct machine machine;
    status_t status = machine_describe(&machine, sources);
    check_notes(&machine.notes);
    if (status != OK) {
        if (machine.notes.count == 0)
            broken("refused without a reason");
        return;
    }
    const char *problem = memmap_check(&machine.map);
    if (problem == NULL)
        problem = topo_check(&machine.topo);
    if (problem != NULL)
        broken(problem);
    for (uint32_t i = 0; i < machine.map.region_count; i++) {
        if (machine.map.region[i].node >= machine.topo.node_count)
            broken("a region without a node");
        if (machine.map.region[i].type == MEM_USABLE)
            check_offered(&machine.map, &machine.map.region[i]);
    }
}
