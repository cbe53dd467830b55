/* SPDX-License-Identifier: MIT
 *
 * The buddy: whole chunks, a bit each, and no lists. A block of order 9 + k is a run of 2^k set bits aligned
 * to its length, so splitting and merging are nothing but clearing and setting bits.
 *
 * Blocks up to a group (order 15) are found through the listing of groups, smallest sufficient block first, in a
 * constant number of steps, and taken with one compare-and-swap; longer runs are taken a group at a time in rising
 * order, and put back if another CPU has one of them. What remains (larger blocks, lengths that no aligned block fits, limits) is found
 * by passing over `whole` once, from low addresses to high.
 */
#include "zone.h"

uint32_t group_place(const void *zone, uint64_t group)
{
    uint64_t word = whole_word(zone, group);

    return word == 0 ? LISTING_NOWHERE : bit_largest_block(word);
}

/* Lists a group anew after its word was `before`. */
static void relist(struct zone *zone, uint64_t group, uint64_t before)
{
    listing_move(&zone->groups_by_order, group, before == 0 ? LISTING_NOWHERE : bit_largest_block(before),
                 group_place, zone);
}

/* The bits of a group's word that [slot, end) covers. */
static uint64_t group_mask(uint64_t group, uint64_t slot, uint64_t end)
{
    uint64_t first = group * GROUP_CHUNKS;

    return bit_range((unsigned)(max_u64(slot, first) - first), (unsigned)min_u64(end - first, GROUP_CHUNKS));
}

void buddy_put(struct zone *zone, uint64_t slot, uint64_t count)
{
    uint64_t end = slot + count;

    for (uint64_t group = slot / GROUP_CHUNKS; group * GROUP_CHUNKS < end; group++)
        relist(zone, group, fetch_or(group_word(zone, group), group_mask(group, slot, end)));
    fetch_add(&zone->whole_chunks, count);
}

/* Clears the bits of a mask, all or none. A retry means that another CPU changed the word. */
static bool take_mask(struct zone *zone, uint64_t group, uint64_t mask)
{
    uint64_t before = whole_word(zone, group);

    do {
        if ((before & mask) != mask)
            return false;
    } while (!compare_exchange(group_word(zone, group), &before, before & ~mask));
    relist(zone, group, before);
    return true;
}

bool buddy_take(struct zone *zone, uint64_t slot, uint64_t count)
{
    uint64_t end = slot + count, group = slot / GROUP_CHUNKS, got;

    while (group * GROUP_CHUNKS < end && take_mask(zone, group, group_mask(group, slot, end)))
        group++;
    got = group * GROUP_CHUNKS >= end ? count : group * GROUP_CHUNKS > slot ? group * GROUP_CHUNKS - slot : 0;
    fetch_add(&zone->whole_chunks, -got);
    if (got == count)
        return true;
    if (got > 0)
        buddy_put(zone, slot, got);
    return false;
}

void buddy_put_some(struct zone *zone, uint64_t group, uint64_t bits)
{
    relist(zone, group, fetch_or(group_word(zone, group), bits));
}

/* `most` bits of a word, the lowest, or all. At most `most` rounds. */
static uint64_t lowest_bits(uint64_t word, unsigned most)
{
    uint64_t rest = word;

    for (unsigned i = 0; i < most && rest != 0; i++)
        rest &= rest - 1;
    return word ^ rest;
}

static uint64_t take_of(struct zone *zone, uint64_t group, unsigned most)
{
    uint64_t before = whole_word(zone, group), taken;

    do
        taken = lowest_bits(before, most);
    while (taken != 0 && !compare_exchange(group_word(zone, group), &before, before & ~taken));
    if (taken != 0)
        relist(zone, group, before);
    return taken;
}

/* A lease only keeps other CPUs' caches away, as long as there are other groups. */
static bool leased(const struct zone *zone, uint64_t group)
{
    return load_relaxed(&zone->leased[group / WORD_BITS]) >> group % WORD_BITS & 1;
}

static void begin_lease(struct zone *zone, uint64_t group, uint64_t *lease)
{
    uint64_t bit = UINT64_C(1) << group % WORD_BITS;

    if ((fetch_or(&zone->leased[group / WORD_BITS], bit) & bit) == 0)
        *lease = group;
}

void buddy_end_lease(struct zone *zone, uint64_t *lease)
{
    if (*lease != GROUP_NONE)
        fetch_and(&zone->leased[*lease / WORD_BITS], ~(UINT64_C(1) << *lease % WORD_BITS));
    *lease = GROUP_NONE;
}

/* Groups that a search for a new lease looks at: more are passed by only if more CPUs have leased them. */
#define LEASE_TRIES 64

/* From the groups that least is lost with, those that are leased excepted if `lease` is not NULL. */
static uint64_t take_listed(struct zone *zone, unsigned most, uint64_t *lease, uint64_t *group)
{
    uint64_t places = load_seq_cst(&zone->groups_by_order.occupied[0]), taken;
    unsigned tries = 0;

    for (; places != 0; places &= places - 1) {
        uint64_t from = 0;

        for (; tries < LEASE_TRIES; tries++, from = *group + 1) {
            *group = listing_next(&zone->groups_by_order, bit_lowest(places), from);
            if (*group == SUMMARY_NONE)
                break;
            if (lease != NULL && leased(zone, *group))
                continue;
            taken = take_of(zone, *group, most); /* none: another CPU has just emptied it */
            if (taken != 0 && lease != NULL)
                begin_lease(zone, *group, lease);
            if (taken != 0)
                return taken;
        }
    }
    return 0;
}

