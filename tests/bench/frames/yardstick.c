/* SPDX-License-Identifier: MIT
 *
 * Two placement policies at their best, to compare fragmentation with; orders 0 and 9, one lock, no haste.
 *   oracle_aoff      order 0 from the lowest free address
 *   oracle_fullest   order 0 from the 512-frame chunk with the fewest free frames, of those that have any
 * Order 9 is the lowest empty chunk in both.
 */
#include <string.h>

#include "fa.h"

#define CHUNK 512u
#define LEVELS 4
#define NONE UINT32_MAX

/* A bitmap with summaries: a bit of level n + 1 says that its word of level n is not zero. The highest
 * level is searched word by word: one per 2^24 bits. */
struct tree {
    uint64_t *level[LEVELS];
    uint64_t top_words;
};

static fa_lock lock;
static int by_fullness;
static uint64_t chunks, bytes;
static struct tree frame_tree, empty_tree; /* free frames; wholly free chunks */
static uint16_t *free_in;                  /* per chunk */
static uint32_t *next, *previous;          /* per chunk: its list, by the number of free frames */
static uint32_t head[CHUNK + 1];

static void *part(uint64_t size)
{
    bytes += size;
    return fa_map(size);
}

static void tree_init(struct tree *tree, uint64_t bits)
{
    for (unsigned i = 0; i < LEVELS; i++) {
        bits = (bits + 63) / 64;
        tree->level[i] = part(bits * sizeof(uint64_t));
    }
    tree->top_words = bits;
}

static void tree_set(struct tree *tree, uint64_t bit)
{
    for (unsigned i = 0; i < LEVELS; i++, bit /= 64)
        tree->level[i][bit / 64] |= UINT64_C(1) << bit % 64;
}

static void tree_clear(struct tree *tree, uint64_t bit)
{
    for (unsigned i = 0; i < LEVELS; i++, bit /= 64) {
        tree->level[i][bit / 64] &= ~(UINT64_C(1) << bit % 64);
        if (tree->level[i][bit / 64] != 0)
            return;
    }
}

static uint64_t tree_first(const struct tree *tree)
{
    for (uint64_t word = 0; word < tree->top_words; word++) {
        uint64_t at = word;

        if (tree->level[LEVELS - 1][word] == 0)
            continue;
        for (unsigned i = LEVELS; i-- > 0;)
            at = at * 64 + (unsigned)__builtin_ctzll(tree->level[i][at]);
        return at;
    }
    return FA_NONE;
}

/* ---- Chunks by fullness -------------------------------------------------------------------------------- */

static void list_remove(uint32_t chunk)
{
    if (previous[chunk] != NONE)
        next[previous[chunk]] = next[chunk];
    else
        head[free_in[chunk]] = next[chunk];
    if (next[chunk] != NONE)
        previous[next[chunk]] = previous[chunk];
}

static void list_add(uint32_t chunk)
{
    uint32_t *first = &head[free_in[chunk]];

    next[chunk] = *first;
    previous[chunk] = NONE;
    if (*first != NONE)
        previous[*first] = chunk;
    *first = chunk;
}

static void set_free(uint32_t chunk, unsigned count)
{
    list_remove(chunk);
    if (free_in[chunk] == CHUNK)
        tree_clear(&empty_tree, chunk);
    free_in[chunk] = (uint16_t)count;
    if (count == CHUNK)
        tree_set(&empty_tree, chunk);
    list_add(chunk);
}

static uint64_t first_in_fullest(void)
{
    for (unsigned count = 1; count <= CHUNK; count++) {
        uint64_t word = (uint64_t)head[count] * (CHUNK / 64);

        if (head[count] == NONE)
            continue;
        while (frame_tree.level[0][word] == 0) /* at most CHUNK / 64 words: one is not zero */
            word++;
        return word * 64 + (unsigned)__builtin_ctzll(frame_tree.level[0][word]);
    }
    return FA_NONE;
}

/* ---- The vtables --------------------------------------------------------------------------------------- */

/* What an earlier call mapped stays mapped: a process measures once. */
static int init(uint64_t nframes, int fullest)
{
    by_fullness = fullest;
    chunks = nframes / CHUNK;
    bytes = sizeof head;
    memset(head, 0xff, sizeof head);
    tree_init(&frame_tree, nframes);
    tree_init(&empty_tree, chunks);
    free_in = part(chunks * sizeof *free_in);
    next = part(chunks * sizeof *next);
    previous = part(chunks * sizeof *previous);
    for (uint64_t i = 0; i < nframes; i++)
        tree_set(&frame_tree, i);
    for (uint64_t i = chunks; i-- > 0;) {
        free_in[i] = CHUNK;
        tree_set(&empty_tree, i);
        list_add((uint32_t)i);
    }
    return 0;
}

static int aoff_init(uint64_t nframes, unsigned ncpu)
{
    (void)ncpu;
    return init(nframes, 0);
}

static int fullest_init(uint64_t nframes, unsigned ncpu)
{
    (void)ncpu;
    return init(nframes, 1);
}

static uint64_t take(unsigned order)
{
    uint64_t frame;

    if (order == 9)
        frame = tree_first(&empty_tree);
    else
        frame = by_fullness ? first_in_fullest() : tree_first(&frame_tree);
    if (frame == FA_NONE)
        return FA_NONE;
    if (order == 9)
        frame *= CHUNK;
    for (uint64_t i = 0; i < UINT64_C(1) << order; i++)
        tree_clear(&frame_tree, frame + i);
    set_free((uint32_t)(frame / CHUNK), free_in[frame / CHUNK] - (1u << order));
    return frame;
}

static uint64_t yardstick_alloc(unsigned cpu, unsigned order)
{
    uint64_t frame;

    (void)cpu;
    if (order != 0 && order != 9)
        return FA_NONE;
    fa_lock_acq(&lock);
    frame = take(order);
    fa_lock_rel(&lock);
    return frame;
}

static void yardstick_free(unsigned cpu, uint64_t frame, unsigned order)
{
    (void)cpu;
    fa_lock_acq(&lock);
    for (uint64_t i = 0; i < UINT64_C(1) << order; i++)
        tree_set(&frame_tree, frame + i);
    set_free((uint32_t)(frame / CHUNK), free_in[frame / CHUNK] + (1u << order));
    fa_lock_rel(&lock);
}

static void yardstick_stats(struct fa_stats *stats)
{
    *stats = (struct fa_stats){.meta_bytes = bytes};
    for (uint64_t i = 0; i < chunks; i++) {
        stats->free_frames += free_in[i];
        stats->free_huge += free_in[i] == CHUNK;
    }
}

const struct fa fa_aoff = {.name = "oracle_aoff",
                           .max_order = 9,
                           .flags = FA_GLOBAL_LOCK | FA_ORD09,
                           .init = aoff_init,
                           .alloc = yardstick_alloc,
                           .free = yardstick_free,
                           .stats = yardstick_stats};

const struct fa fa_fullest = {.name = "oracle_fullest",
                              .max_order = 9,
                              .flags = FA_GLOBAL_LOCK | FA_ORD09,
                              .init = fullest_init,
                              .alloc = yardstick_alloc,
                              .free = yardstick_free,
                              .stats = yardstick_stats};
