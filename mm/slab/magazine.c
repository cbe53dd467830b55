/* SPDX-License-Identifier: MIT
 *
 * Magazines and the depot; see slab.h. What a CPU has is written by that CPU alone and not from interrupt handlers, so
 * without locks. Any call that may reach the frame allocator may come back to find the CPU's magazines changed, by a
 * reclaimer that ran inside it; what is taken out of the CPU's hands before such a call is nobody else's meanwhile.
 */
#include <mm/frame.h>
#include <mm/frame_info.h>
#include <mm/port.h>

#include "slab.h"

/* ---- What a CPU has --------------------------------------------------------------------------------------- */

static void load(struct slab_cache *cache, struct slab_cpu *cpu, struct magazine *magazine)
{
    cpu->base = magazine->object;
    cpu->end = magazine->object + cache->rounds;
    store_relaxed(&cpu->top, magazine->object + magazine->count);
}

/* The loaded magazine, or NULL; the CPU has none then. */
static struct magazine *unload(struct slab_cpu *cpu)
{
    struct magazine *magazine = cpu->base != NULL ? magazine_of(cpu->base) : NULL;

    if (magazine != NULL)
        magazine->count = (uint64_t)(load_relaxed(&cpu->top) - cpu->base);
    cpu->base = cpu->end = NULL;
    store_relaxed(&cpu->top, NULL);
    return magazine;
}

static struct magazine *replace_previous(struct slab_cpu *cpu, struct magazine *magazine)
{
    struct magazine *before = cpu->previous;

    cpu->previous = magazine;
    store_relaxed(&cpu->spare, magazine != NULL ? (uint32_t)magazine->count : 0);
    return before;
}

/* Makes a magazine the loaded one, and the loaded one the previous, which the caller has got. */
static void shift(struct slab_cache *cache, struct slab_cpu *cpu, struct magazine *magazine)
{
    (void)replace_previous(cpu, unload(cpu));
    load(cache, cpu, magazine);
}

/* Empties a magazine, or NULL, into slabs and gives it up. Returns the frames that went. */
static uint64_t discard(struct slab_cache *cache, struct magazine *magazine)
{
    void *object = magazine;

    if (magazine == NULL)
        return 0;
    return slab_put(cache, magazine->object, magazine->count) + slab_put(&slab_magazines, &object, 1);
}

static uint64_t give_back(struct slab_cache *cache, struct slab_cpu *cpu)
{
    struct magazine *loaded, *previous;

    cpu->epoch = load_relaxed(&cache->epoch);
    loaded = unload(cpu);
    previous = replace_previous(cpu, NULL);
    return discard(cache, loaded) + discard(cache, previous);
}

/* The part of the CPU that the running code may use; NULL: it is to use none. */
static struct slab_cpu *own(struct slab_cache *cache)
{
    unsigned index = port_cache();
    bool debugged = frame_debug() != 0;
    struct slab_cpu *cpu;

    if (index >= cache->cpus)
        return NULL;
    cpu = &cache->cpu[index];
    if (debugged || cpu->epoch != load_relaxed(&cache->epoch))
        (void)give_back(cache, cpu);
    return debugged || cache->rounds == 0 ? NULL : cpu;
}

/* ---- The depot -------------------------------------------------------------------------------------------- */

static struct magazine *new_magazine(void)
{
    void *object;

    if (slab_take(&slab_magazines, &object, 1) == 0)
        return NULL;
    ((struct magazine *)object)->count = 0;
    return object;
}

static void put_empty(struct slab_cache *cache, struct magazine *empty)
{
    uint64_t irq = spin_lock(&cache->lock);

    magazine_push(&cache->empty_magazines, &cache->magazines_empty, empty);
    spin_unlock(&cache->lock, irq);
}

/* A full magazine for an empty one, which may be NULL; if there is none, NULL, and the empty one stays the caller's. */
static struct magazine *exchange_for_full(struct slab_cache *cache, struct magazine *empty)
{
    uint64_t irq = spin_lock(&cache->lock);
    struct magazine *full = magazine_pop(&cache->full_magazines, &cache->magazines_full);

    if (full != NULL && empty != NULL)
        magazine_push(&cache->empty_magazines, &cache->magazines_empty, empty);
    spin_unlock(&cache->lock, irq);
    return full;
}

/* The same for a full one, or NULL, where *room says whether the depot will have it. */
static struct magazine *exchange_for_empty(struct slab_cache *cache, struct magazine *full, bool *room)
{
    uint64_t irq = spin_lock(&cache->lock);
    struct magazine *empty = NULL;

    *room = full == NULL || cache->magazines_full < DEPOT_PER_CPU * cache->cpus;
    if (*room)
        empty = magazine_pop(&cache->empty_magazines, &cache->magazines_empty);
    if (empty != NULL && full != NULL)
        magazine_push(&cache->full_magazines, &cache->magazines_full, full);
    spin_unlock(&cache->lock, irq);
    return empty;
}

/* An empty magazine for a full one, or NULL, which is the caller's no more. NULL: no memory for one, and none was given.
 * A full one that the depot has no room for, or that there is no other for, is emptied into its slabs. */
static struct magazine *get_empty(struct slab_cache *cache, struct magazine *full)
{
    bool room;
    struct magazine *empty = exchange_for_empty(cache, full, &room);
    uint64_t irq;

