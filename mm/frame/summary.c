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

void summary_add(const struct summary_shape *shape, uint64_t *set, uint64_t member)
{
    for (uint32_t level = 0; level < shape->depth; level++) {
        uint64_t *word = &set[shape->offset[level] + member / WORD_BITS];
        uint64_t before = *word;

        *word = before | UINT64_C(1) << member % WORD_BITS;
        if (before != 0)
            return;
        member /= WORD_BITS;
    }
}

bool summary_remove(const struct summary_shape *shape, uint64_t *set, uint64_t member)
{
    for (uint32_t level = 0; level < shape->depth; level++) {
        uint64_t *word = &set[shape->offset[level] + member / WORD_BITS];

        *word &= ~(UINT64_C(1) << member % WORD_BITS);
        if (*word != 0)
            return false;
        member /= WORD_BITS;
    }
    return true;
}

uint64_t summary_next(const struct summary_shape *shape, const uint64_t *set, uint64_t from)
{
    for (uint32_t level = 0; level < shape->depth; level++) {
        const uint64_t *word = set + shape->offset[level];
        uint64_t at = from / WORD_BITS, found;

        if (at >= shape->offset[level + 1] - shape->offset[level])
            return SUMMARY_NONE;
        found = word[at] & ~UINT64_C(0) << from % WORD_BITS;
        if (found == 0) {
            from = at + 1;
            continue;
        }
        from = at * WORD_BITS + bit_lowest(found);
        while (level-- > 0)
            from = from * WORD_BITS + bit_lowest(set[shape->offset[level] + from]);
        return from;
    }
    return SUMMARY_NONE;
}

bool summary_check(const struct summary_shape *shape, const uint64_t *set)
{
    for (uint32_t level = 1; level < shape->depth; level++) {
        uint32_t below = shape->offset[level] - shape->offset[level - 1];

        for (uint32_t i = 0; i < (shape->offset[level + 1] - shape->offset[level]) * WORD_BITS; i++) {
            bool bit = set[shape->offset[level] + i / WORD_BITS] >> i % WORD_BITS & 1;

            if (bit != (i < below && set[shape->offset[level - 1] + i] != 0))
                return false;
        }
    }
    return true;
}
