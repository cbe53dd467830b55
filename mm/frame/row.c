/* SPDX-License-Identifier: MIT */
#include "row.h"

unsigned row_count(const struct row_copy *row, unsigned at, unsigned count)
{
    unsigned set = 0;

    for (unsigned i = at / WORD_BITS; i <= (at + count - 1) / WORD_BITS; i++)
        set += bit_count(row->word[i] & row_mask(i, at, at + count));
    return set;
}

/* As bit_count(), but what the bytes of all words have is added up once. */
unsigned row_count_all(const struct row_copy *row)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < ROW_WORDS; i++) {
        uint64_t word = row->word[i];

        word -= (word >> 1) & UINT64_C(0x5555555555555555);
        word = (word & UINT64_C(0x3333333333333333)) + ((word >> 2) & UINT64_C(0x3333333333333333));
        bytes += (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    }
    bytes = (bytes & UINT64_C(0x00ff00ff00ff00ff)) + ((bytes >> 8) & UINT64_C(0x00ff00ff00ff00ff));
    return (unsigned)((bytes * UINT64_C(0x0001000100010001)) >> 48);
}

unsigned row_largest_block(const struct row_copy *row)
{
    uint64_t full = 0; /* a bit per word that is all ones */
    unsigned largest = 0;

    for (unsigned i = 0; i < ROW_WORDS; i++) {
        uint64_t word = row->word[i];

        if (word == ~UINT64_C(0))
            full |= UINT64_C(1) << i;
        else if (bit_blocks(word, largest) != 0)
            largest = bit_largest_block(word);
    }
    return full != 0 ? 6 + bit_largest_block(full) : largest;
}

/* Turns a row into the starts of its runs of `count` bits: a start stays if the bit `step` above it, which
 * starts a run of the length reached so far, is there too. At most nine rounds, as the length doubles. */
static void row_run_starts(struct row_copy *row, unsigned count)
{
    for (unsigned length = 1; length < count;) {
        unsigned step = count - length < length ? count - length : length;

        for (unsigned i = 0; i < ROW_WORDS; i++) {
            unsigned from = i + step / WORD_BITS, shift = step % WORD_BITS;
            uint64_t low = from < ROW_WORDS ? row->word[from] >> shift : 0;
            uint64_t high =
                from + 1 < ROW_WORDS && shift != 0 ? row->word[from + 1] << (WORD_BITS - shift) : 0;

            row->word[i] &= low | high;
        }
        length += step;
    }
}

/* The lowest set bit ≥ from, or ROW_NONE. */
static unsigned row_next(const struct row_copy *row, unsigned from)
{
    for (unsigned i = from / WORD_BITS; i < ROW_WORDS; i++) {
        uint64_t word = row->word[i];

        if (i == from / WORD_BITS)
            word &= ~UINT64_C(0) << from % WORD_BITS;
        if (word != 0)
            return i * WORD_BITS + bit_lowest(word);
    }
    return ROW_NONE;
}

unsigned row_find(const struct row_copy *row, unsigned count, uint64_t align, uint64_t boundary, unsigned end)
{
    struct row_copy starts = *row;
    unsigned at = 0;

    row_run_starts(&starts, count);
    /* Each round rises: at most 512. */
    while ((at = row_next(&starts, at)) + count <= end) {
        uint64_t crossed = align_down(at + count - 1, boundary);

        if (!is_aligned(at, align))
            at = (unsigned)min_u64(align_up(at, align), ROW_NONE);
        else if (at < crossed)
            at = (unsigned)crossed;
        else
            return at;
    }
    return ROW_NONE;
}
