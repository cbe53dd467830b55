/* SPDX-License-Identifier: MIT
 *
 * Three layers. A CPU has two magazines, `loaded` and `previous`, and deals with nobody as long as one of them will do.
 * Magazines that are full or empty come from and go to the depot, whole, under the cache's lock. Below lie slabs: 2^order
 * frames, aligned to their length, so that the slab of an object is found by rounding down; a header with a bit for each
 * object (1 = free), then the objects. Nothing is kept in free objects: they are constructed.
 *
 * Two magazines, because with one a CPU whose allocations and frees take turns at its end would go to the depot each
 * time. `previous` is either full or empty; whoever puts one there keeps it so.
 *
 * No lock is held while frames or magazines are allocated or freed: the frame allocator may call a reclaimer, and that
 * slab_shrink(). Magazines are objects of a cache of their own, which has none.
 *
 * Bounds: a CPU holds 2 × MAGAZINE_ROUNDS objects of a cache at most, a slab has at most 512 objects, and besides
 * what is in use there are at most EMPTY_SLABS slabs with nothing in use until a cache is asked to shrink.
 */
#include <mm/bits.h>
#include <mm/frame.h>
#include <mm/frame_info.h>
#include <mm/port.h>
#include <mm/slab.h>
#include <string.h>

#include "slab.h"

static struct slab_cache *_Atomic caches; /* all; only grows */
static spinlock_t caches_lock;

static struct slab_cache magazines;

/* ---- Slabs ------------------------------------------------------------------------------------------------ */

uint64_t slab_bytes(const struct slab_cache *cache)
{
    return FRAME_SIZE << cache->order;
}

void *slab_object(const struct slab_cache *cache, const struct slab *slab, uint32_t index)
{
    return (uint8_t *)(uintptr_t)slab + cache->first + (uint64_t)index * cache->stride;
}

static void unlink(struct slab **list, struct slab *slab)
{
    if (slab->previous != NULL)
        slab->previous->next = slab->next;
    else
        *list = slab->next;
    if (slab->next != NULL)
        slab->next->previous = slab->previous;
}

static void link(struct slab **list, struct slab *slab)
{
    slab->previous = NULL;
    slab->next = *list;
    if (*list != NULL)
        (*list)->previous = slab;
    *list = slab;
}

/* A slab of free objects, constructed, which nobody knows of yet; NULL: no memory. */
static struct slab *make_slab(const struct slab_cache *cache)
{
    struct frame_request request = {.count = UINT64_C(1) << cache->order,
                                    .align = UINT64_C(1) << cache->order,
                                    .node = FRAME_NODE_ANY,
                                    .zone = ZONE_NORMAL,
                                    .type = FRAME_TYPE_SLAB,
                                    .owner = (uintptr_t)cache};
    struct slab *slab;
    pfn_t first;

    if (frame_alloc(&request, &first) != OK)
        return NULL;
    slab = port_phys_to_virt(paddr_of(first));
    *slab = (struct slab){.cache = cache, .free = cache->per_slab};
    for (uint32_t i = 0; i < cache->per_slab; i++) {
        slab->map[i / WORD_BITS] |= UINT64_C(1) << i % WORD_BITS;
        if (cache->type.construct != NULL)
            cache->type.construct(slab_object(cache, slab, i));
    }
    return slab;
}

/* Gives back slabs of a list on which nobody else looks. Returns the frames. */
static uint64_t unmake_slabs(const struct slab_cache *cache, struct slab *slab)
{
    uint64_t frames = 0;

    while (slab != NULL) {
        struct slab *next = slab->next;

        for (uint32_t i = 0; i < cache->per_slab && cache->type.destruct != NULL; i++)
            cache->type.destruct(slab_object(cache, slab, i));
        if (frame_free(pfn_of(port_virt_to_phys(slab)), UINT64_C(1) << cache->order) != OK)
            port_panic("a slab of %s could not be freed", cache->type.name);
        frames += UINT64_C(1) << cache->order;
        slab = next;
    }
    return frames;
}

/* One object of a slab that has some. Under the lock. */
static void *take_of(struct slab_cache *cache, struct slab **list, struct slab *slab)
{
    uint32_t word = 0, index;

    while (slab->map[word] == 0) /* bound: one is free */
        word++;
    index = word * WORD_BITS + bit_lowest(slab->map[word]);
    slab->map[word] &= slab->map[word] - 1;
    if (list == &cache->empty) {
        unlink(&cache->empty, slab);
        link(&cache->partial, slab);
        cache->empty_slabs--;
    }
    if (--slab->free == 0)
        unlink(&cache->partial, slab);
    cache->free_objects--;
    return slab_object(cache, slab, index);
}

