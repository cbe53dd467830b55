/* SPDX-License-Identifier: MIT
 *
 * What bitmap.c and refill.c share: where a chunk belongs.
 */
#ifndef MM_FRAME_BITMAP_H
#define MM_FRAME_BITMAP_H

#include "zone.h"

/* Where a chunk with this word is listed, if it has free frames. */
static inline uint32_t word_place(uint32_t word)
{
    if (!chunk_has_row(word) || (word & CHUNK_OWNED) != 0)
        return LISTING_NOWHERE;
    return (word & CHUNK_MOBILE ? LISTING_BLOCK : 0) + CHUNK_OCCUPANCY(word) * CHUNK_SHIFT +
           CHUNK_ORDER(word);
}

/* In the first place of a class nothing becomes untrue by taking frames: it is for the fewest free and the smallest
 * blocks. */
static inline bool is_first_place(uint32_t place)
{
    return place % LISTING_BLOCK == 0;
}

static inline bool row_any(const struct row *row)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < ROW_WORDS; i++)
        any |= load_seq_cst(&row->word[i]);
    return any != 0;
}

/* So many frames are free at most in a chunk of each occupancy, when they were counted. They are counted anew when a
 * word of the row passes a multiple of COUNTED_FREES. */
static const uint32_t occupancy_most[OCCUPANCIES] = {CHUNK_SPARSE, 95, 223, CHUNK_FRAMES};

#define COUNTED_FREES 4
#define FREES_MISSED  (ROW_WORDS * (COUNTED_FREES - 1u))

/* The places whose order is in [low, high), of all occupancies that may have `count` free frames, in the block of a
 * mobility class. low < high ≤ CHUNK_SHIFT. */
static inline uint64_t places_of(const struct zone *zone, bool mobile, unsigned low, unsigned high, uint64_t count)
{
    uint64_t places = 0;

    for (unsigned i = 0; i < OCCUPANCIES; i++) {
        if (count <= occupancy_most[i] + FREES_MISSED)
            places |= bit_range(low, high) << i * CHUNK_SHIFT;
    }
    return places & load_seq_cst(&zone->chunks_by_use.occupied[mobile]);
}

static inline uint32_t next_place(bool mobile, uint64_t places)
{
    return (mobile ? LISTING_BLOCK : 0) + bit_lowest(places);
}

/* The word with the hints that a row calls for. */
uint32_t chunk_with_hints(uint32_t word, const struct row_copy *row);

/* Lists a chunk, which is in the set of `listed`, where it belongs now. */
void chunk_relist(struct zone *zone, uint64_t slot, uint32_t listed);

/* Makes the hints of a chunk exact, and lists it where they say. */
void chunk_settle(struct zone *zone, uint64_t slot);

#endif
