/* SPDX-License-Identifier: MIT
 *
 * Frames inside chunks. A chunk has a meaningful row only while it is partly used: breaking a whole chunk writes
 * the row anew, so a row costs nothing until then.
 *
 * Taking: the count goes down first (compare-and-swap on the chunk word), then bits are taken, word by word. For
 * "some frames" any bits will do, and the count guarantees that they are there. A given run may turn out to be
 * partly taken; then the words taken so far, and the count, are put back. Giving back: first bits, then the count.
 * The count that reaches 512 makes the chunk the buddy's, in the same compare-and-swap.
 *
 * Retries of a compare-and-swap are bounded by what other CPUs do: each means that one of them succeeded.
 */
#include <mm/port.h>

#include "trace.h"
#include "zone.h"

/* The fewer are free, the rather a chunk is used. */
static unsigned occupancy(unsigned free)
{
    return (free >= 16) + (free >= 64) + (free >= 192);
}

_Static_assert(OCCUPANCIES == 4, "as many as occupancy() tells apart");

static uint32_t word_place(uint32_t word)
{
    if (!chunk_has_row(word) || CHUNK_FREE(word) == 0 || (word & CHUNK_OWNED) != 0)
        return LISTING_NOWHERE;
    return (word & CHUNK_MOBILE ? LISTING_BLOCK : 0) + occupancy(CHUNK_FREE(word)) * CHUNK_SHIFT + CHUNK_ORDER(word);
}

uint32_t chunk_place(const void *zone, uint64_t slot)
{
    return word_place(chunk_word(zone, slot));
}

/* A row may be all ones for a moment, before the last of those who gave bits back raises the count; while the count is
 * below 512, no block is larger than half the chunk. */
static uint32_t with_order(uint32_t word, unsigned order)
{
    if (order >= CHUNK_SHIFT)
        order = CHUNK_SHIFT - 1;
    return (word & ~(0xfu << CHUNK_ORDER_SHIFT)) | order << CHUNK_ORDER_SHIFT;
}

/* What of a chunk word decides about its place, beside the occupancy. */
#define PLACE_BITS (0xfu << CHUNK_ORDER_SHIFT | CHUNK_OWNED | CHUNK_MOBILE | 3u << 11)

/* Lists a chunk anew after its word changed from `before` to `now`. */
static inline void relist(struct zone *zone, uint64_t slot, uint32_t before, uint32_t now)
{
    bool same = ((before ^ now) & PLACE_BITS) == 0 && CHUNK_FREE(before) != 0 && CHUNK_FREE(now) != 0 &&
                occupancy(CHUNK_FREE(before)) == occupancy(CHUNK_FREE(now));

    if (!same)
        listing_move(&zone->chunks_by_use, slot, word_place(before), chunk_place, zone);
}

/* Makes the order of a chunk exact. */
static void settle(struct zone *zone, uint64_t slot)
{
    uint32_t word = chunk_word(zone, slot);

    while (chunk_has_row(word) && CHUNK_FREE(word) > 0 && (word & CHUNK_OWNED) == 0) {
        struct row_copy row = row_copy(&zone->row[slot]);
        uint32_t now = with_order(word, row_largest_block(&row));

        if (now == word)
            return;
        if (compare_exchange(&zone->chunk[slot], &word, now)) {
            relist(zone, slot, word, now);
            return;
        }
    }
}

/* ---- Giving back --------------------------------------------------------------------------------------- */

/* The count has reached 512 and the chunk is ours: hands it to the buddy. */
static void become_whole(struct zone *zone, uint64_t slot)
{
    static const struct row_copy empty;

    row_store(&zone->row[slot], &empty);
    buddy_put(zone, slot, 1);
    trace_chunk(FRAME_EVENT_WHOLE, zone, slot);
}

/* The bits no longer tell whose the frames are. */
_Noreturn void freed_twice(uint64_t slot)
{
    port_panic("frames of chunk %#llx were freed twice at once", (unsigned long long)slot);
}

/* The count of a chunk is 512 and its state still CHUNK_BITS: makes it the buddy's, unless another CPU does so or
 * takes from it. */
static void make_whole(struct zone *zone, uint64_t slot)
{
    uint32_t before = chunk_word(zone, slot);

    move_begin(zone);
    while (chunk_has_row(before) && CHUNK_FREE(before) == CHUNK_FRAMES) {
        uint32_t now = (before & ~(CHUNK_OWNED | 3u << 11)) | CHUNK_BUDDY;

        if (compare_exchange(&zone->chunk[slot], &before, now)) {
            become_whole(zone, slot);
            relist(zone, slot, before, now);
            break;
        }
    }
    move_end(zone);
}

/* Raises the count after `count` bits were set and a block of 2^order frames was seen. False: the chunk is whole
 * without them. */