/* Up to `most` objects. Under the lock. */
static uint32_t take_some(struct slab_cache *cache, void **objects, uint32_t most)
{
    uint32_t count = 0;

    while (count < most && (cache->partial != NULL || cache->empty != NULL)) {
        struct slab **list = cache->partial != NULL ? &cache->partial : &cache->empty;

        objects[count++] = take_of(cache, list, *list);
    }
    return count;
}

/* An allocated object of the cache: its slab and number. False: it is none. Under the lock. */
static bool find(const struct slab_cache *cache, const void *object, struct slab **slab, uint32_t *index)
{
    uintptr_t base = align_down((uintptr_t)object, slab_bytes(cache));
    uint64_t offset = (uintptr_t)object - base - cache->first;

    *slab = (struct slab *)base;
    if ((uintptr_t)object - base < cache->first || offset % cache->stride != 0 ||
        offset / cache->stride >= cache->per_slab || (*slab)->cache != cache)
        return false;
    *index = (uint32_t)(offset / cache->stride);
    return ((*slab)->map[*index / WORD_BITS] >> *index % WORD_BITS & 1) == 0;
}

/* Puts objects back into their slabs. Under the lock. Returns slabs that are to go: there are enough empty ones. */
static struct slab *put_some(struct slab_cache *cache, void *const *objects, uint32_t count)
{
    struct slab *spare = NULL, *slab;
    uint32_t index;

    for (uint32_t i = 0; i < count; i++) {
        if (!find(cache, objects[i], &slab, &index)) {
            port_report("%p was freed as %s, but is none that is allocated", objects[i], cache->type.name);
            continue;
        }
        slab->map[index / WORD_BITS] |= UINT64_C(1) << index % WORD_BITS;
        cache->free_objects++;
        if (slab->free++ == 0)
            link(&cache->partial, slab);
        if (slab->free < cache->per_slab)
            continue;
        unlink(&cache->partial, slab);
        if (cache->empty_slabs < EMPTY_SLABS) {
            link(&cache->empty, slab);
            cache->empty_slabs++;
        } else {
            link(&spare, slab);
            cache->slabs--;
            cache->free_objects -= cache->per_slab;
        }
    }
    return spare;
}

/* The same, with the lock. Returns the frames that went. */
static uint64_t put_back(struct slab_cache *cache, void *const *objects, uint32_t count)
{
    uint64_t irq = spin_lock(&cache->lock);
    struct slab *spare = put_some(cache, objects, count);

    spin_unlock(&cache->lock, irq);
    return unmake_slabs(cache, spare);
}

/* Up to `most` objects, at least one unless there is no memory. */
static uint32_t take_or_grow(struct slab_cache *cache, void **objects, uint32_t most)
{
    uint64_t irq = spin_lock(&cache->lock);
    uint32_t count = take_some(cache, objects, most);
    struct slab *slab;

    spin_unlock(&cache->lock, irq);
    if (count > 0)
        return count;
    slab = make_slab(cache);
    if (slab == NULL)
        return 0;
    irq = spin_lock(&cache->lock);
    link(&cache->empty, slab);
    cache->empty_slabs++;
    cache->slabs++;
    cache->free_objects += cache->per_slab;
    count = take_some(cache, objects, most);
    spin_unlock(&cache->lock, irq);
    return count;
}

/* ---- Magazines -------------------------------------------------------------------------------------------- */

static struct magazine *magazine_of(void **loaded)
{
    return (struct magazine *)((uintptr_t)loaded - offsetof(struct magazine, object));
}

static struct magazine *new_magazine(void)
{
    void *object;

    if (take_or_grow(&magazines, &object, 1) == 0)
        return NULL;
    *(struct magazine *)object = (struct magazine){.count = 0};
    return object;
}

static void push(struct magazine **list, uint64_t *count, struct magazine *magazine)
{
    magazine->next = *list;
    *list = magazine;
    (*count)++;
}

static struct magazine *pop(struct magazine **list, uint64_t *count)
{
    struct magazine *magazine = *list;

    if (magazine != NULL) {
        *list = magazine->next;
        (*count)--;
    }
    return magazine;
}

/* Makes a magazine the loaded one. */
static void load(struct slab_cache *cache, struct slab_cpu *cpu, struct magazine *magazine)
{
    cpu->loaded = magazine->object;
    cpu->count = magazine->count;
    cpu->limit = cache->rounds;
}

/* The loaded magazine, with its count; the CPU has none then. */
static struct magazine *unload(struct slab_cpu *cpu)
{
    struct magazine *magazine = cpu->limit != 0 ? magazine_of(cpu->loaded) : NULL;

    if (magazine != NULL)
        magazine->count = cpu->count;
    cpu->count = cpu->limit = 0;
    return magazine;
}

