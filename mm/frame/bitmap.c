/* SPDX-License-Identifier: MIT
 *
 * Frames inside chunks. The row says which are free, and nothing else does: whoever clears a set bit has that frame,
 * whoever sets a clear one has given it back. The chunk word tells state, and hints about the row.
 *
 * Put, then look. Whoever has set bits, or has lowered a hint, looks at what the other side changes:
 *   - a free sets bits, then reads word and set: the hints are high enough and the chunk is listed, or it sees to that;
 *   - chunk_settle() lowers hints, and take_out() takes an empty chunk out of a set, then they read the row.
 * All of these are sequentially consistent, so of the two that meet at least one sees what the other has done.
 *
 * Becoming whole: whoever looks at a row that is all ones takes its words in rising order, each with a compare-and-swap
 * of all ones for zero. Word 0 has one winner. If a later word is not all ones the words taken are put back, and the row
 * is looked at again: a frame that came back meanwhile has been looked at by one who saw words missing. With all eight
 * words the chunk is the winner's.
 *
 * A given run is taken word by word in rising order, each whole or not at all, and put back in the same way.
 *
 * Retries of a compare-and-swap, and looks after a rollback, are bounded by what other CPUs do: each means that one of
 * them succeeded.
 */
#include <mm/port.h>

#include "bitmap.h"
#include "trace.h"

/* ---- Where a chunk belongs ------------------------------------------------------------------------------- */

/* The fewer are free, the rather a chunk is used. */
static unsigned occupancy(unsigned free)
{
    unsigned class = 0;

    while (free > occupancy_most[class])
        class++;
    return class;
}

static bool row_full(const struct row *row)
{
    uint64_t all = ~UINT64_C(0);

    for (unsigned i = 0; i < ROW_WORDS; i++)
        all &= load_seq_cst(&row->word[i]);
    return all == ~UINT64_C(0);
}

uint32_t chunk_place(const void *owner, uint64_t slot)
{
    const struct zone *zone = owner;
    uint32_t place = word_place(chunk_word(zone, slot));

    return place != LISTING_NOWHERE && row_any(&zone->row[slot]) ? place : LISTING_NOWHERE;
}

uint32_t chunk_stays(const struct zone *zone, uint64_t slot)
{
    uint32_t place = word_place(chunk_word(zone, slot));

    return place != LISTING_NOWHERE && is_first_place(place) ? place : LISTING_NOWHERE;
}

void chunk_relist(struct zone *zone, uint64_t slot, uint32_t listed)
{
    listing_move(&zone->chunks_by_use, slot, listed, chunk_place, zone);
}

/* The row may be all ones for a moment: while the chunk is not the buddy's no block counts as larger than half of it. */
uint32_t chunk_with_hints(uint32_t word, const struct row_copy *row)
{
    unsigned free = row_count_all(row), order = row_largest_block(row);

    if (order >= CHUNK_SHIFT)
        order = CHUNK_SHIFT - 1;
    return (word & ~CHUNK_HINTS) | order | occupancy(free) << CHUNK_OCCUPANCY_SHIFT;
}

bool chunk_hints_hold(uint32_t word, const struct row_copy *row)
{
    unsigned free = row_count_all(row);

    return CHUNK_ORDER(word) == row_largest_block(row) && CHUNK_OCCUPANCY(word) <= occupancy(free) &&
           CHUNK_OCCUPANCY(word) >= occupancy(free > FREES_MISSED ? free - FREES_MISSED : 0);
}

void chunk_settle(struct zone *zone, uint64_t slot)
{
    uint32_t word = chunk_word(zone, slot);

    while (chunk_has_row(word) && (word & CHUNK_OWNED) == 0) {
        struct row_copy row = row_copy(&zone->row[slot]);
        uint32_t now = chunk_with_hints(word, &row), place = word_place(word);

        if (now == word) {
            bool listed = listing_has(&zone->chunks_by_use, place, slot);

            if (listed != row_copy_any(&row))
                chunk_relist(zone, slot, listed ? place : LISTING_NOWHERE);
            return;
        }
        if (compare_exchange(&zone->chunk[slot], &word, now)) {
            chunk_relist(zone, slot, place);
            word = now; /* and look again */
        }
    }
}

/* ---- Setting bits ------------------------------------------------------------------------------------------- */

