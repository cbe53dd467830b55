/* SPDX-License-Identifier: MIT
 *
 * The memory map against worked examples, and against a model that keeps one type for every byte of a small
 * address space.
 */
#include "machine_support.h"

#include <string.h>

#define MAP (&test_machine.map)

static bool claim(uint64_t start, uint64_t size, mem_type_t type)
{
    return memmap_claim(MAP, start, size, type, SOURCE_E820, 0, type == MEM_USABLE) == OK;
}

static bool region_is(uint32_t i, uint64_t start, uint64_t end, mem_type_t type)
{
    const struct mem_region *region = &MAP->region[i];
    return i < MAP->region_count && region->start.v == start && region->end.v == end && region->type == type;
}

TEST(memmap, nothing_claimed_nothing_there)
{
    uint64_t end;
    machine_clear();
    CHECK(memmap_settle(MAP) == OK);
    CHECK_EQ(MAP->region_count, 0);
    CHECK(memmap_find(MAP, paddr(0)) == NULL);
    CHECK_EQ(memmap_bytes(MAP, MEM_USABLE, UINT64_MAX), 0);
    CHECK_EQ(memmap_ram_bytes(MAP, &end), 0);
    CHECK_EQ(end, 0);
    CHECK(memmap_check(MAP) == NULL);
}

TEST(memmap, empty_and_wrapping_claims_are_refused)
{
    machine_clear();
    CHECK(memmap_claim(MAP, 0x1000, 0, MEM_USABLE, SOURCE_FDT, 0, true) == ERR_INVALID);
    CHECK(memmap_claim(MAP, UINT64_MAX - 0xfff, 0x2000, MEM_USABLE, SOURCE_FDT, 0, true) == ERR_INVALID);
    CHECK(memmap_claim(MAP, UINT64_MAX - 0xfff, 0x1000, MEM_USABLE, SOURCE_FDT, 0, true) == ERR_INVALID);
    CHECK_EQ(MAP->claim_count, 0);
    CHECK(memmap_claim(MAP, UINT64_MAX - 0xfff, 0xfff, MEM_USABLE, SOURCE_FDT, 0, true) == OK);
    CHECK(memmap_settle(MAP) == OK);
    CHECK(region_is(0, UINT64_MAX - 0xfff, UINT64_MAX, MEM_USABLE));
}

TEST(memmap, the_highest_type_wins_in_any_order)
{
    static const struct {
        uint64_t start, size;
        mem_type_t type;
    } claims[] = {{0x1000, 0x9000, MEM_USABLE}, {0x2000, 0x1000, MEM_RESERVED}, {0x2800, 0x1000, MEM_KERNEL}};
    for (unsigned first = 0; first < 3; first++) {
        machine_clear();
        for (unsigned i = 0; i < 3; i++)
            CHECK(claim(claims[(first + i) % 3].start, claims[(first + i) % 3].size,
                        claims[(first + i) % 3].type));
        CHECK(memmap_settle(MAP) == OK);
        CHECK_EQ(MAP->region_count, 4);
        CHECK(region_is(0, 0x1000, 0x2000, MEM_USABLE));
        CHECK(region_is(1, 0x2000, 0x2800, MEM_RESERVED));
        CHECK(region_is(2, 0x2800, 0x3800, MEM_KERNEL));
        CHECK(region_is(3, 0x3800, 0xa000, MEM_USABLE));
        CHECK(memmap_check(MAP) == NULL);
    }
}

TEST(memmap, equal_neighbours_merge_and_holes_stay)
{
    machine_clear();
    CHECK(claim(0x3000, 0x1000, MEM_USABLE) && claim(0x1000, 0x1000, MEM_USABLE));
    CHECK(claim(0x2000, 0x1000, MEM_USABLE) && claim(0x5000, 0x1000, MEM_USABLE));
    CHECK(memmap_settle(MAP) == OK);
    CHECK_EQ(MAP->region_count, 2);
    CHECK(region_is(0, 0x1000, 0x4000, MEM_USABLE));
    CHECK(region_is(1, 0x5000, 0x6000, MEM_USABLE));
    CHECK(memmap_find(MAP, paddr(0x4000)) == NULL);
    CHECK(memmap_find(MAP, paddr(0x3fff)) == &MAP->region[0]);
    CHECK(memmap_find(MAP, paddr(0x5000)) == &MAP->region[1]);
}

TEST(memmap, frames_count_only_if_whole)
{
    machine_clear();
    CHECK(claim(0x1001, 0xfff, MEM_USABLE) && claim(0x2000, 0x1800, MEM_USABLE) &&
          claim(0x9000, 0xfff, MEM_USABLE));
    CHECK(memmap_settle(MAP) == OK);
    CHECK_EQ(memmap_frames(MAP, MEM_USABLE), 1);
    CHECK_EQ(memmap_bytes(MAP, MEM_USABLE, UINT64_MAX), 0xfff + 0x1800 + 0xfff);
    CHECK_EQ(memmap_bytes(MAP, MEM_USABLE, 0x2001), 0x1000);
}