static void swap(struct slab_cache *cache, struct slab_cpu *cpu)
{
    struct magazine *magazine = cpu->previous;

    cpu->previous = unload(cpu);
    load(cache, cpu, magazine);
}

/* Empties a magazine, or NULL, into slabs and gives it up. Returns the frames that went. */
static uint64_t discard(struct slab_cache *cache, struct magazine *magazine)
{
    void *object = magazine;

    if (magazine == NULL)
        return 0;
    return put_back(cache, magazine->object, magazine->count) + put_back(&magazines, &object, 1);
}

static void give_back(struct slab_cache *cache, struct slab_cpu *cpu)
{
    cpu->epoch = load_relaxed(&cache->epoch);
    (void)discard(cache, unload(cpu));
    (void)discard(cache, cpu->previous);
    cpu->previous = NULL;
}

/* A full magazine of the depot for an empty one of ours, which may be NULL. */
static struct magazine *exchange_for_full(struct slab_cache *cache, struct magazine *ours)
{
    uint64_t irq = spin_lock(&cache->lock);
    struct magazine *full = pop(&cache->full_magazines, &cache->magazines_full);

    if (full != NULL && ours != NULL)
        push(&cache->empty_magazines, &cache->magazines_empty, ours);
    spin_unlock(&cache->lock, irq);
    return full;
}

/* An empty magazine, for a full one of ours, which may be NULL. Ours stays ours if there is none. */
static struct magazine *exchange_for_empty(struct slab_cache *cache, struct magazine *ours)
{
    struct magazine *empty;
    uint64_t irq = spin_lock(&cache->lock);

    empty = pop(&cache->empty_magazines, &cache->magazines_empty);
    if (empty != NULL && ours != NULL)
        push(&cache->full_magazines, &cache->magazines_full, ours);
    spin_unlock(&cache->lock, irq);
    if (empty != NULL || (empty = new_magazine()) == NULL || ours == NULL)
        return empty;
    irq = spin_lock(&cache->lock);
    push(&cache->full_magazines, &cache->magazines_full, ours);
    spin_unlock(&cache->lock, irq);
    return empty;
}

static bool wanted_back(const struct slab_cache *cache, const struct slab_cpu *cpu)
{
    return cpu->epoch != load_relaxed(&cache->epoch);
}

/* Loads a magazine with objects, full if the depot has one. False: there is none to be had. */
static bool reload(struct slab_cache *cache, struct slab_cpu *cpu)
{
    struct magazine *full;

    if (cpu->previous != NULL && cpu->previous->count > 0) {
        swap(cache, cpu);
        return true;
    }
    full = exchange_for_full(cache, cpu->previous);
    if (full != NULL) {
        cpu->previous = unload(cpu);
        load(cache, cpu, full);
        return true;
    }
    if (cpu->limit == 0) {
        struct magazine *empty = exchange_for_empty(cache, NULL);

        if (empty == NULL)
            return false;
        load(cache, cpu, empty);
    }
    cpu->count = take_or_grow(cache, cpu->loaded, cache->rounds / 2 + 1);
    return cpu->count > 0;
}

status_t slab_alloc_slowly(struct slab_cache *cache, void **object)
{
    struct slab_cpu *cpu = &cache->cpu[port_cpu()];

    if (wanted_back(cache, cpu))
        give_back(cache, cpu);
    if (cache->rounds == 0 || !reload(cache, cpu))
        return take_or_grow(cache, object, 1) == 1 ? OK : ERR_NO_MEMORY;
    *object = cpu->loaded[--cpu->count];
    return OK;
}

/* Loads a magazine with room. False: there is none to be had. */
static bool make_room(struct slab_cache *cache, struct slab_cpu *cpu)
{
    struct magazine *empty;

    if (cpu->previous != NULL && cpu->previous->count == 0) {
        swap(cache, cpu);
        return true;
    }
    empty = exchange_for_empty(cache, cpu->previous);
    if (empty == NULL)
        return false;
    cpu->previous = unload(cpu);
    load(cache, cpu, empty);
    return true;
}

void slab_free_slowly(struct slab_cache *cache, void *object)
{
    struct slab_cpu *cpu = &cache->cpu[port_cpu()];

    if (wanted_back(cache, cpu))
        give_back(cache, cpu);
    if (cache->rounds == 0 || !make_room(cache, cpu))
        (void)put_back(cache, &object, 1);
    else
        cpu->loaded[cpu->count++] = object;
}

/* ---- Shrinking -------------------------------------------------------------------------------------------- */

