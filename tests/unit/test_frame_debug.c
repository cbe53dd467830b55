/* SPDX-License-Identifier: MIT
 *
 * Frame descriptors, and every kind of misuse that the debug modes find: it is refused and named, and changes nothing.
 * What the default mode finds, it finds late.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mm/frame_info.h>
#include <mm/port.h>

#include "frame_support.h"

/* Each keeps its own frame on the stack, because something follows the call. */
#define STAY() __asm__ volatile("" : : : "memory")

static __attribute__((noinline)) status_t allocate_here(pfn_t *frame)
{
    status_t status = frame_alloc_one(0, frame);

    STAY();
    return status;
}

static __attribute__((noinline)) status_t free_here(pfn_t *frame)
{
    status_t status = frame_free(*frame, 1);

    STAY();
    return status;
}

static __attribute__((noinline)) status_t free_again(pfn_t *frame)
{
    status_t status = frame_free(*frame, 1);

    STAY();
    return status;
}

typedef status_t (*place_t)(pfn_t *frame);

/* Of the three, the one that an address lies in or behind. */
static place_t place_before(uintptr_t address)
{
    const place_t places[] = {allocate_here, free_here, free_again};
    place_t nearest = NULL;

    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        if ((uintptr_t)places[i] <= address && (nearest == NULL || (uintptr_t)places[i] > (uintptr_t)nearest))
            nearest = places[i];
    }
    return nearest;
}

/* Whether the last report names a place: by name, or where nobody knows names by address. */
static bool names(place_t place)
{
    const char *text = test_last_report();
    uint64_t offset;
    const char *name = port_symbol((uintptr_t)place, &offset);

    if (name != NULL)
        return test_last_report_says(name);
    for (; *text != '\0'; text++) {
        uintptr_t address = strncmp(text, "0x", 2) == 0 ? (uintptr_t)strtoull(text, NULL, 0) : 0;

        if (address != 0 && place_before(address) == place && address - (uintptr_t)place < 1024)
            return true;
    }
    return false;
}

/* Some frames in a row that are free and of one zone; false: there are none. */
static bool find_area(uint64_t count, pfn_t *first)
{
    return frame_alloc(&ANY_FRAMES(count), first) == OK && frame_free(*first, count) == OK;
}

static status_t take_at(pfn_t first, uint64_t count)
{
    struct frame_request request = ANY_FRAMES(count);

    request.flags = FRAME_AT;
    request.at = first;
    request.type = FRAME_TYPE_TEST;
    request.owner = first.v;
    return frame_alloc(&request, &first);
}

/* ---- Descriptors --------------------------------------------------------------------------------------- */

TEST(frame, descriptors)
{
    struct frame_info *info, *next;
    struct frame_zone_info last;
    pfn_t frame[2], at;

    CHECK_EQ(frame_alloc_one(0, &frame[0]), OK);
    CHECK_EQ(frame_alloc_one(0, &frame[1]), OK);
    info = frame_info(frame[0]);
    CHECK(info != NULL && info != frame_info(frame[1]));
    CHECK(frame_debug() != 0 || (info->type == FRAME_TYPE_NONE && info->owner == 0 && info->flags == 0));
    CHECK_EQ(info->refs, 0);
    at = frame[0];
    next = frame_info_next(&at);
    CHECK(next == info && at.v == frame[0].v);
    CHECK_EQ(frame_free(frame[0], 1), OK);
    CHECK_EQ(frame_free(frame[1], 1), OK);
    frame_zone_info(frame_zone_count() - 1, &last);
    CHECK(frame_info(pfn(last.end.v + (UINT64_C(1) << 40))) == NULL);
    CHECK(frame_info(pfn(UINT64_MAX)) == NULL);
    at = pfn(UINT64_MAX);
    CHECK(frame_info_next(&at) == NULL);
    CHECK(frame_descriptor_bytes() >= frame_managed() * sizeof(struct frame_info));
    CHECK(strcmp(frame_type_name(FRAME_TYPE_PAGE_TABLE), "page table") == 0);
    for (unsigned type = 0; type < FRAME_TYPES; type++)
        CHECK(frame_type_name((frame_type_t)type)[0] != '\0');
}