TEST(memmap, installed_memory_counts_once_reserved_or_not)
{
    uint64_t start, end;
    machine_clear();
    CHECK(claim(0x4000, 0x2000, MEM_USABLE) && claim(0x1000, 0x2000, MEM_USABLE) &&
          claim(0x2000, 0x2000, MEM_USABLE));
    CHECK(claim(0x8000, 0x1000, MEM_USABLE) && claim(0x1000, 0x1000, MEM_RESERVED));
    CHECK(memmap_settle(MAP) == OK);
    CHECK_EQ(memmap_ram_bytes(MAP, &end), 0x6000);
    CHECK_EQ(end, 0x9000);
    CHECK(memmap_ram_next(MAP, 0x1800, &start, &end));
    CHECK_EQ(start, 0x1800);
    CHECK_EQ(end, 0x6000);
    CHECK(memmap_ram_next(MAP, end, &start, &end));
    CHECK_EQ(start, 0x8000);
    CHECK(!memmap_ram_next(MAP, end, &start, &end));
}

TEST(memmap, a_full_table_says_so)
{
    machine_clear();
    for (unsigned i = 0; i < MEMMAP_MAX_CLAIMS; i++)
        CHECK(claim(0x2000 * (uint64_t)i, 0x1000, MEM_USABLE));
    CHECK(memmap_claim(MAP, 0, 1, MEM_RESERVED, SOURCE_FDT, 0, false) == ERR_FULL);
    CHECK(memmap_settle(MAP) == OK);
    CHECK_EQ(MAP->region_count, MEMMAP_MAX_CLAIMS);
    CHECK(memmap_check(MAP) == NULL);
}

TEST(memmap, check_finds_what_is_broken)
{
    machine_clear();
    CHECK(claim(0x1000, 0x3000, MEM_USABLE) && claim(0x2000, 0x1000, MEM_RESERVED));
    CHECK(memmap_settle(MAP) == OK && memmap_check(MAP) == NULL);
    MAP->region[1].type = MEM_USABLE;
    CHECK(memmap_check(MAP) != NULL);
    CHECK(memmap_settle(MAP) == OK);
    MAP->region[2].end = paddr(0x5000);
    CHECK(memmap_check(MAP) != NULL);
    CHECK(memmap_settle(MAP) == OK);
    MAP->region[0].end = paddr(0x1800);
    CHECK(memmap_check(MAP) != NULL);
}

TEST(memmap, every_type_and_source_has_a_name)
{
    for (unsigned type = 0; type < MEM_TYPE_COUNT; type++)
        CHECK(mem_type_name((mem_type_t)type) != NULL);
    for (unsigned source = 0; source < SOURCE_COUNT; source++)
        CHECK(mem_source_name((mem_source_t)source) != NULL);
    CHECK(strcmp(mem_type_name((mem_type_t)99), "invalid") == 0);
    CHECK(strcmp(mem_source_name((mem_source_t)99), "invalid") == 0);
}

/* ---- Against a model ---------------------------------------------------------------------------------- */

#define MODEL_BYTES 300

static bool agrees(const uint8_t *model)
{
    uint64_t usable = 0;
    for (uint64_t at = 0; at < MODEL_BYTES; at++) {
        const struct mem_region *region = memmap_find(MAP, paddr(at));
        if ((region == NULL ? MEM_NONE : region->type) != model[at])
            return false;
        usable += model[at] == MEM_USABLE;
    }
    return memmap_bytes(MAP, MEM_USABLE, UINT64_MAX) == usable;
}

TEST(memmap, agrees_with_a_map_of_bytes)
{
    uint64_t random = 0x5eed;
    for (unsigned round = 0; round < 60; round++) {
        uint8_t model[MODEL_BYTES] = {0};
        machine_clear();
        for (unsigned i = 0; i < 24; i++) {
            uint64_t start = test_random(&random) % MODEL_BYTES;
            uint64_t size = 1 + test_random(&random) % (MODEL_BYTES - start);
            mem_type_t type = (mem_type_t)(1 + test_random(&random) % (MEM_TYPE_COUNT - 1));
            CHECK(claim(start, size, type));
            for (uint64_t at = start; at < start + size; at++)
                model[at] = model[at] > type ? model[at] : (uint8_t)type;
        }
        CHECK(memmap_settle(MAP) == OK);
        CHECK(agrees(model));
        CHECK(memmap_check(MAP) == NULL);
    }
}