static bool raise_count(struct zone *zone, uint64_t slot, unsigned count, unsigned order)
{
    uint32_t before = chunk_word(zone, slot), now;

    do {
        if (!chunk_has_row(before))
            return false;
        now = before + CHUNK_SEQUENCE + count;
        if (order > CHUNK_ORDER(now))
            now = with_order(now, order);
    } while (!compare_exchange(&zone->chunk[slot], &before, now));
    relist(zone, slot, before, now);
    if (CHUNK_FREE(now) == CHUNK_FRAMES)
        make_whole(zone, slot);
    else if (order > CHUNK_ORDER(before)) /* another CPU may have taken of the block that was seen */
        settle(zone, slot);
    return true;
}

/* The order of a block that a row's word is part of or holds. */
static unsigned block_around(const struct zone *zone, uint64_t slot, uint64_t word)
{
    struct row_copy row;

    if (word != ~UINT64_C(0))
        return bit_largest_block(word);
    row = row_copy(&zone->row[slot]);
    return row_largest_block(&row);
}

status_t bitmap_put_word(struct zone *zone, uint64_t slot, unsigned index, uint64_t bits)
{
    _Atomic uint64_t *word = &zone->row[slot].word[index];
    uint64_t before;

    if (!chunk_has_row(chunk_word(zone, slot)) || (load_relaxed(word) & bits) != 0)
        return ERR_BUSY;
    before = fetch_or(word, bits);
    if ((before & bits) == bits)
        return ERR_BUSY;
    if ((before & bits) != 0)
        freed_twice(slot);
    if (!raise_count(zone, slot, bit_count(bits), block_around(zone, slot, before | bits))) {
        uint32_t whole = chunk_word(zone, slot);

        fetch_and(word, ~bits);
        if (CHUNK_STATE(whole) != CHUNK_BUDDY || chunk_word(zone, slot) != whole)
            freed_twice(slot);
        return ERR_BUSY;
    }
    return OK;
}

status_t bitmap_put(struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    unsigned end = at + count, order = 0;

    if (!bitmap_none_free(zone, slot, at, count))
        return ERR_BUSY;
    for (unsigned i = at / WORD_BITS; i <= (end - 1) / WORD_BITS; i++) {
        uint64_t bits = row_mask(i, at, end);
        uint64_t before = fetch_or(&zone->row[slot].word[i], bits);
        unsigned block = block_around(zone, slot, before | bits);

        if ((before & bits) != 0)
            freed_twice(slot);
        order = block > order ? block : order;
    }
    if (!raise_count(zone, slot, count, order))
        freed_twice(slot);
    return OK;
}

void bitmap_open(struct zone *zone, uint64_t slot)
{
    uint32_t word = chunk_word(zone, slot);

    if (CHUNK_STATE(word) == CHUNK_OFFLINE && compare_exchange(&zone->chunk[slot], &word, CHUNK_RAGGED))
        fetch_add(&zone->chunks, 1);
}

bool chunk_put_whole(struct zone *zone, uint64_t slot)
{
    uint32_t word = chunk_word(zone, slot);
    bool opened;

    do {
        opened = CHUNK_STATE(word) == CHUNK_OFFLINE;
        if (CHUNK_STATE(word) == CHUNK_BUDDY || CHUNK_FREE(word) != 0)
            return false;
    } while (!compare_exchange(&zone->chunk[slot], &word,
                               (word & -CHUNK_SEQUENCE) + CHUNK_SEQUENCE + CHUNK_BUDDY + (uint32_t)CHUNK_FRAMES));
    if (opened)
        fetch_add(&zone->chunks, 1);
    return true;
}

/* ---- Taking -------------------------------------------------------------------------------------------- */

/* Lowers the count of a chunk with a row by `least` to `most` frames. Returns how many, 0 if it has too few. With
 * `own` it leaves the listing if frames are left in it. */
static unsigned lower_count(struct zone *zone, uint64_t slot, unsigned least, unsigned most, bool own)
{
    uint32_t before = chunk_word(zone, slot), now;
    unsigned count;

    do {
        count = CHUNK_FREE(before) < most ? CHUNK_FREE(before) : most;
        if (!chunk_has_row(before) || count < least)
            return 0;
        now = before - count;
        if (CHUNK_FREE(now) == 0)
            now = with_order(now & ~CHUNK_OWNED, 0);
        else if (own)
            now |= CHUNK_OWNED;
    } while (!compare_exchange(&zone->chunk[slot], &before, now));
    relist(zone, slot, before, now);
    return count;
}