/* ---- Reference counts ---------------------------------------------------------------------------------- */

TEST(frame, references)
{
    uint64_t before = frame_free_count();
    unsigned reports = test_reports(), zone;
    pfn_t frame;

    CHECK_EQ(frame_alloc_one(0, &frame), OK);
    frame_info(frame)->owner = 7;
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(frame_ref(frame), OK);
    CHECK_EQ(frame_info(frame)->refs, 3);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(frame_unref(frame), OK);
    CHECK_EQ(frame_query(frame, &zone), FRAME_ALLOCATED);
    CHECK_EQ(frame_unref(frame), OK);
    CHECK_EQ(frame_query(frame, &zone), FRAME_FREE);
    CHECK(frame_debug() != 0 || (frame_info(frame)->owner == 0 && frame_info(frame)->refs == 0));
    CHECK_EQ(test_reports(), reports);
    CHECK_RESTORED(before);
}

TEST(frame, wrong_references)
{
    uint64_t before = frame_free_count();
    unsigned reports = test_reports();
    pfn_t frame;

    CHECK_EQ(frame_alloc_one(0, &frame), OK);
    CHECK_EQ(frame_unref(frame), ERR_INVALID);
    CHECK(test_last_report_says("frame_unref") && test_last_report_says("nobody holds it"));
    CHECK_EQ(frame_info(frame)->refs, 0);
    frame_info(frame)->refs = UINT32_MAX;
    CHECK_EQ(frame_ref(frame), ERR_FULL);
    CHECK(test_last_report_says("its count is at its end"));
    CHECK_EQ(frame_info(frame)->refs, UINT32_MAX);
    frame_info(frame)->refs = 0;
    CHECK_EQ(frame_ref(pfn(UINT64_MAX)), ERR_INVALID);
    CHECK(test_last_report_says("it is not RAM"));
    CHECK_EQ(frame_unref(pfn(UINT64_MAX)), ERR_INVALID);
    CHECK_EQ(test_reports(), reports + 4);
    CHECK_EQ(frame_free_count(), before - 1);
    CHECK_EQ(frame_free(frame, 1), OK);
    CHECK_RESTORED(before);
}

#define HOLDERS_ROUNDS ROUNDS(2000, 500000)

static void hold_and_let_go(void *context, unsigned index)
{
    pfn_t *frame = context;

    (void)index;
    for (unsigned i = 0; i < HOLDERS_ROUNDS; i++) {
        if (frame_ref(*frame) != OK || frame_unref(*frame) != OK)
            return;
    }
    if (frame_ref(*frame) != OK) /* seen in the count */
        return;
}

TEST(frame, references_from_all_cpus)
{
    uint64_t before = frame_free_count();
    pfn_t frame;

    CHECK_EQ(frame_alloc_one(0, &frame), OK);
    CHECK_EQ(frame_ref(frame), OK);
    test_parallel(test_cpus(), hold_and_let_go, &frame);
    CHECK_EQ(frame_info(frame)->refs, test_cpus() + 1);
    for (unsigned i = 0; i <= test_cpus(); i++)
        CHECK_EQ(frame_unref(frame), OK);
    CHECK_RESTORED(before);
}

/* ---- The default mode ---------------------------------------------------------------------------------- */

/* Whether a second free of these frames is taken, and then found when caches are emptied. The first is drained before,
 * or both are in the cache at once. */
static bool found_late(pfn_t first, uint64_t count, bool drained)
{
    unsigned reports = test_reports();

    if (frame_free(first, count) != OK)
        return false;
    if (drained)
        frame_drain();
    if (frame_free(first, count) != OK || test_reports() != reports)
        return false;
    frame_drain();
    return test_reports() == reports + 1 && test_last_report_says("freed twice");
}

