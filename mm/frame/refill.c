/* SPDX-License-Identifier: MIT
 *
 * Frames for the caches of CPUs: any will do, so they come from where the fewest are free.
 *
 * In the first place of a class, where chunks with few frames and no larger block are, taking changes nothing about where
 * a chunk belongs, unless it has just come to belong elsewhere: that is looked at afterwards. So usually nothing but the
 * row is written: a search takes what it comes by, chunk after chunk, and leaves
 * those that it empties listed; the next free finds them in their place. Each CPU goes on where it has stopped. A chunk
 * in any other place is owned: it leaves the listing until it is used up.
 *
 * Retries of a compare-and-swap are bounded by what other CPUs do: each means that one of them succeeded.
 */
#include "bitmap.h"

/* Takes the lowest bits of a word, no more than `most`. */
static uint64_t take_bits(_Atomic uint64_t *word, unsigned most)
{
    uint64_t before = load_relaxed(word), rest;

    do {
        rest = bit_count(before) > most ? before : 0;
        for (unsigned i = 0; i < most && rest != 0; i++)
            rest &= rest - 1;
    } while (rest != before && !compare_exchange(word, &before, rest));
    return before ^ rest;
}

/* Takes frames of a row whose first counts `first`. False: there are none. */
static bool take_some(struct row *row, uint32_t first, struct batch *batch)
{
    uint32_t *frame = batch->frame;
    unsigned words = 0, room = batch->room;
    bool got;

    for (unsigned i = 0; i < ROW_WORDS; i++)
        words |= (unsigned)(load_relaxed(&row->word[i]) != 0) << i;
    for (; words != 0 && room > 0; words &= words - 1) {
        unsigned i = bit_lowest(words);
        uint64_t taken = take_bits(&row->word[i], room);

        room -= bit_count(taken);
        for (; taken != 0; taken &= taken - 1)
            *--frame = first + i * WORD_BITS + bit_lowest(taken);
    }
    got = room != batch->room;
    batch->frame = frame;
    batch->room = room;
    return got;
}

static bool take_from(struct zone *zone, uint64_t slot, struct batch *batch)
{
    return take_some(&zone->row[slot], (uint32_t)(zone_frame(zone, slot) - batch->first), batch);
}

/* After frames were taken of a chunk that was owned, or in a first place: by now it may be in another, which is no longer
 * true of it. Whoever lists it there reads the row again afterwards, so one of the two sees what the other has done. */
static void recheck(struct zone *zone, uint64_t slot)
{
    uint32_t place = word_place(chunk_word(zone, slot));

    if (place != LISTING_NOWHERE && !is_first_place(place))
        chunk_settle(zone, slot);
}

bool bitmap_take_some(struct zone *zone, uint64_t slot, struct batch *batch)
{
    bool got = take_from(zone, slot, batch);

    recheck(zone, slot);
    return got;
}

/* Keeps a chunk out of sight of other CPUs, unless one of them does. */
static bool own(struct zone *zone, uint64_t slot)
{
    uint32_t word = chunk_word(zone, slot);

    do {
        if (word_place(word) == LISTING_NOWHERE)
            return false;
    } while (!compare_exchange(&zone->chunk[slot], &word, word | CHUNK_OWNED));
    chunk_relist(zone, slot, word_place(word));
    return true;
}

void bitmap_disown(struct zone *zone, uint64_t slot)
{
    uint32_t before = chunk_word(zone, slot), now;

    do {
        struct row_copy row = row_copy(&zone->row[slot]);

        if ((before & CHUNK_OWNED) == 0)
            return;
        now = chunk_with_hints(before & ~CHUNK_OWNED, &row);
    } while (!compare_exchange(&zone->chunk[slot], &before, now));
    chunk_settle(zone, slot);
}

/* ---- The fullest chunks ---------------------------------------------------------------------------------- */

/* So many chunks are tried in vain in one place. */
#define FULLEST_TRIES 16

/* Takes chunks that are empty out of their set together. A free that came between has seen them in it, so each is looked
 * at again. */
