/* SPDX-License-Identifier: MIT */
#include "listing.h"

/* As between the levels of a set, of which the uppermost has one word. */
static void sync_occupied(struct listing *listing, uint32_t place)
{
    const struct summary_shape *shape = &listing->shape;
    const set_word_t *root = &listing_set(listing, place)[shape->offset[shape->depth - 1]];
    set_word_t *occupied = &listing->occupied[place / LISTING_BLOCK];
    uint64_t bit = UINT64_C(1) << place % LISTING_BLOCK;
    bool any;

    while ((any = load_seq_cst(root) != 0) != ((load_seq_cst(occupied) & bit) != 0)) {
        if (any)
            fetch_or(occupied, bit);
        else
            fetch_and(occupied, ~bit);
    }
}

static void add(struct listing *listing, uint32_t place, uint64_t member)
{
    summary_add(&listing->shape, listing_set(listing, place), member);
    sync_occupied(listing, place);
}

uint64_t listing_next(struct listing *listing, uint32_t place, uint64_t from)
{
    uint64_t member = summary_next(&listing->shape, listing_set(listing, place), from);

    if (member == SUMMARY_NONE && from == 0)
        sync_occupied(listing, place);
    return member;
}

void listing_move(struct listing *listing, uint64_t member, uint32_t listed, listing_place_t place_of,
                  const void *owner)
{
    uint32_t place;

    while ((place = place_of(owner, member)) != listed) {
        if (place != LISTING_NOWHERE)
            add(listing, place, member);
        if (listed != LISTING_NOWHERE)
            summary_remove(listing_set(listing, listed), member);
        listed = place;
    }
}

bool listing_check(const struct listing *listing, uint32_t places)
{
    const struct summary_shape *shape = &listing->shape;

    for (uint32_t place = 0; place < places; place++) {
        const set_word_t *set = listing_set(listing, place);
        bool occupied = load_relaxed(&listing->occupied[place / LISTING_BLOCK]) >> place % LISTING_BLOCK & 1;

        if (!summary_check(shape, set) || (!occupied && load_relaxed(&set[shape->offset[shape->depth - 1]]) != 0))
            return false;
    }
    return true;
}