uint64_t slab_shrink(struct slab_cache *cache)
{
    uint64_t irq = spin_lock(&cache->lock), frames = 0;
    struct magazine *full = cache->full_magazines, *empty = cache->empty_magazines;
    struct slab *slabs;

    cache->full_magazines = cache->empty_magazines = NULL;
    cache->magazines_full = cache->magazines_empty = 0;
    spin_unlock(&cache->lock, irq);
    fetch_add(&cache->epoch, 1);
    while (full != NULL || empty != NULL) { /* bound: those that were in the depot */
        struct magazine **list = full != NULL ? &full : &empty, *magazine = *list;

        *list = magazine->next;
        frames += discard(cache, magazine);
    }
    irq = spin_lock(&cache->lock);
    slabs = cache->empty;
    cache->empty = NULL;
    cache->slabs -= cache->empty_slabs;
    cache->free_objects -= cache->empty_slabs * cache->per_slab;
    cache->empty_slabs = 0;
    spin_unlock(&cache->lock, irq);
    return frames + unmake_slabs(cache, slabs);
}

uint64_t slab_shrink_all(void)
{
    uint64_t frames = 0;

    for (struct slab_cache *cache = NULL; (cache = slab_cache_next(cache)) != NULL;) {
        if (cache != &magazines)
            frames += slab_shrink(cache);
    }
    return frames + slab_shrink(&magazines);
}

void slab_rest(void)
{
    for (struct slab_cache *cache = NULL; (cache = slab_cache_next(cache)) != NULL;) {
        struct slab_cpu *cpu = &cache->cpu[port_cpu()];

        if (wanted_back(cache, cpu))
            give_back(cache, cpu);
    }
}

void slab_cpu_offline(void)
{
    for (struct slab_cache *cache = NULL; (cache = slab_cache_next(cache)) != NULL;)
        give_back(cache, &cache->cpu[port_cpu()]);
}

/* ---- Making ----------------------------------------------------------------------------------------------- */

/* The share of a slab that no object can use is at most so small, if ORDER_MAX allows. */
#define WASTE_SHARE 8
#define ORDER_MAX   4

static void shape(struct slab_cache *cache, uint32_t align)
{
    cache->stride = (uint32_t)align_up(cache->type.size, align);
    for (cache->order = 0;; cache->order++) { /* bound: ORDER_MAX + 1 rounds */
        uint64_t bytes = slab_bytes(cache), room;

        cache->first = (uint32_t)align_up(sizeof(struct slab), align);
        room = bytes - cache->first;
        cache->per_slab = (uint32_t)min_u64(room / cache->stride, SLAB_OBJECTS);
        if (cache->order == ORDER_MAX ||
            (bytes - (uint64_t)cache->per_slab * cache->stride) * WASTE_SHARE <= bytes)
            return;
    }
}

/* The per-CPU part takes whole frames: it is written all the time, and shares no line with anything. */
static status_t make_cpus(struct slab_cache *cache)
{
    uint64_t bytes = frame_topo()->cpu_count * sizeof(struct slab_cpu);
    struct frame_request request = {.count = (bytes + FRAME_SIZE - 1) / FRAME_SIZE,
                                    .node = FRAME_NODE_ANY,
                                    .zone = ZONE_NORMAL,
                                    .flags = FRAME_ZEROED,
                                    .type = FRAME_TYPE_SLAB,
                                    .owner = (uintptr_t)cache};
    pfn_t first;
    status_t status = frame_alloc(&request, &first);

    if (status == OK)
        cache->cpu = port_phys_to_virt(paddr_of(first));
    return status;
}

static status_t init(struct slab_cache *cache, const struct slab_type *type, uint32_t rounds)
{
    uint32_t align = type->align != 0 ? type->align : 8;
    status_t status;
    uint64_t irq;

    if (type->size == 0 || type->size > SLAB_SIZE_MAX || !is_power_of_two(align) || align > SLAB_ALIGN_MAX)
        return ERR_INVALID;
    *cache = (struct slab_cache){.type = *type, .rounds = rounds};
    shape(cache, align);
    status = make_cpus(cache);
    if (status != OK)
        return status;
    irq = spin_lock(&caches_lock);
    cache->next = load_relaxed(&caches);
    store_release(&caches, cache);
    spin_unlock(&caches_lock, irq);
    return OK;
}

static uint32_t rounds_of(const struct slab_type *type)
{
    return type->size <= 256 ? MAGAZINE_ROUNDS : type->size <= 1024 ? 14 : 6;
}

status_t slab_cache_init(struct slab_cache *cache, const struct slab_type *type)
{
    static const struct slab_type magazine_type = {.name = "magazine", .size = sizeof(struct magazine), .align = 64};
    status_t status = OK;

    if (magazines.cpu == NULL)
        status = init(&magazines, &magazine_type, 0);
    return status == OK ? init(cache, type, rounds_of(type)) : status;
}

struct slab_cache *slab_cache_next(const struct slab_cache *cache)
{
    return cache == NULL ? load_acquire(&caches) : cache->next;
}