/* The caches take what they are given; their zone finds what is wrong. */
TEST(frame, wrong_frees_are_found_late)
{
    struct frame_request request = ANY_FRAMES(CHUNK_FRAMES);
    unsigned debug = frame_debug(), reports;
    uint64_t before;
    pfn_t first;

    request.flags = FRAME_THIS_NODE; /* no cache takes another node's */
    CHECK_EQ(frame_debug_set(0), OK);
    frame_drain();
    before = frame_free_count();
    if (frame_alloc(&request, &first) != OK) {
        CHECK_EQ(frame_debug_set(debug), OK);
        SKIP("no chunk is free");
    }
    /* Of a chunk that stays partly used, so that it is an ordinary one. */
    CHECK_EQ(frame_free(pfn(first.v + 3), CHUNK_FRAMES - 3), OK);
    CHECK(found_late(pfn(first.v), 1, true));
    CHECK(found_late(pfn(first.v + 1), 1, false));
    CHECK(frame_check() == NULL);
    CHECK_EQ(frame_free(pfn(first.v + 2), 1), OK);
    frame_drain();
    CHECK_RESTORED(before);
    /* A chunk: while it is cached, and at once when it is the buddy's again. */
    CHECK_EQ(frame_alloc(&request, &first), OK);
    CHECK(found_late(first, CHUNK_FRAMES, false));
    reports = test_reports();
    CHECK_EQ(frame_free(first, CHUNK_FRAMES), ERR_BUSY);
    CHECK_EQ(frame_free(first, 1), ERR_BUSY);
    frame_drain();
    CHECK_EQ(test_reports(), reports);
    CHECK_RESTORED(before);
    CHECK_EQ(frame_debug_set(debug), OK);
}

TEST(frame, held_back_frames_are_refused_at_once)
{
    unsigned debug = frame_debug(), zone;
    uint64_t before = frame_free_count();

    CHECK_EQ(frame_debug_set(0), OK);
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_zone_info info;

        frame_zone_info(i, &info);
        for (uint64_t frame = info.start.v; frame < info.end.v; frame += 97) {
            if (frame_query(pfn(frame), &zone) == FRAME_UNMANAGED)
                CHECK_EQ(frame_free(pfn(frame), 1), ERR_INVALID);
        }
    }
    CHECK_EQ(frame_debug_set(debug), OK);
    CHECK_RESTORED(before);
}

/* ---- debug=owner --------------------------------------------------------------------------------------- */

TEST(frame, records)
{
    unsigned debug = frame_debug();
    uint64_t before = frame_free_count();
    struct frame_request request = ANY_FRAMES(3);
    const struct frame_info *info;
    pfn_t first;

    CHECK_EQ(frame_debug_set(FRAME_DEBUG_OWNER | 4), ERR_INVALID);
    CHECK_EQ(frame_debug_set(FRAME_DEBUG_OWNER), OK);
    CHECK_EQ(frame_debug(), FRAME_DEBUG_OWNER);
    request.type = FRAME_TYPES;
    CHECK_EQ(frame_alloc(&request, &first), ERR_INVALID);
    request.type = FRAME_TYPE_FREE;
    CHECK_EQ(frame_alloc(&request, &first), ERR_INVALID);
    request.type = FRAME_TYPE_DMA;
    request.owner = UINT64_C(0x123456789abcdef0);
    request.site = 0x1234;
    CHECK_EQ(frame_alloc(&request, &first), OK);
    for (unsigned i = 0; i < 3; i++) {
        info = frame_info(pfn(first.v + i));
        CHECK_EQ(info->type, FRAME_TYPE_DMA);
        CHECK_EQ(info->owner, request.owner);
        CHECK_EQ(frame_site_address(info->site), 0x1234);
        CHECK_EQ(info->flags, FRAME_RECORDED | (i == 0 ? FRAME_FIRST : 0) | (i == 2 ? FRAME_LAST : 0));
    }
    CHECK_EQ(frame_free(first, 3), OK);
    CHECK_EQ(frame_info(first)->type, FRAME_TYPE_FREE);
    CHECK_RESTORED(before);
    CHECK_EQ(frame_debug_set(0), OK); /* all records go */
    CHECK_EQ(frame_info(first)->type, FRAME_TYPE_NONE);
    CHECK_EQ(frame_info(first)->owner, 0);
    CHECK_EQ(frame_info(first)->flags, 0);
    CHECK_RESTORED(before);
    CHECK_EQ(frame_debug_set(debug), OK);
}