/* Bits were set in a row, and now the chunk has none. Usually it has become whole with them; then they are gone. If they
 * are there while the word stays the same they came too late: their frames had been free. Removes and returns those. */
static uint64_t put_too_late(struct zone *zone, uint64_t slot, unsigned index, uint64_t bits)
{
    _Atomic uint64_t *row = &zone->row[slot].word[index];

    for (;;) {
        uint32_t word = chunk_word(zone, slot);
        uint64_t now = load_seq_cst(row);

        if (chunk_has_row(word) || (now & bits) == 0)
            return 0;
        if (chunk_word(zone, slot) == word && compare_exchange(row, &now, now & ~bits))
            return now & bits;
    }
}

/* Sets bits of a row; returns those that were free. *before: the word. */
static inline uint64_t put_bits(struct zone *zone, uint64_t slot, unsigned index, uint64_t bits, uint64_t *before,
                         uint32_t *word)
{
    *before = fetch_or(&zone->row[slot].word[index], bits);
    *word = chunk_word(zone, slot);
    if (chunk_has_row(*word))
        return bits & *before;
    return (bits & *before) | put_too_late(zone, slot, index, bits & ~*before);
}

/* Bits that came into a word of a row while we had it: their frames were free. Whoever set them may have seen nothing
 * wrong. If another CPU takes such a frame before we see the bit, it has one that is ours, too: against that there is
 * debug=owner. */
static void drop_strays(struct zone *zone, uint64_t slot, uint64_t bits)
{
    zone_drop_strays(zone, slot, bit_count(bits));
}

/* Puts back bits that were taken in vain. */
static void untake(struct zone *zone, uint64_t slot, unsigned index, uint64_t bits)
{
    uint64_t before;
    uint32_t word;

    drop_strays(zone, slot, put_bits(zone, slot, index, bits, &before, &word));
}

/* ---- Becoming whole -------------------------------------------------------------------------------------- */

/* Takes a row that is all ones. False: some of it is not free, or another CPU is at it. */
static bool claim(struct zone *zone, uint64_t slot)
{
    _Atomic uint64_t *word = zone->row[slot].word;
    uint64_t full = ~UINT64_C(0);
    unsigned i = 0;

    while (i < ROW_WORDS && compare_exchange(&word[i], &full, 0))
        i++;
    if (i == ROW_WORDS)
        return true;
    while (i-- > 0)
        untake(zone, slot, i, ~UINT64_C(0));
    return false;
}

/* The word of a chunk that the buddy gets. */
static uint32_t buddy_word(uint32_t word)
{
    return (word & -CHUNK_SEQUENCE) + CHUNK_SEQUENCE + CHUNK_BUDDY;
}

/* The row of a chunk that is whole has no bits. */
static void clear_row(struct zone *zone, uint64_t slot)
{
    for (unsigned i = 0; i < ROW_WORDS; i++) {
        _Atomic uint64_t *word = &zone->row[slot].word[i];

        drop_strays(zone, slot, load_seq_cst(word) != 0 ? exchange(word, 0) : 0);
    }
}

/* The row is ours: hands the chunk to the buddy. Until its bit in `whole` is set nobody else can have it. */
static void become_whole(struct zone *zone, uint64_t slot)
{
    uint32_t before = chunk_word(zone, slot);

    while (!compare_exchange(&zone->chunk[slot], &before, buddy_word(before))) {
        /* hints have changed */
    }
    clear_row(zone, slot);
    chunk_relist(zone, slot, word_place(before));
    buddy_put(zone, slot, 1);
    trace_chunk(FRAME_EVENT_WHOLE, zone, slot);
}

/* What is due after frames came back: a chunk that is all free goes to the buddy, any other where its row says. */
static void look(struct zone *zone, uint64_t slot)
{
    if (row_full(&zone->row[slot])) {
        bool whole = false;

        move_begin(zone);
        while (!whole && row_full(&zone->row[slot]))
            whole = claim(zone, slot);
        if (whole)
            become_whole(zone, slot);
        move_end(zone);
    }
    chunk_settle(zone, slot);
}

/* ---- Giving back ----------------------------------------------------------------------------------------- */

/* Whether a chunk has a row. One that was taken as a whole, and comes back in parts, has from now on. */
static bool open_row(struct zone *zone, uint64_t slot)
{
    uint32_t word = chunk_word(zone, slot);

    while (CHUNK_STATE(word) == CHUNK_HUGE) {
        if (compare_exchange(&zone->chunk[slot], &word, word - CHUNK_HUGE + CHUNK_BITS))
            return true;
    }
    return chunk_has_row(word);
}

