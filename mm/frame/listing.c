/* SPDX-License-Identifier: MIT */
#include "listing.h"

static void add(struct listing *listing, uint32_t place, uint64_t member)
{
    set_word_t *occupied = &listing->occupied[place / LISTING_BLOCK];
    uint64_t bit = UINT64_C(1) << place % LISTING_BLOCK;

    summary_add(&listing->shape, listing_set(listing, place), member);
    if ((load_seq_cst(occupied) & bit) == 0)
        fetch_or(occupied, bit);
}

/* As with the levels of a set: the bit goes, and comes back if somebody added meanwhile. */
static void remove(struct listing *listing, uint32_t place, uint64_t member)
{
    const set_word_t *set = listing_set(listing, place);
    set_word_t *occupied = &listing->occupied[place / LISTING_BLOCK];
    uint64_t bit = UINT64_C(1) << place % LISTING_BLOCK;

    summary_remove(&listing->shape, listing_set(listing, place), member);
    if (summary_any(&listing->shape, set))
        return;
    fetch_and(occupied, ~bit);
    if (summary_any(&listing->shape, set))
        fetch_or(occupied, bit);
}

void listing_move(struct listing *listing, uint64_t member, uint32_t listed, listing_place_t place_of,
                  const void *owner)
{
    uint32_t place;

    while ((place = place_of(owner, member)) != listed) {
        if (place != LISTING_NOWHERE)
            add(listing, place, member);
        if (listed != LISTING_NOWHERE)
            remove(listing, listed, member);
        listed = place;
    }
}

bool listing_check(const struct listing *listing, uint32_t places)
{
    for (uint32_t place = 0; place < places; place++) {
        const set_word_t *set = listing_set(listing, place);
        bool occupied = load_relaxed(&listing->occupied[place / LISTING_BLOCK]) >> place % LISTING_BLOCK & 1;

        if (!summary_check(&listing->shape, set) || summary_any(&listing->shape, set) != occupied)
            return false;
    }
    return true;
}