    if (empty == NULL && room)
        empty = new_magazine();
    else if (empty != NULL)
        return empty;
    if (full == NULL)
        return empty;
    if (empty == NULL) {
        (void)slab_put(cache, full->object, full->count);
        full->count = 0;
        return full;
    }
    irq = spin_lock(&cache->lock);
    magazine_push(&cache->full_magazines, &cache->magazines_full, full);
    spin_unlock(&cache->lock, irq);
    return empty;
}

/* ---- Allocation ------------------------------------------------------------------------------------------- */

/* Loads a full magazine, of the CPU or the depot. */
static bool reload(struct slab_cache *cache, struct slab_cpu *cpu)
{
    struct magazine *full;

    if (load_relaxed(&cpu->spare) > 0)
        full = replace_previous(cpu, NULL);
    else if ((full = exchange_for_full(cache, cpu->previous)) == NULL)
        return false;
    shift(cache, cpu, full);
    return true;
}

/* Sees to it that there is a magazine to fill, if there is memory for one. */
static void load_any(struct slab_cache *cache, struct slab_cpu *cpu)
{
    struct magazine *empty = cpu->base == NULL ? get_empty(cache, NULL) : NULL;

    if (empty != NULL && cpu->base == NULL)
        load(cache, cpu, empty);
    else if (empty != NULL)
        put_empty(cache, empty);
}

/* An object from slabs, and half a magazine more. */
static status_t refill(struct slab_cache *cache, struct slab_cpu *cpu, void **object)
{
    void *batch[MAGAZINE_ROUNDS / 2 + 1];
    uint32_t count;
    void **top;

    load_any(cache, cpu);
    count = slab_take(cache, batch, cache->rounds / 2 + 1);
    if (count == 0)
        return ERR_NO_MEMORY;
    *object = batch[--count];
    for (top = load_relaxed(&cpu->top); count > 0 && top != cpu->end; top++)
        *top = batch[--count];
    store_relaxed(&cpu->top, top);
    if (count > 0)
        (void)slab_put(cache, batch, count);
    return OK;
}

status_t slab_alloc_slowly(struct slab_cache *cache, void **object)
{
    struct slab_cpu *cpu = own(cache);
    void **top;

    if (cpu == NULL)
        return slab_take(cache, object, 1) == 1 ? OK : ERR_NO_MEMORY;
    if (load_relaxed(&cpu->top) == cpu->base && !reload(cache, cpu))
        return refill(cache, cpu, object);
    top = load_relaxed(&cpu->top) - 1;
    *object = *top;
    store_relaxed(&cpu->top, top);
    return OK;
}

/* ---- Frees ------------------------------------------------------------------------------------------------ */

/* Loads a magazine with room. False: there is none to be had. */
static bool make_room(struct slab_cache *cache, struct slab_cpu *cpu)
{
    struct magazine *previous = replace_previous(cpu, NULL), *empty = previous;

    if (previous == NULL || previous->count > 0)
        empty = get_empty(cache, previous);
    if (empty == NULL)
        return false;
    if (cpu->previous == NULL && load_relaxed(&cpu->top) == cpu->end)
        shift(cache, cpu, empty);
    else
        put_empty(cache, empty);
    return load_relaxed(&cpu->top) != cpu->end;
}

void slab_free_slowly(struct slab_cache *cache, void *object)
{
    struct slab_cpu *cpu = own(cache);
    void **top;

    if (cpu == NULL || (load_relaxed(&cpu->top) == cpu->end && !make_room(cache, cpu))) {
        (void)slab_put(cache, &object, 1);
        return;
    }
    top = load_relaxed(&cpu->top);
    *top = object;
    store_relaxed(&cpu->top, top + 1);
}

/* ---- Shrinking -------------------------------------------------------------------------------------------- */

uint64_t slab_shrink(struct slab_cache *cache)
{
    struct magazine *full, *empty;
    uint64_t irq, frames = 0;

    (void)fetch_add(&cache->epoch, 1);
    if (port_cache() < cache->cpus)
        frames = give_back(cache, &cache->cpu[port_cache()]);
    irq = spin_lock(&cache->lock);
    full = cache->full_magazines;
    empty = cache->empty_magazines;
    cache->full_magazines = cache->empty_magazines = NULL;
    cache->magazines_full = cache->magazines_empty = 0;
    spin_unlock(&cache->lock, irq);
    while (full != NULL || empty != NULL) { /* bound: those that were in the depot */
        struct magazine **list = full != NULL ? &full : &empty, *magazine = *list;

        *list = magazine->next;
        frames += discard(cache, magazine);
    }
    return frames + slab_trim(cache);
}

/* Magazines and headers go last: others give these back. */
uint64_t slab_shrink_all(void)
{
    uint64_t frames = 0;

    for (struct slab_cache *cache = NULL; (cache = slab_cache_next(cache)) != NULL;) {
        if (cache != &slab_magazines && cache != &slab_headers)
            frames += slab_shrink(cache);
    }
    return frames + slab_trim(&slab_magazines) + slab_trim(&slab_headers);
}

void slab_rest(void)
{
    for (struct slab_cache *cache = NULL; (cache = slab_cache_next(cache)) != NULL;)
        (void)own(cache);
}

void slab_cpu_offline(unsigned cpu)
{
    for (struct slab_cache *cache = NULL; (cache = slab_cache_next(cache)) != NULL;) {
        if (cpu < cache->cpus)
            (void)give_back(cache, &cache->cpu[cpu]);
    }
}