/* Takes up to `most` of the lowest bits of a row's word; their numbers in the row go to at[]. */
static unsigned take_bits(_Atomic uint64_t *word, unsigned first, unsigned most, uint16_t *at)
{
    uint64_t before = load_relaxed(word), left;
    unsigned taken;

    do {
        left = before;
        for (taken = 0; taken < most && left != 0; left &= left - 1)
            at[taken++] = (uint16_t)(first + bit_lowest(left));
        if (taken == 0)
            return 0;
    } while (!compare_exchange(word, &before, left));
    return taken;
}

unsigned bitmap_take_some(struct zone *zone, uint64_t slot, unsigned most, bool own, uint16_t *at)
{
    unsigned count = lower_count(zone, slot, 1, most, own), taken = 0;

    /* So many bits are set as were counted down; a pass over the row misses one only if other CPUs take and put
     * back bits while it goes on. */
    for (unsigned i = 0; taken < count; i = (i + 1) % ROW_WORDS)
        taken += take_bits(&zone->row[slot].word[i], i * WORD_BITS, count - taken, at + taken);
    if (count > 0)
        settle(zone, slot);
    return count;
}

void bitmap_disown(struct zone *zone, uint64_t slot)
{
    uint32_t before = chunk_word(zone, slot);

    do {
        if ((before & CHUNK_OWNED) == 0)
            return;
    } while (!compare_exchange(&zone->chunk[slot], &before, before & ~CHUNK_OWNED));
    relist(zone, slot, before, before & ~CHUNK_OWNED);
    settle(zone, slot);
}

/* Takes all of `bits` or none. */
static bool take_mask(_Atomic uint64_t *word, uint64_t bits)
{
    uint64_t before = load_relaxed(word);

    do {
        if ((before & bits) != bits)
            return false;
    } while (!compare_exchange(word, &before, before & ~bits));
    return true;
}

/* Takes a run of a chunk that has a row. */
static bool take_run(struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    unsigned first = at / WORD_BITS, last = (at + count - 1) / WORD_BITS, i = first;

    if (lower_count(zone, slot, count, count, false) == 0)
        return false;
    while (i <= last && take_mask(&zone->row[slot].word[i], row_mask(i, at, at + count)))
        i++;
    if (i <= last) {
        while (i-- > first)
            fetch_or(&zone->row[slot].word[i], row_mask(i, at, at + count));
        if (!raise_count(zone, slot, count, CHUNK_SHIFT - 1))
            freed_twice(slot);
        return false;
    }
    settle(zone, slot);
    return true;
}

void bitmap_break(struct zone *zone, uint64_t slot, unsigned at, unsigned count, uint32_t flags)
{
    struct row_copy row;
    uint32_t before = chunk_word(zone, slot), word;

    for (unsigned i = 0; i < ROW_WORDS; i++) {
        unsigned first = i * WORD_BITS;

        row.word[i] = ~UINT64_C(0);
        if (at < first + WORD_BITS && first < at + count)
            row.word[i] = ~row_mask(i, at, at + count);
    }
    row_store(&zone->row[slot], &row);
    word = (before & -CHUNK_SEQUENCE) | CHUNK_BITS | flags | ((uint32_t)CHUNK_FRAMES - count);
    word = with_order(word, row_largest_block(&row));
    /* A read-modify-write: a plain store could still be on its way when relist() reads a set. */
    (void)exchange(&zone->chunk[slot], word);
    relist(zone, slot, before, word);
    trace_chunk(FRAME_EVENT_BROKEN, zone, slot);
}

void chunk_take_whole(struct zone *zone, uint64_t slot, bool mobile)
{
    uint32_t word = (chunk_word(zone, slot) & -CHUNK_SEQUENCE) | CHUNK_BITS | (mobile ? CHUNK_MOBILE : 0);

    store_release(&zone->chunk[slot], word);
}

bool bitmap_take(struct zone *zone, uint64_t slot, unsigned at, unsigned count, bool mobile)
{
    bool taken;

    if (CHUNK_STATE(chunk_word(zone, slot)) != CHUNK_BUDDY)
        return take_run(zone, slot, at, count);
    move_begin(zone);
    taken = buddy_take(zone, slot, 1);
    if (taken)
        bitmap_break(zone, slot, at, count, mobile ? CHUNK_MOBILE : 0);
    move_end(zone);
    return taken;
}

/* ---- Looking ------------------------------------------------------------------------------------------- */

bool bitmap_all_free(const struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    uint32_t word = chunk_word(zone, slot);
    struct row_copy row;

    if (!chunk_has_row(word)) /* the bit goes first when another CPU takes the chunk */
        return CHUNK_STATE(word) == CHUNK_BUDDY && (whole_word(zone, slot / GROUP_CHUNKS) >> slot % GROUP_CHUNKS & 1);
    row = row_copy(&zone->row[slot]);
    return CHUNK_FREE(word) >= count && row_count(&row, at, count) == count;
}