uint64_t buddy_take_some(struct zone *zone, unsigned most, uint64_t *lease, uint64_t *group)
{
    uint64_t taken = 0;

    *group = *lease;
    if (*lease != GROUP_NONE)
        taken = take_of(zone, *lease, most);
    if (taken == 0) {
        buddy_end_lease(zone, lease);
        taken = take_listed(zone, most, lease, group);
    }
    return taken != 0 ? taken : take_listed(zone, most, NULL, group);
}

/* Groups that are looked at in one place: more are passed by only if as many CPUs have just taken their blocks. */
#define BLOCK_TRIES 64

/* An aligned block of 2^order chunks, order ≤ 6, that ends in time, from a group of one place. Its groups are in rising
 * order, so beyond the first that has a block at all none ends sooner. */
static bool find_block_in(struct zone *zone, const struct want *want, uint32_t place, unsigned order, uint64_t *slot)
{
    uint64_t group = listing_next(&zone->groups_by_order, place, 0);

    for (unsigned tries = 0; group != SUMMARY_NONE && tries < BLOCK_TRIES; tries++) {
        uint64_t blocks = bit_blocks(whole_word(zone, group), order);

        if (blocks != 0) {
            *slot = group * GROUP_CHUNKS + bit_lowest(blocks);
            return zone_frame(zone, *slot) + want->count <= want->end;
        }
        group = listing_next(&zone->groups_by_order, place, group + 1);
    }
    return false;
}

/* Small ones first: at most GROUP_PLACES rounds. */
static bool find_block(struct zone *zone, const struct want *want, unsigned order, uint64_t *slot)
{
    uint64_t places = load_seq_cst(&zone->groups_by_order.occupied[0]) >> order << order;

    for (; places != 0; places &= places - 1) {
        if (find_block_in(zone, want, bit_lowest(places), order, slot))
            return true;
    }
    return false;
}

/* The first slot ≥ slot whose bit is set (or clear), but no further than end. At most one round per word. */
static uint64_t next_bit(const struct zone *zone, uint64_t slot, uint64_t end, bool set)
{
    while (slot < end) {
        uint64_t whole = whole_word(zone, slot / GROUP_CHUNKS);
        uint64_t word = (set ? whole : ~whole) & ~UINT64_C(0) << slot % GROUP_CHUNKS;
        if (word != 0)
            return min_u64(align_down(slot, GROUP_CHUNKS) + bit_lowest(word), end);
        slot = align_down(slot, GROUP_CHUNKS) + GROUP_CHUNKS;
    }
    return end;
}

/* The wanted run inside one span: `full` whole chunks and a part of the next. Each round passes over at least
 * one chunk, so there are at most as many rounds as chunks in the span. */
static bool find_in_span(const struct zone *zone, const struct want *want, const struct span *span,
                         uint64_t *slot)
{
    uint64_t full = max_u64(want->count / CHUNK_FRAMES, 1);
    unsigned tail = want->count < CHUNK_FRAMES ? 0 : (unsigned)(want->count % CHUNK_FRAMES);
    uint64_t align = max_u64(want->align / CHUNK_FRAMES, 1);
    uint64_t first = span->dense * GROUP_CHUNKS, end = first + span->groups * GROUP_CHUNKS;
    uint64_t shift = span->group * GROUP_CHUNKS - first; /* slot + shift counts chunks as addresses do */

    for (uint64_t at = first; (at = next_bit(zone, at, end, true)) < end;) {
        uint64_t frame, crossed, after;

        at = align_up(at + shift, align) - shift;
        frame = (at + shift) * CHUNK_FRAMES;
        if (at + full + (tail != 0) > end || frame + want->count > want->end)
            return false;
        crossed = align_down(frame + want->count - 1, want->boundary);
        if (frame < crossed) {
            at = crossed / CHUNK_FRAMES - shift;
            continue;
        }
        after = next_bit(zone, at, at + full, false);
        if (after == at + full && (tail == 0 || bitmap_all_free(zone, after, 0, tail))) {
            *slot = at;
            return true;
        }
        at = after + 1; /* no run includes the chunk at `after` before its end */
    }
    return false;
}

bool buddy_find(struct zone *zone, const struct want *want, uint64_t *slot)
{
    uint64_t chunks = (want->count + CHUNK_FRAMES - 1) / CHUNK_FRAMES;
    uint64_t block = max_u64(chunks, want->align / CHUNK_FRAMES);
    unsigned order = log2_ceil(block);

    /* An aligned block of at least the run's length crosses no boundary that the run need not cross. */
    if (order < GROUP_PLACES && find_block(zone, want, order, slot))
        return true;
    if (order == 0) /* one chunk, any chunk: it would have been found */
        return false;
    for (uint32_t i = 0; i < zone->span_count; i++) {
        if (find_in_span(zone, want, &zone->span[i], slot))
            return true;
    }
    return false;
}
