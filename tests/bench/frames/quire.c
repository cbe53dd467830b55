/* SPDX-License-Identifier: MIT
 *
 * mm/frame behind the vtable, by its public functions alone. The machine is one node of Normal memory from
 * physical address 0, so that frame numbers need no translation. It has as many frames more as the emergency
 * reserves take, which the yardsticks do not have; they lie behind the others.
 */
#include <mm/frame.h>
#include <mm/frame_reserve.h>
#include <mm/frame_info.h>
#include <mm/port.h>

#include "quire.h"

static struct memmap map;
static struct topo topo;
static void *metadata;
static uint64_t metadata_size;

static bool describe(uint64_t bytes, unsigned ncpu)
{
    uint16_t node;

    memmap_init(&map);
    topo_init(&topo);
    if (topo_add_node(&topo, 0, &node) != OK || topo_add_range(&topo, node, 0, bytes, false) != OK ||
        memmap_claim(&map, 0, bytes, MEM_USABLE, SOURCE_KERNEL, 0, true) != OK)
        return false;
    for (unsigned i = 0; i < ncpu; i++) {
        if (topo_add_cpu(&topo, i, i, node, true) != OK)
            return false;
    }
    topo_settle(&topo);
    return memmap_settle(&map) == OK && topo_assign(&topo, &map) == OK;
}

static bool start(uint64_t nframes, unsigned ncpu)
{
    static const struct zone_limits limits = {.direct_end = UINT64_MAX};

    if (metadata != NULL)
        munmap(metadata, metadata_size);
    metadata = NULL;
    if (!describe(nframes * FRAME_SIZE, ncpu))
        return false;
    metadata_size = frame_metadata_size(&map, &topo, &limits);
    metadata = mmap(NULL, metadata_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (metadata == MAP_FAILED) {
        metadata = NULL;
        return false;
    }
    /* In memory from the start, but for descriptors, which the default mode never touches. */
    memset(metadata, 0, metadata_size - frame_descriptor_size(&map, &limits));
    return frame_init(&map, &topo, &limits, metadata, metadata_size) == OK;
}

/* What is larger by its reserves fills them from its last chunk, of which nothing else is there. */
static int quire_init(uint64_t nframes, unsigned ncpu)
{
    if (!start(nframes, ncpu) || !start(nframes + frame_reserved(), ncpu) || frame_free_count() != nframes)
        return -1;
    port_fence_cpus(); /* its first call is dearer than the others */
    return 0;
}

/* Orders above 0 are apart, so that what they need on the stack costs a single frame nothing. */
static __attribute__((noinline)) uint64_t alloc_order(unsigned order)
{
    const struct frame_request request = {.count = UINT64_C(1) << order,
                                          .align = UINT64_C(1) << order,
                                          .node = FRAME_NODE_ANY,
                                          .zone = ZONE_NORMAL};
    pfn_t first;

    return frame_alloc(&request, &first) == OK ? first.v : FA_NONE;
}

static uint64_t quire_alloc(unsigned cpu, unsigned order)
{
    pfn_t frame;

    bench_cpu = cpu;
    if (order != 0)
        return alloc_order(order);
    return frame_alloc_one(0, &frame) == OK ? frame.v : FA_NONE;
}

static __attribute__((noinline, noreturn)) void refused(void)
{
    port_panic("frame_free refused what it had handed out");
}

static __attribute__((noinline)) void free_order(uint64_t frame, unsigned order)
{
    if (frame_free(pfn(frame), UINT64_C(1) << order) != OK)
        refused();
}

static void quire_free(unsigned cpu, uint64_t frame, unsigned order)
{
    bench_cpu = cpu;
    if (order != 0)
        free_order(frame, order);
    else if (frame_free(pfn(frame), 1) != OK)
        refused();
}

uint64_t fa_quire_allocator_bytes(void)
{
    return frame_metadata_bytes();
}

/* The allocator's and all that there is beside it. */
static uint64_t all_metadata_bytes(void)
{
    return fa_quire_allocator_bytes() + frame_descriptor_bytes();
}

static void quire_stats(struct fa_stats *stats)
{
    stats->free_frames = frame_free_count();
    stats->free_huge = 0;
    stats->meta_bytes = all_metadata_bytes();
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_zone_stats zone;

        frame_zone_stats(i, &zone);
        stats->free_huge += zone.whole_chunks;
    }
}

const struct fa fa_quire = {.name = "quire",
                            .max_order = FRAME_ORDERS - 1,
                            .init = quire_init,
                            .alloc = quire_alloc,
                            .free = quire_free,
                            .drain = frame_drain,
                            .stats = quire_stats};