bool bitmap_none_free(const struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    uint32_t word = chunk_word(zone, slot);
    struct row_copy row;

    if (!chunk_has_row(word))
        return CHUNK_STATE(word) != CHUNK_BUDDY;
    row = row_copy(&zone->row[slot]);
    return row_count(&row, at, count) == 0;
}

#define FULLEST_TRIES 16

bool bitmap_find_in(const struct zone *zone, const struct want *want, uint64_t slot, uint64_t *frame)
{
    uint64_t base = zone_frame(zone, slot);
    struct row_copy row;
    unsigned at;

    if (base >= want->end || !is_aligned(base, max_u64(want->align, CHUNK_FRAMES)))
        return false;
    if (!chunk_has_row(chunk_word(zone, slot)) || CHUNK_FREE(chunk_word(zone, slot)) < want->count)
        return false;
    row = row_copy(&zone->row[slot]);
    at = row_find(&row, (unsigned)want->count, min_u64(want->align, CHUNK_FRAMES), want->boundary,
                  (unsigned)min_u64(want->end - base, CHUNK_FRAMES));
    *frame = base + at;
    return at != ROW_NONE;
}

/* The places whose order is in [low, high), of all occupancies, in the block of a mobility class.
 * low < high ≤ CHUNK_SHIFT. */
static uint64_t places_of(const struct zone *zone, bool mobile, unsigned low, unsigned high)
{
    uint64_t places = 0;

    for (unsigned i = 0; i < OCCUPANCIES; i++)
        places |= bit_range(low, high) << i * CHUNK_SHIFT;
    return places & load_seq_cst(&zone->chunks_by_use.occupied[mobile]);
}

static uint32_t next_place(bool mobile, uint64_t places)
{
    return (mobile ? LISTING_BLOCK : 0) + bit_lowest(places);
}

/* Any chunk of these places has the run; only a limit, or another CPU, can have it otherwise. A limit admits no
 * later chunk of a place, so one probe each would do; the second is for what another CPU has just changed. */
static bool find_sure(struct zone *zone, const struct want *want, bool mobile, uint64_t places, uint64_t *frame)
{
    for (; places != 0; places &= places - 1) {
        uint64_t slot = listing_next(&zone->chunks_by_use, next_place(mobile, places), 0);

        for (unsigned tries = 0; slot != SUMMARY_NONE && tries < 2; tries++) {
            if (bitmap_find_in(zone, want, slot, frame))
                return true;
            slot = listing_next(&zone->chunks_by_use, next_place(mobile, places), slot + 1);
        }
    }
    return false;
}

static bool find_perhaps(struct zone *zone, const struct want *want, bool mobile, uint64_t places,
                         uint64_t probes, uint64_t *frame)
{
    for (; places != 0; places &= places - 1) {
        uint32_t place = next_place(mobile, places);
        uint64_t slot = listing_next(&zone->chunks_by_use, place, 0);

        for (; slot != SUMMARY_NONE; slot = listing_next(&zone->chunks_by_use, place, slot + 1)) {
            if (probes-- == 0)
                return false;
            if (bitmap_find_in(zone, want, slot, frame))
                return true;
        }
    }
    return false;
}

bool bitmap_find(struct zone *zone, const struct want *want, bool mobile, uint64_t probes, uint64_t *frame)
{
    /* An aligned block of this order holds the run; a run contains an aligned block of at least `least`. */
    unsigned sure = log2_ceil(max_u64(want->count, want->align));
    unsigned least = log2_floor((want->count + 1) / 2);

    if (sure < CHUNK_SHIFT &&
        find_sure(zone, want, mobile, places_of(zone, mobile, sure, CHUNK_SHIFT), frame))
        return true;
    return least < sure &&
           find_perhaps(zone, want, mobile,
                        places_of(zone, mobile, least, (unsigned)min_u64(sure, CHUNK_SHIFT)), probes, frame);
}

unsigned bitmap_take_fullest(struct zone *zone, bool mobile, uint64_t from, unsigned most, uint64_t *slot, uint16_t *at)
{
    uint64_t places = places_of(zone, mobile, 0, CHUNK_SHIFT);
    unsigned tries = 0, count;

    for (; places != 0; places &= places - 1) {
        uint32_t place = next_place(mobile, places);

        *slot = listing_next(&zone->chunks_by_use, place, from);
        if (*slot == SUMMARY_NONE)
            *slot = listing_next(&zone->chunks_by_use, place, 0);
        /* Usually the first. Others empty a chunk, or have emptied it and not yet taken it from the set. */
        for (; *slot != SUMMARY_NONE && tries < FULLEST_TRIES; tries++) {
            count = bitmap_take_some(zone, *slot, most, true, at);
            if (count > 0)
                return count;
            *slot = listing_next(&zone->chunks_by_use, place, *slot + 1);
        }
    }
    return 0;
}