static void take_out(struct zone *zone, uint32_t place, uint64_t group, uint64_t members)
{
    if (members != 0)
        fetch_and(&listing_set(&zone->chunks_by_use, place)[group], ~members);
    for (; members != 0; members &= members - 1)
        chunk_relist(zone, group * GROUP_CHUNKS + bit_lowest(members), LISTING_NOWHERE);
}

/* Takes frames of the chunks of one group in a first place, from *slot on, which then is where to go on. `tries` counts
 * those that were empty. If they are too many, or were all that was met here, those of this group are taken out. */
static void take_from_group(struct zone *zone, uint32_t place, uint64_t *slot, unsigned *tries,
                            struct batch *batch)
{
    uint64_t group = *slot / GROUP_CHUNKS, base = group * GROUP_CHUNKS, empty = 0;
    uint64_t members = load_seq_cst(&listing_set(&zone->chunks_by_use, place)[group]);
    uint32_t first = (uint32_t)(zone_frame(zone, base) - batch->first);
    unsigned room = batch->room;

    members &= ~UINT64_C(0) << *slot % GROUP_CHUNKS;
    while (members != 0 && batch->room > 0 && *tries < FULLEST_TRIES) {
        unsigned i = bit_lowest(members);

        members &= members - 1;
        if (members != 0)
            __builtin_prefetch(&zone->row[base + bit_lowest(members)], 1);
        *slot = base + i;
        if (take_some(&zone->row[base + i], first + i * (uint32_t)CHUNK_FRAMES, batch)) {
            recheck(zone, base + i);
        } else {
            empty |= UINT64_C(1) << i;
            ++*tries;
        }
    }
    if (members == 0 && batch->room > 0)
        *slot = base + GROUP_CHUNKS;
    if (*tries == FULLEST_TRIES || batch->room == room)
        take_out(zone, place, group, empty);
}

/* Takes frames of the chunks of a first place, one after the other, from *from on and then from the start. *from moves
 * on: what is left behind, empty or not, is met again when all others have been. Where too many are empty another CPU is
 * ahead, and the next search begins elsewhere. At most 32 chunks bring a frame, and FULLEST_TRIES none. */
static bool take_from_many(struct zone *zone, uint32_t place, uint64_t *from, struct batch *batch)
{
    uint64_t slots = zone->groups * GROUP_CHUNKS, slot = *from;
    unsigned tries = 0, rounds = 0, room = batch->room;

    while (batch->room > 0 && tries < FULLEST_TRIES && rounds < 2) {
        slot = listing_next(&zone->chunks_by_use, place, slot);
        if (slot != SUMMARY_NONE) {
            take_from_group(zone, place, &slot, &tries, batch);
        } else {
            slot = 0;
            rounds++;
        }
    }
    *from = (tries < FULLEST_TRIES ? slot : slot + slots / 2) % slots;
    return batch->room != room;
}

/* Takes frames of one chunk of a place, and keeps what is left of it. */
static bool take_from_one(struct zone *zone, uint32_t place, uint64_t from, struct batch *batch)
{
    struct listing *listing = &zone->chunks_by_use;
    uint64_t slot = listing_next(listing, place, from);

    if (slot == SUMMARY_NONE)
        slot = listing_next(listing, place, 0);
    /* Usually the first. Others empty a chunk, or have emptied it and not yet taken it from the set. */
    for (unsigned tries = 0; slot != SUMMARY_NONE && tries < FULLEST_TRIES; tries++) {
        if (take_from(zone, slot, batch)) {
            if (row_any(&zone->row[slot]) && own(zone, slot))
                batch->owned = slot;
            else
                chunk_settle(zone, slot);
            return true;
        }
        slot = listing_next(listing, place, slot + 1);
    }
    return false;
}

bool bitmap_take_fullest(struct zone *zone, bool mobile, uint64_t *from, struct batch *batch)
{
    for (uint64_t places = places_of(zone, mobile, 0, CHUNK_SHIFT, 1); places != 0; places &= places - 1) {
        uint32_t place = next_place(mobile, places);

        if (is_first_place(place) ? take_from_many(zone, place, from, batch)
                                  : take_from_one(zone, place, *from, batch))
            return true;
    }
    return false;
}