/* Ends the test as failed unless exactly one report came, with these words, and nothing has changed. */
#define CHECK_REPORTED(reports, words, free_count)                                                           \
    do {                                                                                                     \
        CHECK_EQ(test_reports(), ++(reports));                                                               \
        CHECK(test_last_report_says(words));                                                                                  \
        CHECK_RESTORED(free_count);                                                                          \
    } while (0)

TEST(frame, double_free_names_its_sites)
{
    unsigned debug = frame_debug(), reports;
    uint64_t before = frame_free_count();
    pfn_t frame;

    CHECK_EQ(frame_debug_set(FRAME_DEBUG_OWNER), OK);
    reports = test_reports();
    CHECK_EQ(allocate_here(&frame), OK);
    CHECK_EQ(free_here(&frame), OK);
    CHECK_EQ(test_reports(), reports);
    CHECK_EQ(free_again(&frame), ERR_BUSY);
    CHECK_REPORTED(reports, "is free; freed before at", before);
    CHECK(names(allocate_here) && names(free_here) && names(free_again));
    CHECK_EQ(free_again(&frame), ERR_BUSY);
    CHECK_REPORTED(reports, "type unnamed, owner 0", before);
    CHECK(names(free_here));
    CHECK_EQ(frame_debug_set(debug), OK);
}

TEST(frame, free_of_what_was_never_allocated)
{
    unsigned debug = frame_debug(), reports, zone;
    uint64_t before = frame_free_count();
    struct frame_zone_info info;
    pfn_t frame;

    CHECK_EQ(frame_debug_set(0), OK);
    CHECK(find_area(1, &frame));
    CHECK_EQ(frame_debug_set(FRAME_DEBUG_OWNER), OK);
    reports = test_reports();
    CHECK_EQ(free_here(&frame), ERR_BUSY);
    CHECK_REPORTED(reports, "is free", before);
    CHECK(names(free_here) && !test_last_report_says("freed before"));
    CHECK_EQ(frame_free(pfn(UINT64_C(1) << 51), 1), ERR_INVALID);
    CHECK_REPORTED(reports, "is not RAM", before);
    CHECK_EQ(frame_free(frame, 0), ERR_INVALID);
    CHECK_REPORTED(reports, "comes with a count of 0", before);
    CHECK_EQ(frame_free(frame, UINT64_C(1) << 50), ERR_INVALID);
    CHECK_REPORTED(reports, "is of another zone or not RAM", before);
    for (unsigned i = 0; i < frame_zone_count(); i++) {
        frame_zone_info(i, &info);
        for (uint64_t at = info.start.v; at < info.end.v; at += 97) {
            if (frame_query(pfn(at), &zone) == FRAME_UNMANAGED && frame_info(pfn(at)) != NULL) {
                CHECK_EQ(frame_free(pfn(at), 1), ERR_INVALID);
                CHECK_REPORTED(reports, "is held back", before);
                break;
            }
        }
    }
    CHECK_EQ(frame_debug_set(debug), OK);
}

