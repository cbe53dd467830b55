/* SPDX-License-Identifier: MIT
 *
 * A row: the 512 bits of a chunk, 1 = free, in one cache line. Plain functions of bits; no locks, no counts.
 */
#ifndef MM_FRAME_ROW_H
#define MM_FRAME_ROW_H

#include <mm/types.h>

#define ROW_WORDS 8

struct row {
    _Alignas(64) uint64_t word[ROW_WORDS];
};

_Static_assert(sizeof(struct row) * 8 == CHUNK_FRAMES, "a bit per frame of a chunk, one cache line");

/* Sets or clears count bits from at on. count ≥ 1, at + count ≤ 512. */
void row_set(struct row *row, unsigned at, unsigned count);
void row_clear(struct row *row, unsigned at, unsigned count);

/* Makes all bits one value. */
void row_fill(struct row *row, bool value);

/* Set bits among count bits from at on. */
unsigned row_count(const struct row *row, unsigned at, unsigned count);

/* The order of the largest set, aligned run, 0 … 9. The row is not empty. */
unsigned row_largest_block(const struct row *row);

/* The lowest start of `count` set bits that is a multiple of align, ends at or before `end`, and whose run
 * crosses no multiple of boundary. align and boundary are powers of two. ROW_NONE: there is none. */
#define ROW_NONE CHUNK_FRAMES
unsigned row_find(const struct row *row, unsigned count, uint64_t align, uint64_t boundary, unsigned end);

#endif
