/* SPDX-License-Identifier: MIT
 *
 * Slabs; see slab.h. One with free objects is in its cache's list `partial` or `empty`, a full one in none.
 */
#include <mm/frame.h>
#include <mm/frame_info.h>
#include <mm/port.h>
#include <string.h>

#include "slab.h"

/* Wrong frees that were met under a lock, to be reported without it. */
struct wrong {
    const void *object; /* the first */
    const char *what;
    uint64_t count;
};

static void report(const struct slab_cache *cache, const struct wrong *wrong)
{
    if (wrong->count > 0)
        port_report("slab_free: %p was freed as %s, but %s (%llu such)", wrong->object, cache->type.name, wrong->what,
                    (unsigned long long)wrong->count);
}

/* ---- Memory ----------------------------------------------------------------------------------------------- */

static pfn_t frame_of(const void *pointer)
{
    return pfn_of(port_virt_to_phys(pointer));
}

/* Writes into descriptors whose the frames are; NULL: nobody's. What debug modes record of them stays. */
static void describe(const struct slab_cache *cache, pfn_t first, const struct slab *slab)
{
    for (uint64_t i = 0; i < UINT64_C(1) << cache->order; i++) {
        struct frame_info *info = frame_info(pfn(first.v + i));

        store_relaxed(&info->owner, (uintptr_t)slab);
        if (slab != NULL)
            store_relaxed(&info->type, FRAME_TYPE_SLAB);
        else if ((load_relaxed(&info->flags) & FRAME_RECORDED) == 0)
            store_relaxed(&info->type, FRAME_TYPE_NONE);
    }
}

static void free_frames(const struct slab_cache *cache, pfn_t first)
{
    if (frame_free(first, UINT64_C(1) << cache->order) != OK)
        port_panic("frames of a slab of %s could not be freed", cache->type.name);
}

/* Where the header of a slab in these frames goes; NULL: no memory. */
static struct slab *make_header(const struct slab_cache *cache, pfn_t first)
{
    void *header = port_phys_to_virt(paddr_of(first));

    return !cache->outside || slab_take(&slab_headers, &header, 1) == 1 ? header : NULL;
}

/* A slab of free objects, constructed, which nobody knows of yet; NULL: no memory. */
static struct slab *make_slab(const struct slab_cache *cache)
{
    struct frame_request request = {.count = UINT64_C(1) << cache->order,
                                    .align = UINT64_C(1) << cache->order,
                                    .node = FRAME_NODE_ANY,
                                    .zone = ZONE_NORMAL,
                                    .type = FRAME_TYPE_SLAB};
    struct slab *slab;
    pfn_t first;

    if (frame_alloc(&request, &first) != OK)
        return NULL;
    slab = make_header(cache, first);
    if (slab == NULL) {
        free_frames(cache, first);
        return NULL;
    }
    *slab = (struct slab){.cache = cache, .start = port_phys_to_virt(paddr_of(first)), .free = cache->per_slab};
    for (uint32_t i = 0; i < cache->per_slab; i++) {
        slab->map[i / WORD_BITS] |= UINT64_C(1) << i % WORD_BITS;
        if (cache->type.construct != NULL)
            cache->type.construct(slab_object(cache, slab, i));
    }
    describe(cache, first, slab);
    return slab;
}

/* Gives back slabs of a list that nobody else sees. Returns the frames. A header outside goes back into a cache whose own
 * headers are inside, so this calls itself at most once. */
static uint64_t unmake_slabs(const struct slab_cache *cache, struct slab *slab)
{
    uint64_t frames = 0;

    while (slab != NULL) { /* bound: the list */
        struct slab *next = slab->next;
        pfn_t first = frame_of(slab->start);
        void *header = slab;

        for (uint32_t i = 0; i < cache->per_slab && cache->type.destruct != NULL; i++)
            cache->type.destruct(slab_object(cache, slab, i));
        describe(cache, first, NULL);
        if (cache->outside)
            frames += slab_put(&slab_headers, &header, 1);
        free_frames(cache, first);
        frames += UINT64_C(1) << cache->order;
        slab = next;
    }
    return frames;
}

/* ---- Lists; all under the lock ---------------------------------------------------------------------------- */

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

static void add_slab(struct slab_cache *cache, struct slab *slab)
{
    link(&cache->empty, slab);
    cache->empty_slabs++;
    cache->slabs++;
    cache->free_objects += cache->per_slab;
}

/* Takes empty slabs out of the cache until `kept` are left. Returns those. */
static struct slab *remove_empty(struct slab_cache *cache, uint64_t kept)
{
    struct slab *removed = NULL, *slab;

