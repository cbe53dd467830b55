/* SPDX-License-Identifier: MIT
 *
 * Runs tests/unit on a made-up machine: five nodes, one of them without memory, with the border between DMA32
 * and Normal inside node 1, node borders inside chunks, holes and ragged edges.
 * --debug: all of it with records and poison. Descriptors begin as garbage, which they may.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <mm/frame_info.h>
#include <mm/port.h>

#include "quire_test.h"

static struct memmap map;
static struct topo topo;

static void must(status_t status)
{
    if (status != OK)
        port_panic("the made-up machine: %s", status_name(status));
}

static void describe_nodes(void)
{
    static const struct {
        uint32_t id;
        uint64_t end; /* of its memory; it starts where the one before ends */
    } node[] = {{0, GIB(4) - MIB(16)},
                {1, GIB(4) + MIB(47) + 0x5000},
                {4, GIB(4) + MIB(112)},
                {9, HOST_PHYS_BASE + HOST_PHYS_SIZE},
                {12, HOST_PHYS_BASE + HOST_PHYS_SIZE}};
    static const uint8_t distance[5][5] = {{10, 30, 20, 40, 15},
                                           {20, 10, 20, 25, 20},
                                           {21, 17, 10, 16, 20},
                                           {40, 30, 20, 10, 20},
                                           {20, 20, 20, 15, 10}};
    uint64_t start = HOST_PHYS_BASE;

    topo_init(&topo);
    for (unsigned i = 0; i < ARRAY_LEN(node); i++) {
        uint16_t index;

        must(topo_add_node(&topo, node[i].id, &index));
        if (node[i].end > start)
            must(topo_add_range(&topo, index, start, node[i].end - start, false));
        must(topo_add_cpu(&topo, 10 + i, i, index, true));
        start = node[i].end;
    }
    for (uint16_t i = 0; i < ARRAY_LEN(node); i++) {
        for (uint16_t j = 0; j < ARRAY_LEN(node); j++)
            must(topo_set_distance(&topo, i, j, distance[i][j]));
    }
    topo_settle(&topo);
}

static void claim(uint64_t start, uint64_t end, mem_type_t type)
{
    must(memmap_claim(&map, HOST_PHYS_BASE + start, end - start, type, SOURCE_KERNEL, 0, true));
}

static void describe_memory(void)
{
    memmap_init(&map);
    claim(0x1234, HOST_PHYS_SIZE - 0x777, MEM_USABLE);
    claim(MIB(5) + 0x800, MIB(5) + 0x1800, MEM_RESERVED);
    claim(MIB(20), MIB(23), MEM_BOOT_RECLAIM);
    claim(MIB(70) + 0x3000, MIB(71), MEM_KERNEL);
    claim(MIB(140), MIB(140) + 0x1000, MEM_BAD);
    must(memmap_settle(&map));
    must(topo_assign(&topo, &map));
}

static void print(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct zone_limits limits = {
        .dma_end = GIB(4) - MIB(48), .dma32_end = GIB(4), .direct_end = UINT64_MAX};
    uint64_t size;
    void *metadata;

    host_memory_init();
    describe_nodes();
    describe_memory();
    size = frame_metadata_size(&map, &topo, &limits);
    metadata = aligned_alloc(FRAME_SIZE, size);
    if (metadata == NULL)
        port_panic("no memory for metadata");
    memset(metadata, 0xa5, size);
    memset(metadata, 0, size - frame_descriptor_size(&map, &limits));
    must(frame_init(&map, &topo, &limits, metadata, size));
    if (argc > 1 && strcmp(argv[1], "--debug") == 0) {
        must(frame_debug_set(FRAME_DEBUG_OWNER | FRAME_DEBUG_POISON));
        argc--;
        argv++;
    }
    return test_run_all(argc > 1 ? argv[1] : NULL, print) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
