/* SPDX-License-Identifier: MIT */
#include <mm/bits.h>

#include "summary.h"

void summary_shape_init(struct summary_shape *shape, uint64_t members)
{
    uint64_t words = members;
    uint32_t offset = 0;

    shape->depth = 0;
    do {
        words = (words + WORD_BITS - 1) / WORD_BITS;
        shape->offset[shape->depth++] = offset;
        offset += (uint32_t)words;
    } while (words > 1 && shape->depth < SUMMARY_LEVELS);
    shape->offset[shape->depth] = offset;
}

/* Sets the member's bit on a level and makes sure of those above. `member` counts as the level does. */
static void add_from(const struct summary_shape *shape, set_word_t *set, uint32_t level, uint64_t member)
{
    for (; level < shape->depth; level++, member /= WORD_BITS) {
        set_word_t *word = &set[shape->offset[level] + member / WORD_BITS];
        uint64_t bit = UINT64_C(1) << member % WORD_BITS;

        if ((load_seq_cst(word) & bit) == 0)
            fetch_or(word, bit);
    }
}

void summary_add(const struct summary_shape *shape, set_word_t *set, uint64_t member)
{
    add_from(shape, set, 0, member);
}

void summary_remove(const struct summary_shape *shape, set_word_t *set, uint64_t member)
{
    if ((load_seq_cst(&set[member / WORD_BITS]) >> member % WORD_BITS & 1) == 0)
        return;
    for (uint32_t level = 0; level < shape->depth; level++, member /= WORD_BITS) {
        set_word_t *word = &set[shape->offset[level] + member / WORD_BITS];
        uint64_t bit = UINT64_C(1) << member % WORD_BITS;
        uint64_t left = fetch_and(word, ~bit) & ~bit;

        if (level > 0 && load_seq_cst(&set[shape->offset[level - 1] + member]) != 0) {
            add_from(shape, set, level, member);
            return;
        }
        if (left != 0)
            return;
    }
}

/* The least bit ≥ from of a level, or SUMMARY_NONE if its word has none. */
static uint64_t next_in_word(const set_word_t *level, uint64_t from)
{
    uint64_t found = load_relaxed(&level[from / WORD_BITS]) & ~UINT64_C(0) << from % WORD_BITS;

    return found == 0 ? SUMMARY_NONE : align_down(from, WORD_BITS) + bit_lowest(found);
}

uint64_t summary_next(const struct summary_shape *shape, const set_word_t *set, uint64_t from)
{
    uint32_t level = 0;

    for (;;) {
        const set_word_t *words = set + shape->offset[level];
        uint64_t found;

        if (from / WORD_BITS >= shape->offset[level + 1] - shape->offset[level])
            return SUMMARY_NONE;
        found = next_in_word(words, from);
        if (found == SUMMARY_NONE) {
            if (level + 1 == shape->depth)
                return SUMMARY_NONE;
            from = from / WORD_BITS + 1;
            level++;
        } else if (level == 0) {
            return found;
        } else {
            from = found * WORD_BITS;
            level--;
        }
    }
}

bool summary_check(const struct summary_shape *shape, const set_word_t *set)
{
    for (uint32_t level = 1; level < shape->depth; level++) {
        uint32_t below = shape->offset[level] - shape->offset[level - 1];

        for (uint32_t i = 0; i < (shape->offset[level + 1] - shape->offset[level]) * WORD_BITS; i++) {
            bool bit = load_relaxed(&set[shape->offset[level] + i / WORD_BITS]) >> i % WORD_BITS & 1;

            if (bit != (i < below && load_relaxed(&set[shape->offset[level - 1] + i]) != 0))
                return false;
        }
    }
    return true;
}