TEST(frame, free_over_the_end_of_an_allocation)
{
    unsigned debug = frame_debug(), reports;
    uint64_t before = frame_free_count();
    pfn_t area;

    CHECK_EQ(frame_debug_set(FRAME_DEBUG_OWNER), OK);
    CHECK(find_area(16, &area));
    CHECK_EQ(take_at(pfn(area.v), 6), OK);
    CHECK_EQ(take_at(pfn(area.v + 6), 10), OK);
    reports = test_reports();
    CHECK_EQ(frame_free(area, 16), ERR_INVALID);
    CHECK_REPORTED(reports, "ends its allocation; allocated at", before - 16);
    CHECK(test_last_report_says("type test"));
    CHECK_EQ(frame_free(pfn(area.v + 5), 2), ERR_INVALID);
    CHECK_REPORTED(reports, "ends its allocation", before - 16);
    /* A part of the first goes back, and to somebody else: now the later run's ends are the border. */
    CHECK_EQ(frame_free(pfn(area.v + 2), 2), OK);
    CHECK_EQ(frame_free(area, 6), ERR_BUSY);
    CHECK_REPORTED(reports, "is free; freed before at", before - 14);
    CHECK_EQ(take_at(pfn(area.v + 2), 2), OK);
    CHECK_EQ(frame_free(pfn(area.v + 1), 2), ERR_INVALID);
    CHECK_REPORTED(reports, "begins another allocation", before - 16);
    CHECK_EQ(frame_free(pfn(area.v + 3), 2), ERR_INVALID);
    CHECK_REPORTED(reports, "ends its allocation", before - 16);
    /* And what is right, in parts. */
    CHECK_EQ(frame_free(pfn(area.v + 2), 2), OK);
    CHECK_EQ(frame_free(pfn(area.v), 2), OK);
    CHECK_EQ(frame_free(pfn(area.v + 4), 2), OK);
    CHECK_EQ(frame_free(pfn(area.v + 11), 5), OK);
    CHECK_EQ(frame_free(pfn(area.v + 6), 5), OK);
    CHECK_EQ(test_reports(), reports);
    CHECK_RESTORED(before);
    CHECK_EQ(frame_debug_set(debug), OK);
}

TEST(frame, free_of_reserved_and_of_shared_frames)
{
    unsigned debug = frame_debug(), reports;
    uint64_t before = frame_free_count();
    pfn_t area;

    CHECK_EQ(frame_debug_set(FRAME_DEBUG_OWNER), OK);
    CHECK(find_area(4, &area));
    CHECK_EQ(take_at(area, 4), OK);
    reports = test_reports();
    frame_info(pfn(area.v + 3))->type = FRAME_TYPE_RESERVED;
    CHECK_EQ(frame_free(area, 4), ERR_INVALID);
    CHECK_REPORTED(reports, "is reserved; allocated at", before - 4);
    frame_info(pfn(area.v + 3))->type = FRAME_TYPE_TEST;
    CHECK_EQ(frame_ref(pfn(area.v + 1)), OK);
    CHECK_EQ(frame_free(area, 4), ERR_BUSY);
    CHECK_REPORTED(reports, "is still referenced; allocated at", before - 4);
    CHECK(test_last_report_says("references 1"));
    CHECK_EQ(frame_unref(pfn(area.v + 1)), OK); /* which frees it */
    CHECK_EQ(frame_ref(pfn(area.v + 1)), ERR_INVALID);
    CHECK_REPORTED(reports, "it is free", before - 3);
    CHECK_EQ(frame_unref(pfn(area.v + 1)), ERR_INVALID);
    CHECK_REPORTED(reports, "it is free", before - 3);
    CHECK_EQ(frame_free(area, 1), OK);
    CHECK_EQ(frame_free(pfn(area.v + 2), 2), OK);
    CHECK_EQ(test_reports(), reports);
    CHECK_RESTORED(before);
    CHECK_EQ(frame_debug_set(debug), OK);
}

/* ---- debug=poison -------------------------------------------------------------------------------------- */

