/* SPDX-License-Identifier: MIT
 *
 * Members (chunks, or groups) sorted into sets by what can be had from them, by all CPUs at once.
 *
 * What a member really has is said by its own words (chunk word and row, word of whole chunks), which change by
 * read-modify-writes; the sets only help to find it. A member's place is a function of these. Whoever changes the place
 * calls listing_move() afterwards, which lists the member where it belongs now, takes it out of where it was, and
 * looks again until both agree. So
 *   - while nobody is at work every member that has a place is in the set of it, and in no other;
 *   - a member is taken out of a set only after it was put into another, so it stays in sight;
 *   - a set may for a moment name a member that belongs elsewhere: whoever finds it looks at its words.
 * A member that has lost its place may be left in the set of its last one, until somebody takes it out and then looks
 * again (refill.c).
 */
#ifndef MM_FRAME_LISTING_H
#define MM_FRAME_LISTING_H

#include "summary.h"

#define LISTING_NOWHERE UINT32_MAX

/* Places come in blocks, and a word per block says which of its sets have members. */
#define LISTING_BLOCK  36
#define LISTING_BLOCKS 2

/* Where a member belongs by its own words: a place or LISTING_NOWHERE. */
typedef uint32_t (*listing_place_t)(const void *owner, uint64_t member);

struct listing {
    _Alignas(64) struct summary_shape shape; /* fixed, like `set`: on a line that nobody writes */
    set_word_t *set; /* one after the other, by place */
    _Alignas(64) set_word_t occupied[LISTING_BLOCKS];
};

static inline set_word_t *listing_set(const struct listing *listing, uint32_t place)
{
    return listing->set + place * summary_words(&listing->shape);
}

/* Whether a set has a member now. */
static inline bool listing_has(const struct listing *listing, uint32_t place, uint64_t member)
{
    return load_seq_cst(&listing_set(listing, place)[member / 64]) >> member % 64 & 1;
}

/* The member with the least number ≥ from in a set, or SUMMARY_NONE. */
uint64_t listing_next(struct listing *listing, uint32_t place, uint64_t from);

/* Moves a member from where the caller knows it to be listed. Bound: one round, and another for each change of the
 * member's words by another CPU meanwhile. */
void listing_move(struct listing *listing, uint64_t member, uint32_t listed, listing_place_t place_of,
                  const void *owner);

/* Whether upper levels and `occupied` hide no member. Nobody may change them meanwhile. */
bool listing_check(const struct listing *listing, uint32_t places);

#endif
