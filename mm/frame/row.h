/* SPDX-License-Identifier: MIT
 *
 * A row: the 512 bits of a chunk, 1 = free, in one cache line. All CPUs change rows a word at a time; what needs to
 * look at a whole row looks at a copy, which may mix moments.
 */
#ifndef MM_FRAME_ROW_H
#define MM_FRAME_ROW_H

#include <mm/atomic.h>
#include <mm/bits.h>
#include <mm/types.h>

#define ROW_WORDS 8

struct row {
    _Alignas(64) _Atomic uint64_t word[ROW_WORDS];
};

struct row_copy {
    uint64_t word[ROW_WORDS];
};

_Static_assert(sizeof(struct row) * 8 == CHUNK_FRAMES, "a bit per frame of a chunk, one cache line");

/* The part of word `index` that [at, end) covers. The two meet. */
static inline uint64_t row_mask(unsigned index, unsigned at, unsigned end)
{
    unsigned first = index * WORD_BITS;
    unsigned from = at > first ? at - first : 0;
    unsigned to = end - first < WORD_BITS ? end - first : WORD_BITS;

    return bit_range(from, to);
}

static inline struct row_copy row_copy(const struct row *row)
{
    struct row_copy copy;

    for (unsigned i = 0; i < ROW_WORDS; i++)
        copy.word[i] = load_seq_cst(&row->word[i]);
    return copy;
}

static inline bool row_copy_any(const struct row_copy *row)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < ROW_WORDS; i++)
        any |= row->word[i];
    return any != 0;
}

/* Set bits among count bits from at on. count ≥ 1, at + count ≤ 512. */
unsigned row_count(const struct row_copy *row, unsigned at, unsigned count);

/* Set bits of the whole row. */
unsigned row_count_all(const struct row_copy *row);

/* The order of the largest set, aligned run, 0 … 9; 0 also if none is set. */
unsigned row_largest_block(const struct row_copy *row);

/* The lowest start of `count` set bits that is a multiple of align, ends at or before `end`, and whose run
 * crosses no multiple of boundary. align and boundary are powers of two. ROW_NONE: there is none. */
#define ROW_NONE CHUNK_FRAMES
unsigned row_find(const struct row_copy *row, unsigned count, uint64_t align, uint64_t boundary, unsigned end);

#endif
