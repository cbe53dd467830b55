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

/* Makes the bit that stands for word `index` of the level below say whether that has any. Bound: one round, and another
 * for each change of that word by another CPU meanwhile. */
static void sync_bit(const struct summary_shape *shape, set_word_t *set, uint32_t level, uint64_t index)
{
    const set_word_t *below = &set[shape->offset[level - 1] + index];
    set_word_t *word = &set[shape->offset[level] + index / WORD_BITS];
    uint64_t bit = UINT64_C(1) << index % WORD_BITS;
    bool any;

    while ((any = load_seq_cst(below) != 0) != ((load_seq_cst(word) & bit) != 0)) {
        if (any)
            fetch_or(word, bit);
        else
            fetch_and(word, ~bit);
    }
}

void summary_add(const struct summary_shape *shape, set_word_t *set, uint64_t member)
{
    set_word_t *word = &set[member / WORD_BITS];
    uint64_t bit = UINT64_C(1) << member % WORD_BITS;

    if ((load_seq_cst(word) & bit) == 0)
        fetch_or(word, bit);
    for (uint32_t level = 1; level < shape->depth; level++) {
        member /= WORD_BITS;
        sync_bit(shape, set, level, member);
    }
}

void summary_remove(set_word_t *set, uint64_t member)
{
    set_word_t *word = &set[member / WORD_BITS];
    uint64_t bit = UINT64_C(1) << member % WORD_BITS;

    if ((load_seq_cst(word) & bit) != 0)
        fetch_and(word, ~bit);
}

uint64_t summary_next(const struct summary_shape *shape, set_word_t *set, uint64_t from)
{
    uint32_t level = 0;

    for (;;) {
        uint64_t index = from / WORD_BITS, found;

        if (index >= shape->offset[level + 1] - shape->offset[level])
            return SUMMARY_NONE;
        found = load_seq_cst(&set[shape->offset[level] + index]);
        if (found == 0 && level + 1 < shape->depth)
            sync_bit(shape, set, level + 1, index);
        found &= ~UINT64_C(0) << from % WORD_BITS;
        if (found == 0) {
            if (++level == shape->depth)
                return SUMMARY_NONE;
            from = index + 1;
        } else {
            from = index * WORD_BITS + bit_lowest(found);
            if (level == 0)
                return from;
            from *= WORD_BITS;
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

            if (bit ? i >= below : i < below && load_relaxed(&set[shape->offset[level - 1] + i]) != 0)
                return false;
        }
    }
    return true;
}
