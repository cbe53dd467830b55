/* SPDX-License-Identifier: MIT
 *
 * Bit arithmetic on 64-bit words. All of it is branch-free C: the kernel links no compiler runtime, and
 * riscv64 without Zbb has no instruction for any of these, so the builtins would become calls. Where there is
 * an instruction the compilers recognise the first two by their shape.
 */
#ifndef MM_BITS_H
#define MM_BITS_H

#include <mm/types.h>

#define WORD_BITS 64

/* The index of the lowest set bit. word ≠ 0. */
static inline unsigned bit_lowest(uint64_t word)
{
    static const uint8_t index[WORD_BITS] = {
        0,  1,  2,  53, 3,  7,  54, 27, 4,  38, 41, 8,  34, 55, 48, 28, 62, 5,  39, 46, 44, 42,
        22, 9,  24, 35, 59, 56, 49, 18, 29, 11, 63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21,
        23, 58, 17, 10, 51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
    };

    return index[((word & -word) * UINT64_C(0x022fdd63cc95386d)) >> 58];
}

static inline unsigned bit_count(uint64_t word)
{
    word -= (word >> 1) & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + ((word >> 2) & UINT64_C(0x3333333333333333));
    word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)((word * UINT64_C(0x0101010101010101)) >> 56);
}

/* The index of the highest set bit. word ≠ 0. */
static inline unsigned log2_floor(uint64_t word)
{
    word |= word >> 1;
    word |= word >> 2;
    word |= word >> 4;
    word |= word >> 8;
    word |= word >> 16;
    word |= word >> 32;
    return bit_count(word) - 1;
}

/* The least n with 2^n ≥ value. value ≠ 0. */
static inline unsigned log2_ceil(uint64_t value)
{
    return value == 1 ? 0 : log2_floor(value - 1) + 1;
}

static inline bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* Bits [from, to) of a word. from < to ≤ 64. */
static inline uint64_t bit_range(unsigned from, unsigned to)
{
    return (~UINT64_C(0) >> (WORD_BITS - (to - from))) << from;
}

/* One step up: given the starts of set, aligned runs of 2^order bits, the starts of those of 2^(order + 1).
 * order < 6. */
static inline uint64_t bit_blocks_above(uint64_t starts, unsigned order)
{
    static const uint64_t aligned[] = {
        UINT64_C(0x5555555555555555), UINT64_C(0x1111111111111111), UINT64_C(0x0101010101010101),
        UINT64_C(0x0001000100010001), UINT64_C(0x0000000100000001), UINT64_C(0x0000000000000001),
    };

    return starts & (starts >> (1u << order)) & aligned[order];
}

/* The starts of all set runs of 2^order bits aligned to their length. order ≤ 6. */
static inline uint64_t bit_blocks(uint64_t word, unsigned order)
{
    for (unsigned step = 0; step < order; step++)
        word = bit_blocks_above(word, step);
    return word;
}

/* The order of the largest set, aligned run, 0 … 6. word ≠ 0. */
static inline unsigned bit_largest_block(uint64_t word)
{
    for (unsigned order = 0; order < 6; order++) {
        word = bit_blocks_above(word, order);
        if (word == 0)
            return order;
    }
    return 6;
}

#endif
