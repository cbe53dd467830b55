/* SPDX-License-Identifier: MIT
 *
 * A set of small integers as a 64-ary tree of bits: level 0 has a bit per member, each level above a bit per
 * word below that is not zero. Adding, removing and finding the next member cost one word per level.
 *
 * Many sets of one size share a shape; a set is then nothing but its words, level 0 first, zeroed when empty.
 */
#ifndef MM_FRAME_SUMMARY_H
#define MM_FRAME_SUMMARY_H

#include <mm/types.h>

#define SUMMARY_LEVELS 6 /* 2^36 members */
#define SUMMARY_NONE   UINT64_MAX

struct summary_shape {
    uint32_t depth;                      /* levels in use */
    uint32_t offset[SUMMARY_LEVELS + 1]; /* first word of a level; offset[depth]: words of the whole set */
};

/* members: 1 … 2^36. */
void summary_shape_init(struct summary_shape *shape, uint64_t members);

static inline uint64_t summary_words(const struct summary_shape *shape)
{
    return shape->offset[shape->depth];
}

void summary_add(const struct summary_shape *shape, uint64_t *set, uint64_t member);

/* Returns whether the set is empty now. */
bool summary_remove(const struct summary_shape *shape, uint64_t *set, uint64_t member);

/* The least member ≥ from, or SUMMARY_NONE. */
uint64_t summary_next(const struct summary_shape *shape, const uint64_t *set, uint64_t from);

/* Whether every upper level agrees with the level below it. */
bool summary_check(const struct summary_shape *shape, const uint64_t *set);

#endif
