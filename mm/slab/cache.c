/* SPDX-License-Identifier: MIT
 *
 * How caches come into being, and the list of them, which only grows.
 */
#include <mm/frame.h>
#include <mm/frame_info.h>
#include <mm/port.h>

#include "slab.h"

struct slab_cache *_Atomic slab_caches;
struct slab_cache slab_headers, slab_magazines;

/* The share of a slab that no object can use is at most so small, if ORDER_MAX allows. */
#define WASTE_SHARE 8
#define ORDER_MAX   4

static void shape(struct slab_cache *cache, uint32_t align)
{
    cache->outside = cache->type.size > SLAB_INSIDE_MAX;
    cache->first = cache->outside ? 0 : (uint32_t)align_up(sizeof(struct slab), align);
    cache->stride = (uint32_t)align_up(cache->type.size, align);
    for (;; cache->order++) { /* bound: ORDER_MAX + 1 rounds */
        uint64_t bytes = slab_bytes(cache);

        if (cache->first + cache->stride <= bytes) {
            cache->per_slab = (uint32_t)min_u64((bytes - cache->first) / cache->stride, SLAB_OBJECTS);
            if ((bytes - (uint64_t)cache->per_slab * cache->stride) * WASTE_SHARE <= bytes)
                return;
        }
        if (cache->order == ORDER_MAX)
            return;
    }
}

/* The CPUs' parts take whole frames: each writes its own all the time. They are zero: no magazines. */
static status_t make_cpus(struct slab_cache *cache)
{
    uint32_t cpus = frame_topo()->cpu_count;
    uint64_t bytes = cpus * sizeof(struct slab_cpu);
    struct frame_request request = {.count = (bytes + FRAME_SIZE - 1) / FRAME_SIZE,
                                    .node = FRAME_NODE_ANY,
                                    .zone = ZONE_NORMAL,
                                    .flags = FRAME_ZEROED,
                                    .type = FRAME_TYPE_KERNEL,
                                    .owner = (uintptr_t)cache};
    pfn_t first;
    status_t status = frame_alloc(&request, &first);

    if (status != OK)
        return status;
    cache->cpu = port_phys_to_virt(paddr_of(first));
    cache->cpus = cpus;
    return OK;
}

static void enter(struct slab_cache *cache)
{
    cache->next = load_relaxed(&slab_caches);
    store_release(&slab_caches, cache);
}

/* The two caches that the others need, when the first of these is made. */
static void init_own(void)
{
    slab_headers.type = (struct slab_type){.name = "slab header", .size = sizeof(struct slab), .align = 8};
    slab_magazines.type = (struct slab_type){.name = "magazine", .size = SLAB_MAGAZINE, .align = SLAB_MAGAZINE};
    shape(&slab_headers, slab_headers.type.align);
    shape(&slab_magazines, slab_magazines.type.align);
    enter(&slab_headers);
    enter(&slab_magazines);
}

status_t slab_cache_init(struct slab_cache *cache, const struct slab_type *type)
{
    uint32_t align = type->align != 0 ? type->align : 8;
    status_t status;

    if (type->size == 0 || type->size > SLAB_SIZE_MAX || !is_power_of_two(align) || align > SLAB_ALIGN_MAX)
        return ERR_INVALID;
    *cache = (struct slab_cache){.type = *type};
    cache->rounds = type->size <= 256 ? MAGAZINE_ROUNDS : type->size <= 1024 ? 14 : 6;
    shape(cache, align);
    status = make_cpus(cache);
    if (status != OK)
        return status;
    if (slab_headers.per_slab == 0)
        init_own();
    enter(cache);
    return OK;
}

struct slab_cache *slab_cache_next(const struct slab_cache *cache)
{
    return cache == NULL ? load_acquire(&slab_caches) : cache->next;
}