/* Whether a word of a row, to which bits came back, may have changed where its chunk belongs: it has a larger block (all
 * of it also passes a multiple), or so many more bits that they had better be counted. */
static bool wants_a_look(uint32_t word, uint64_t before, uint64_t now)
{
    unsigned order = CHUNK_ORDER(word);

    if ((now & (now - 1)) == 0)
        return false;
    return bit_count(before) / COUNTED_FREES != bit_count(now) / COUNTED_FREES ||
           (order < 6 && bit_blocks(now, order + 1) != 0);
}

uint64_t bitmap_put_word(struct zone *zone, uint64_t slot, unsigned index, uint64_t bits)
{
    uint64_t before, refused;
    uint32_t word;

    if (!open_row(zone, slot))
        return bits;
    refused = put_bits(zone, slot, index, bits, &before, &word);
    if (wants_a_look(word, before, before | bits))
        look(zone, slot);
    else if (word_place(word) != LISTING_NOWHERE &&
             !listing_has(&zone->chunks_by_use, word_place(word), slot))
        chunk_relist(zone, slot, LISTING_NOWHERE);
    return refused;
}

unsigned bitmap_put(struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    unsigned end = at + count, refused = 0;

    if (at / WORD_BITS == (end - 1) / WORD_BITS)
        return bit_count(bitmap_put_word(zone, slot, at / WORD_BITS, row_mask(at / WORD_BITS, at, end)));
    if (!open_row(zone, slot))
        return count;
    for (unsigned i = at / WORD_BITS; i <= (end - 1) / WORD_BITS; i++) {
        uint64_t before;
        uint32_t word;

        refused += bit_count(put_bits(zone, slot, i, row_mask(i, at, end), &before, &word));
    }
    look(zone, slot);
    return refused;
}

void bitmap_open(struct zone *zone, uint64_t slot)
{
    uint32_t word = chunk_word(zone, slot);

    if (CHUNK_STATE(word) == CHUNK_OFFLINE && compare_exchange(&zone->chunk[slot], &word, CHUNK_RAGGED))
        fetch_add(&zone->chunks, 1);
}

/* The same for a chunk that was not taken as a whole, or never handed over. */
static bool put_pieces_whole(struct zone *zone, uint64_t slot)
{
    uint32_t word = chunk_word(zone, slot);

    do {
        if (CHUNK_STATE(word) == CHUNK_BUDDY || (chunk_has_row(word) && row_any(&zone->row[slot])))
            return false;
    } while (!compare_exchange(&zone->chunk[slot], &word, buddy_word(word)));
    if (CHUNK_STATE(word) == CHUNK_OFFLINE) {
        fetch_add(&zone->chunks, 1);
        return true; /* its row has never been written, and is not read here either */
    }
    clear_row(zone, slot);
    chunk_relist(zone, slot, word_place(word));
    return true;
}

bool chunk_put_whole(struct zone *zone, uint64_t slot)
{
    uint32_t word = chunk_word(zone, slot);

    if (CHUNK_STATE(word) == CHUNK_HUGE && compare_exchange(&zone->chunk[slot], &word, buddy_word(word)))
        return true;
    return put_pieces_whole(zone, slot);
}

/* ---- Taking ---------------------------------------------------------------------------------------------- */

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

/* Takes a run of a row. */
static bool take_run(struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    unsigned first = at / WORD_BITS, last = (at + count - 1) / WORD_BITS, i = first;

    while (i <= last && take_mask(&zone->row[slot].word[i], row_mask(i, at, at + count)))
        i++;
    if (i > last) {
        chunk_settle(zone, slot);
        return true;
    }
    if (i == first)
        return false;
    while (i-- > first)
        untake(zone, slot, i, row_mask(i, at, at + count));
    look(zone, slot);
    return false;
}

/* The word is published first: whoever has a frame of the row can give it back. The stores are releases, and the last a
 * read-modify-write, so that all of them are in order and seen before chunk_settle() looks. */
