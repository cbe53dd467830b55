/* SPDX-License-Identifier: MIT */
#include "machine_support.h"

#define TOPO (&test_machine.topo)
#define MAP (&test_machine.map)

/* Nodes with the given firmware ids, in this order. */
static bool add_nodes(const uint32_t *ids, unsigned count)
{
    machine_clear();
    for (unsigned i = 0; i < count; i++) {
        uint16_t node;
        if (topo_add_node(TOPO, ids[i], &node) != OK || node != i)
            return false;
    }
    return true;
}

TEST(topo, a_machine_that_says_nothing_has_one_node)
{
    machine_clear();
    CHECK(topo_add_cpu(TOPO, 5, 0, NODE_NONE, true) == OK);
    topo_settle(TOPO);
    CHECK_EQ(TOPO->node_count, 1);
    CHECK_EQ(TOPO->node[0].id, 0);
    CHECK_EQ(TOPO->node[0].cpu_count, 1);
    CHECK_EQ(TOPO->cpu[0].node, 0);
    CHECK_EQ(TOPO->distance[0][0], DISTANCE_LOCAL);
    CHECK_EQ(TOPO->fallback[0][0], 0);
    CHECK(topo_check(TOPO) == NULL);
}

TEST(topo, nodes_are_sorted_and_everything_follows)
{
    static const uint32_t ids[] = {70, 3, 9};
    CHECK(add_nodes(ids, 3));
    CHECK(topo_add_range(TOPO, 0, 0x9000, 0x1000, false) == OK);
    CHECK(topo_add_range(TOPO, 1, 0x1000, 0x1000, false) == OK);
    CHECK(topo_add_cpu(TOPO, 100, 0, 0, true) == OK && topo_add_cpu(TOPO, 101, 0, 2, false) == OK);
    CHECK(topo_set_distance(TOPO, 0, 1, 31) == OK && topo_set_distance(TOPO, 2, 0, 15) == OK);
    topo_settle(TOPO);
    CHECK_EQ(TOPO->node[0].id, 3);
    CHECK_EQ(TOPO->node[1].id, 9);
    CHECK_EQ(TOPO->node[2].id, 70);
    CHECK_EQ(topo_node_of(TOPO, paddr(0x1000)), 0);
    CHECK_EQ(topo_node_of(TOPO, paddr(0x9fff)), 2);
    CHECK_EQ(topo_node_of(TOPO, paddr(0x2000)), NODE_NONE);
    CHECK_EQ(TOPO->cpu[0].node, 2);
    CHECK_EQ(TOPO->cpu[1].node, 1);
    CHECK_EQ(TOPO->node[1].cpu_count, 0);
    CHECK_EQ(TOPO->distance[2][0], 31);
    CHECK_EQ(TOPO->distance[1][2], 15);
    CHECK_EQ(TOPO->distance[0][2], DISTANCE_REMOTE);
    CHECK(TOPO->node[2].has_distance && TOPO->node[1].has_distance && !TOPO->node[0].has_distance);
    CHECK(topo_check(TOPO) == NULL);
}

TEST(topo, fallback_is_nearest_first_then_by_id)
{
    static const uint32_t ids[] = {0, 1, 2, 3};
    static const uint8_t distance[4][4] = {
        {10, 20, 25, 20}, {20, 10, 20, 25}, {25, 20, 10, 20}, {30, 8, 8, 10}};
    static const uint16_t expected[4][4] = {{0, 1, 3, 2}, {1, 0, 2, 3}, {2, 1, 3, 0}, {3, 1, 2, 0}};
    CHECK(add_nodes(ids, 4));
    for (uint16_t i = 0; i < 4; i++)
        for (uint16_t j = 0; j < 4; j++)
            CHECK(topo_set_distance(TOPO, i, j, distance[i][j]) == OK);
    topo_settle(TOPO);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned j = 0; j < 4; j++)
            CHECK_EQ(TOPO->fallback[i][j], expected[i][j]);
    CHECK(topo_check(TOPO) == NULL);
}

TEST(topo, what_is_there_goes_before_what_may_come_then_the_lower_id)
{
    static const uint32_t ids[] = {2, 1};
    CHECK(add_nodes(ids, 2));
    CHECK(topo_add_range(TOPO, 1, 0, 0x10000, true) == OK);
    CHECK(topo_add_range(TOPO, 0, 0x1000, 0x2000, false) == OK);
    CHECK(topo_add_range(TOPO, 1, 0x2000, 0x2000, false) == OK);
    topo_settle(TOPO);
    CHECK_EQ(TOPO->node[topo_node_of(TOPO, paddr(0x0))].id, 1);
    CHECK_EQ(TOPO->node[topo_node_of(TOPO, paddr(0x1000))].id, 2);
    CHECK_EQ(TOPO->node[topo_node_of(TOPO, paddr(0x2000))].id, 1);
    CHECK_EQ(TOPO->conflicts, 1);
    CHECK_EQ(TOPO->node[0].bytes, 0x10000);
    CHECK_EQ(TOPO->node[1].bytes, 0x2000);
}

