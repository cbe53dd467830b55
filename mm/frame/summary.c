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

/* Makes the bit of each upper level say whether the word below has any. Bound: a round per level, and another for
 * each change of the word below by another CPU meanwhile. */
static void sync_upwards(const struct summary_shape *shape, set_word_t *set, uint64_t member)
{
    for (uint32_t level = 1; level < shape->depth;) {
        const set_word_t *below = &set[shape->offset[level - 1] + member / WORD_BITS];
        set_word_t *word = &set[shape->offset[level] + member / WORD_BITS / WORD_BITS];
        uint64_t bit = UINT64_C(1) << member / WORD_BITS % WORD_BITS;
        bool any = load_seq_cst(below) != 0;

        if (any == ((load_seq_cst(word) & bit) != 0)) {
            member /= WORD_BITS;
            level++;
        } else if (any) {
            fetch_or(word, bit);
        } else {
            fetch_and(word, ~bit);
        }
    }
}

void summary_add(const struct summary_shape *shape, set_word_t *set, uint64_t member)
{
    set_word_t *word = &set[member / WORD_BITS];
    uint64_t bit = UINT64_C(1) << member % WORD_BITS;

    if ((load_seq_cst(word) & bit) == 0)
        fetch_or(word, bit);
    sync_upwards(shape, set, member);
}

void summary_remove(const struct summary_shape *shape, set_word_t *set, uint64_t member)
{
    set_word_t *word = &set[member / WORD_BITS];
    uint64_t bit = UINT64_C(1) << member % WORD_BITS;

    if ((load_seq_cst(word) & bit) != 0 && (fetch_and(word, ~bit) & ~bit) == 0)
        sync_upwards(shape, set, member);
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