TEST(frame, writes_after_free_are_found)
{
    static const unsigned offset[] = {0, 1, 2047, FRAME_SIZE - 1};
    unsigned debug = frame_debug(), reports;
    uint64_t before = frame_free_count();
    pfn_t frame;

    CHECK_EQ(frame_debug_set(FRAME_DEBUG_POISON), OK);
    CHECK_EQ(allocate_here(&frame), OK);
    for (unsigned i = 0; i < ARRAY_LEN(offset); i++) {
        uint8_t *page = port_phys_to_virt(paddr_of(frame));
        char text[40];

        reports = test_reports();
        CHECK_EQ(free_here(&frame), OK);
        CHECK_EQ(page[offset[i]], (uint8_t)FRAME_POISON);
        page[offset[i]] = 0x5a;
        CHECK_EQ(take_at(frame, 1), OK);
        CHECK_EQ(test_reports(), reports + 1);
        snprintf(text, sizeof(text), "freed: offset %#x, in word ", offset[i]);
        CHECK(test_last_report_says(text) && test_last_report_says("5a") && names(free_here));
        CHECK(i > 0 ? test_last_report_says("type test") : names(allocate_here));
        CHECK_EQ(frame_free_count(), before - 1);
    }
    CHECK_EQ(frame_free(frame, 1), OK);
    CHECK_RESTORED(before);
    CHECK_EQ(frame_debug_set(debug), OK);
}

/* The last frame of a long run, by a larger run and of another mode. */
TEST(frame, poison_in_runs)
{
    unsigned debug = frame_debug(), reports;
    uint64_t before = frame_free_count();
    uint8_t *page;
    pfn_t area;

    CHECK_EQ(frame_debug_set(FRAME_DEBUG_OWNER | FRAME_DEBUG_POISON), OK);
    CHECK(find_area(40, &area));
    reports = test_reports();
    CHECK_EQ(take_at(pfn(area.v + 7), 30), OK);
    CHECK_EQ(test_reports(), reports);
    page = port_phys_to_virt(paddr_of(pfn(area.v + 36)));
    page[100] = 1; /* in use: as it should be */
    CHECK_EQ(frame_free(pfn(area.v + 7), 30), OK);
    page[100] = 2;
    CHECK_EQ(frame_debug_set(FRAME_DEBUG_OWNER), OK); /* what was filled is verified all the same */
    CHECK_EQ(take_at(area, 40), OK);
    CHECK_EQ(test_reports(), reports + 1);
    CHECK(test_last_report_says("offset 0x64, in word 0xdedede02dededede"));
    CHECK_EQ(frame_free(area, 40), OK);
    CHECK_RESTORED(before);
    CHECK_EQ(frame_debug_set(debug), OK);
}

/* What was free before is not verified, neither after off and on again. */
TEST(frame, no_false_alarms)
{
    unsigned debug = frame_debug(), reports = test_reports();
    uint64_t before = frame_free_count();
    pfn_t frame;

    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(frame_debug_set(i == 0 ? 0 : FRAME_DEBUG_POISON), OK);
        CHECK(find_area(1, &frame));
        CHECK_EQ(frame_debug_set(0), OK);
        memset(port_phys_to_virt(paddr_of(frame)), 0x77, FRAME_SIZE);
        CHECK_EQ(frame_debug_set(FRAME_DEBUG_POISON), OK);
        CHECK_EQ(take_at(frame, 1), OK);
        CHECK_EQ(test_reports(), reports);
        CHECK_EQ(frame_free(frame, 1), OK);
    }
    CHECK_RESTORED(before);
    CHECK_EQ(frame_debug_set(debug), OK);
}

TEST(frame, zeroed_in_poison_mode)
{
    unsigned debug = frame_debug(), reports = test_reports();
    struct frame_request request = ANY_FRAMES(2);
    const uint64_t *word;
    pfn_t first;

    CHECK_EQ(frame_debug_set(FRAME_DEBUG_POISON), OK);
    CHECK(find_area(2, &first));
    request.flags = FRAME_AT | FRAME_ZEROED;
    request.at = first;
    CHECK_EQ(frame_alloc(&request, &first), OK);
    word = port_phys_to_virt(paddr_of(first));
    for (unsigned i = 0; i < 2 * FRAME_SIZE / sizeof(*word); i++)
        CHECK_EQ(word[i], 0);
    CHECK_EQ(frame_free(first, 2), OK);
    CHECK_EQ(test_reports(), reports);
    CHECK_EQ(frame_debug_set(debug), OK);
}
