/* SPDX-License-Identifier: MIT */
#include <sys/mman.h>

#include <mm/port.h>

#include "layout.h"

struct memmap layout_map;
struct topo layout_topo;
struct zone_limits layout_limits;

static void *metadata;
static uint64_t metadata_size;

static void must(status_t status)
{
    if (status != OK)
        port_panic("simulated machine: %s", status_name(status));
}

void layout_begin(unsigned nodes)
{
    memmap_init(&layout_map);
    topo_init(&layout_topo);
    for (uint32_t id = 0; id < nodes; id++) {
        uint16_t node;

        must(topo_add_node(&layout_topo, id, &node));
    }
}

void layout_ram(unsigned node, uint64_t start, uint64_t end)
{
    must(topo_add_range(&layout_topo, (uint16_t)node, start, end - start, false));
    must(memmap_claim(&layout_map, start, end - start, MEM_USABLE, SOURCE_TOPO, 0, true));
}

void layout_cpus(unsigned cpus)
{
    for (unsigned cpu = 0; cpu < cpus; cpu++)
        must(topo_add_cpu(&layout_topo, cpu, 0, (uint16_t)(cpu % layout_topo.node_count), true));
}

void layout_part(uint64_t start, uint64_t end, mem_type_t type)
{
    must(memmap_claim(&layout_map, start, end - start, type, SOURCE_TOPO, 0, true));
}

status_t layout_settle(void)
{
    topo_settle(&layout_topo);
    must(memmap_settle(&layout_map));
    return topo_assign(&layout_topo, &layout_map);
}

status_t layout_start(const struct zone_limits *limits)
{
    must(layout_settle());
    layout_limits = *limits;
    metadata_size = frame_metadata_size(&layout_map, &layout_topo, limits);
    metadata =
        mmap(NULL, metadata_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (metadata == MAP_FAILED || madvise(metadata, metadata_size, MADV_NOHUGEPAGE) != 0)
        port_panic("no memory for %llu bytes of metadata", (unsigned long long)metadata_size);
    return frame_init(&layout_map, &layout_topo, limits, metadata, metadata_size);
}

void *layout_metadata(uint64_t *size)
{
    *size = metadata_size;
    return metadata;
}

void layout_end(void)
{
    munmap(metadata, metadata_size);
}

uint64_t layout_usable_frames(void)
{
    return memmap_frames(&layout_map, MEM_USABLE);
}