void bitmap_break(struct zone *zone, uint64_t slot, unsigned at, unsigned count, uint32_t flags)
{
    uint32_t word = (chunk_word(zone, slot) & -CHUNK_SEQUENCE) | CHUNK_BITS | flags;
    struct row_copy row;

    for (unsigned i = 0; i < ROW_WORDS; i++) {
        unsigned first = i * WORD_BITS;

        row.word[i] = ~UINT64_C(0);
        if (at < first + WORD_BITS && first < at + count)
            row.word[i] = ~row_mask(i, at, at + count);
    }
    (void)exchange(&zone->chunk[slot], chunk_with_hints(word, &row));
    for (unsigned i = 0; i < ROW_WORDS - 1; i++)
        store_release(&zone->row[slot].word[i], row.word[i]);
    (void)exchange(&zone->row[slot].word[ROW_WORDS - 1], row.word[ROW_WORDS - 1]);
    chunk_settle(zone, slot);
    trace_chunk(FRAME_EVENT_BROKEN, zone, slot);
}

void chunk_take_whole(struct zone *zone, uint64_t slot, bool mobile)
{
    uint32_t word = (chunk_word(zone, slot) & -CHUNK_SEQUENCE) | CHUNK_HUGE | (mobile ? CHUNK_MOBILE : 0);

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

unsigned chunk_free(const struct zone *zone, uint64_t slot)
{
    struct row_copy row = row_copy(&zone->row[slot]);

    return CHUNK_STATE(chunk_word(zone, slot)) == CHUNK_BUDDY ? CHUNK_FRAMES
                                                              : row_count_all(&row);
}

bool bitmap_all_free(const struct zone *zone, uint64_t slot, unsigned at, unsigned count)
{
    uint32_t word = chunk_word(zone, slot);
    struct row_copy row;

    if (!chunk_has_row(word)) /* the bit goes first when another CPU takes the chunk */
        return CHUNK_STATE(word) == CHUNK_BUDDY &&
               (whole_word(zone, slot / GROUP_CHUNKS) >> slot % GROUP_CHUNKS & 1);
    row = row_copy(&zone->row[slot]);
    return row_count(&row, at, count) == count;
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

bool bitmap_find_in(const struct zone *zone, const struct want *want, uint64_t slot, uint64_t *frame)
{
    uint64_t base = zone_frame(zone, slot);
    struct row_copy row;
    unsigned at;

    if (base >= want->end || !is_aligned(base, max_u64(want->align, CHUNK_FRAMES)))
        return false;
    if (!chunk_has_row(chunk_word(zone, slot)))
        return false;
    row = row_copy(&zone->row[slot]);
    if (want->count > WORD_BITS && row_count_all(&row) < want->count) /* cheaper than looking for a long run */
        return false;
    at = row_find(&row, (unsigned)want->count, min_u64(want->align, CHUNK_FRAMES), want->boundary,
                  (unsigned)min_u64(want->end - base, CHUNK_FRAMES));
    *frame = base + at;
    return at != ROW_NONE;
}

/* Takes a chunk out of its set if it is empty. */
static bool clear_away(struct zone *zone, uint64_t slot)
{
    if (row_any(&zone->row[slot]))
        return false;
    chunk_settle(zone, slot);
    return true;
}

/* Any chunk of these places has the run; only a limit, or another CPU, can have it otherwise. A limit admits no
 * later chunk of a place, so one probe each would do; the second is for what another CPU has just changed. Chunks that
 * refills have emptied do not count: each is met once. */
static bool find_sure(struct zone *zone, const struct want *want, bool mobile, uint64_t places,
                      uint64_t *frame)
{
    for (; places != 0; places &= places - 1) {
        uint64_t slot = listing_next(&zone->chunks_by_use, next_place(mobile, places), 0);

        for (unsigned tries = 0; slot != SUMMARY_NONE && tries < 2;) {
            if (bitmap_find_in(zone, want, slot, frame))
                return true;
            tries += !clear_away(zone, slot);
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
            if (probes == 0)
                return false;
            if (bitmap_find_in(zone, want, slot, frame))
                return true;
            probes -= !clear_away(zone, slot);
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
        find_sure(zone, want, mobile, places_of(zone, mobile, sure, CHUNK_SHIFT, want->count), frame))
        return true;
    return least < sure &&
           find_perhaps(zone, want, mobile,
                        places_of(zone, mobile, least, (unsigned)min_u64(sure, CHUNK_SHIFT), want->count), probes, frame);
}