    while (cache->empty_slabs > kept) {
        slab = cache->empty;
        unlink(&cache->empty, slab);
        link(&removed, slab);
        cache->empty_slabs--;
        cache->slabs--;
        cache->free_objects -= cache->per_slab;
    }
    return removed;
}

/* One object of a slab that has some. */
static void *take_of(struct slab_cache *cache, struct slab *slab)
{
    uint32_t word = 0, index;

    while (slab->map[word] == 0) /* bound: one is free */
        word++;
    index = word * WORD_BITS + bit_lowest(slab->map[word]);
    slab->map[word] &= slab->map[word] - 1;
    if (slab->free == cache->per_slab) {
        unlink(&cache->empty, slab);
        link(&cache->partial, slab);
        cache->empty_slabs--;
    }
    if (--slab->free == 0)
        unlink(&cache->partial, slab);
    cache->free_objects--;
    return slab_object(cache, slab, index);
}

const char *slab_find(const struct slab_cache *cache, const void *object, struct slab **slab, uint32_t *index)
{
    struct frame_info *info = frame_info(frame_of(object));
    uint64_t offset;

    if (info == NULL || load_relaxed(&info->type) != FRAME_TYPE_SLAB)
        return "it is no object";
    *slab = (struct slab *)(uintptr_t)load_relaxed(&info->owner);
    if (*slab == NULL || (*slab)->cache != cache)
        return "it is another cache's";
    offset = (uint64_t)((const uint8_t *)object - (*slab)->start);
    *index = (uint32_t)((offset - cache->first) / cache->stride);
    if (offset < cache->first || (offset - cache->first) % cache->stride != 0 || *index >= cache->per_slab)
        return "no object begins there";
    return (*slab)->map[*index / WORD_BITS] >> *index % WORD_BITS & 1 ? "it is free" : NULL;
}

static void put_locked(struct slab_cache *cache, void *const *objects, uint64_t count, struct wrong *wrong)
{
    for (uint64_t i = 0; i < count; i++) {
        struct slab *slab;
        uint32_t index;
        const char *what = slab_find(cache, objects[i], &slab, &index);

        if (what != NULL) {
            if (wrong->count++ == 0)
                wrong->object = objects[i], wrong->what = what;
            continue;
        }
        slab->map[index / WORD_BITS] |= UINT64_C(1) << index % WORD_BITS;
        cache->free_objects++;
        if (slab->free++ == 0)
            link(&cache->partial, slab);
        if (slab->free == cache->per_slab) {
            unlink(&cache->partial, slab);
            link(&cache->empty, slab);
            cache->empty_slabs++;
        }
    }
}

/* Up to `most` objects. A magazine of the depot is emptied for those who have no use for it as a whole. */
static uint32_t take_locked(struct slab_cache *cache, void **objects, uint32_t most, struct wrong *wrong)
{
    uint32_t count = 0;

    if (cache->free_objects == 0 && cache->full_magazines != NULL) {
        struct magazine *full = magazine_pop(&cache->full_magazines, &cache->magazines_full);

        put_locked(cache, full->object, full->count, wrong);
        full->count = 0;
        magazine_push(&cache->empty_magazines, &cache->magazines_empty, full);
    }
    while (count < most && cache->free_objects > 0)
        objects[count++] = take_of(cache, cache->partial != NULL ? cache->partial : cache->empty);
    return count;
}

/* ---- Objects ---------------------------------------------------------------------------------------------- */

uint32_t slab_take(struct slab_cache *cache, void **objects, uint32_t most)
{
    struct slab *slab = NULL;
    struct wrong wrong = {0};
    uint32_t count;

    for (;;) { /* bound: two rounds */
        uint64_t irq = spin_lock(&cache->lock);

        if (slab != NULL)
            add_slab(cache, slab);
        count = take_locked(cache, objects, most, &wrong);
        spin_unlock(&cache->lock, irq);
        if (count > 0 || (slab = make_slab(cache)) == NULL)
            break;
    }
    report(cache, &wrong);
    return count;
}

uint64_t slab_put(struct slab_cache *cache, void *const *objects, uint64_t count)
{
    uint64_t irq = spin_lock(&cache->lock);
    struct wrong wrong = {0};
    struct slab *spare = NULL;

    put_locked(cache, objects, count, &wrong);
    if (port_cache() != PORT_NO_CACHE)
        spare = remove_empty(cache, EMPTY_SLABS);
    spin_unlock(&cache->lock, irq);
    report(cache, &wrong);
    return unmake_slabs(cache, spare);
}

uint64_t slab_trim(struct slab_cache *cache)
{
    uint64_t irq = spin_lock(&cache->lock);
    struct slab *spare = remove_empty(cache, 0);

    spin_unlock(&cache->lock, irq);
    return unmake_slabs(cache, spare);
}