TEST(topo, limits_and_nonsense_are_refused)
{
    uint16_t node;
    machine_clear();
    for (uint32_t i = 0; i < TOPO_MAX_NODES; i++)
        CHECK(topo_add_node(TOPO, 1000 - i, &node) == OK);
    CHECK(topo_add_node(TOPO, 5, &node) == ERR_FULL);
    CHECK(topo_add_node(TOPO, 1000, &node) == OK && node == 0);
    CHECK(topo_add_range(TOPO, 0, 0, 0, false) == ERR_INVALID);
    CHECK(topo_add_range(TOPO, 0, UINT64_MAX, 2, false) == ERR_INVALID);
    CHECK(topo_add_range(TOPO, TOPO_MAX_NODES, 0, 1, false) == ERR_INVALID);
    CHECK(topo_set_distance(TOPO, 0, 0, 0) == ERR_INVALID);
    CHECK(topo_set_distance(TOPO, 0, 0, UINT16_MAX) == ERR_INVALID);
    for (uint64_t i = 0; i < TOPO_MAX_CPUS; i++)
        CHECK(topo_add_cpu(TOPO, i << 32, 0, NODE_NONE, true) == OK);
    CHECK(topo_add_cpu(TOPO, 0, 0, NODE_NONE, true) == ERR_EXISTS);
    CHECK(topo_add_cpu(TOPO, 1, 0, NODE_NONE, true) == ERR_FULL);
    topo_settle(TOPO);
    CHECK(topo_check(TOPO) == NULL);
}

static bool claim(uint64_t start, uint64_t size, mem_type_t type)
{
    return memmap_claim(MAP, start, size, type, SOURCE_FDT, 0, type == MEM_USABLE) == OK;
}

static bool region_is(uint32_t i, uint64_t start, uint64_t end, uint16_t node)
{
    const struct mem_region *region = &MAP->region[i];
    return i < MAP->region_count && region->start.v == start && region->end.v == end && region->node == node;
}

TEST(topo, regions_are_cut_at_node_borders_and_gaps_go_to_the_nearest)
{
    static const uint32_t ids[] = {0, 1};
    CHECK(add_nodes(ids, 2));
    CHECK(topo_add_range(TOPO, 0, 0x1000, 0x3000, false) == OK);
    CHECK(topo_add_range(TOPO, 1, 0x5000, 0x3000, false) == OK);
    CHECK(claim(0x0, 0x6000, MEM_USABLE) && claim(0x7000, 0x4000, MEM_USABLE));
    CHECK(memmap_settle(MAP) == OK);
    topo_settle(TOPO);
    CHECK(topo_assign(TOPO, MAP) == OK);
    CHECK_EQ(MAP->region_count, 3);
    CHECK(region_is(0, 0x0, 0x5000, 0));
    CHECK(region_is(1, 0x5000, 0x6000, 1));
    CHECK(region_is(2, 0x7000, 0xb000, 1));
    topo_count(TOPO, MAP);
    CHECK_EQ(TOPO->node[0].bytes, 0x5000);
    CHECK_EQ(TOPO->node[1].bytes, 0x5000);
    CHECK(machine_check() == NULL);
}

TEST(topo, settling_again_changes_nothing)
{
    static const uint32_t ids[] = {8, 4};
    CHECK(add_nodes(ids, 2));
    CHECK(topo_add_range(TOPO, 0, 0x8000, 0x1000, false) == OK &&
          topo_add_range(TOPO, 1, 0, 0x1000, false) == OK);
    CHECK(claim(0x0, 0x9000, MEM_USABLE));
    for (unsigned round = 0; round < 3; round++) {
        CHECK(machine_settle(&test_machine) == OK);
        CHECK_EQ(TOPO->node[0].id, 4);
        CHECK_EQ(MAP->region_count, 2);
        CHECK(region_is(0, 0x0, 0x8000, 0));
        CHECK(machine_check() == NULL);
    }
}

TEST(topo, check_finds_what_is_broken)
{
    static const uint32_t ids[] = {0, 1, 2};
    CHECK(add_nodes(ids, 3));
    topo_settle(TOPO);
    CHECK(topo_check(TOPO) == NULL);
    TOPO->fallback[1][1] = 1;
    CHECK(topo_check(TOPO) != NULL);
    topo_settle(TOPO);
    TOPO->distance[0][1] = 30;
    CHECK(topo_check(TOPO) != NULL);
    topo_settle(TOPO);
    TOPO->node[0].id = 7;
    CHECK(topo_check(TOPO) != NULL);
}
