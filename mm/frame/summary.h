/* SPDX-License-Identifier: MIT
 *
 * Sets of small integers that all CPUs change at once, as 64-ary trees of bits: level 0 has a bit per member, each
 * level above a bit for every word below that is not zero. Adding and finding the next member cost one word per
 * level, removing only the lowest.
 *
 * Many sets of one size share a shape; a set is then nothing but its words, level 0 first, zero when empty.
 *
 * A set is a hint: what it says is verified by whoever uses it. Level 0 is exact while nobody changes it. An upper bit
 * may outlive the word below: a search that is led astray by it clears it. It is never missing for long: whoever adds
 * or clears compares the bit with the word below, and puts it right, until a look at the word and then at the bit
 * finds them to agree. The last to change a word is the last to look, and all accesses are sequentially consistent.
 */
#ifndef MM_FRAME_SUMMARY_H
#define MM_FRAME_SUMMARY_H

#include <mm/atomic.h>
#include <mm/types.h>

#define SUMMARY_LEVELS 6 /* 2^36 members */
#define SUMMARY_NONE   UINT64_MAX

typedef _Atomic uint64_t set_word_t;

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

void summary_add(const struct summary_shape *shape, set_word_t *set, uint64_t member);
void summary_remove(set_word_t *set, uint64_t member);

/* The least member ≥ from, or SUMMARY_NONE. Usually a word or two per level; at most a round for each word of the set. */
uint64_t summary_next(const struct summary_shape *shape, set_word_t *set, uint64_t from);

/* Whether no upper bit is missing. Nobody may change the set meanwhile. */
bool summary_check(const struct summary_shape *shape, const set_word_t *set);

#endif
