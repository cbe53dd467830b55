/* SPDX-License-Identifier: MIT
 *
 * Topology: NUMA nodes, their memory ranges and CPUs, the distances between them, and the fallback orders
 * that follow. Firmware ids (proximity domains, numa-node-id, hart id, MPIDR, APIC id) may be sparse and
 * 64-bit wide; inside, nodes and CPUs have dense indexes, nodes in rising order of their firmware ids.
 *
 * Ranges are kept as the firmware gave them. Where two nodes claim one byte, what may be plugged in later
 * gives way to what is there, then the higher id to the lower (topo_node_of).
 *
 * Invariants after topo_settle (topo_check): at least one node, ids rising; ranges rise by their start;
 * fallback[i] is a permutation that starts with i and never comes nearer; every CPU has a node.
 */
#ifndef MM_TOPO_H
#define MM_TOPO_H

#include <mm/memmap.h>
#include <mm/types.h>

#define TOPO_MAX_NODES 64
#define TOPO_MAX_CPUS 1024
#define TOPO_MAX_RANGES 1024

/* ACPI 6.5, 5.2.17: a node's distance to itself is 10; 20 stands for "not said". */
#define DISTANCE_LOCAL 10
#define DISTANCE_REMOTE 20

struct topo_node {
    uint32_t id;          /* the firmware's */
    bool has_distance;    /* the firmware gave a row for it */
    uint64_t bytes;       /* of its ranges; after topo_count, of the RAM installed there */
    uint32_t cpu_count;   /* enabled ones */
};

struct topo_range {
    paddr_t start, end;
    uint16_t node;
    bool hotplug;         /* memory may appear here later; nothing is said about now */
};

struct topo_cpu {
    uint64_t hw_id;       /* hart id, MPIDR affinity, APIC id */
    uint32_t uid;         /* ACPI processor UID; joins MADT with SRAT. 0 with FDT */
    uint16_t node;        /* dense index */
    bool enabled;         /* false: present, but the firmware says to leave it alone */
};

struct topo {
    uint32_t node_count, cpu_count, range_count;
    uint32_t
        conflicts; /* pairs of ranges that claim one byte for two nodes, neither to be plugged in later */
    struct topo_node node[TOPO_MAX_NODES];
    struct topo_cpu cpu[TOPO_MAX_CPUS];
    struct topo_range range[TOPO_MAX_RANGES];
    uint16_t distance[TOPO_MAX_NODES][TOPO_MAX_NODES];
    uint16_t fallback[TOPO_MAX_NODES][TOPO_MAX_NODES]; /* dense indexes, nearest first, ties by id */
};

void topo_init(struct topo *topo);

/* The dense index of a firmware node id, if it is known. */
bool topo_find_node(const struct topo *topo, uint32_t id, uint16_t *node);

/* The dense index of a firmware node id, added if new. Indexes are provisional until topo_settle.
 * ERR_FULL: more than TOPO_MAX_NODES. */
MUST_CHECK status_t topo_add_node(struct topo *topo, uint32_t id, uint16_t *node);

/* Memory [start, start + size) belongs to node. ERR_INVALID: empty or wraps. ERR_FULL. */
MUST_CHECK status_t topo_add_range(struct topo *topo, uint16_t node, uint64_t start, uint64_t size,
                                   bool hotplug);

/* A CPU; node may be NODE_NONE (then node index 0 after settle). ERR_EXISTS: hw_id is already there. */
MUST_CHECK status_t topo_add_cpu(struct topo *topo, uint64_t hw_id, uint32_t uid, uint16_t node,
                                 bool enabled);

/* One directed distance; the firmware's unit, 10 = local. ERR_INVALID: out of 1 … 65534. */
MUST_CHECK status_t topo_set_distance(struct topo *topo, uint16_t from, uint16_t to, uint32_t distance);

/* Sorts nodes by id, gives unsaid distances their defaults, builds the fallback orders. With no node at all,
 * makes one with id 0. */
void topo_settle(struct topo *topo);

/* Gives every region of a settled map its node and splits regions at node borders; memory in no range goes
 * to the node of the nearest range (node 0 if there is none). ERR_FULL: too many regions. */
MUST_CHECK status_t topo_assign(const struct topo *topo, struct memmap *map);

/* Sets each node's bytes to the map's RAM that is there. Without RAM in the map nothing changes. */
void topo_count(struct topo *topo, const struct memmap *map);

/* The node index of a byte, or NODE_NONE if no range holds it. O(ranges). */
uint16_t topo_node_of(const struct topo *topo, paddr_t address);

/* The node that [start, *end) is assigned to, with *end ≤ limit as far as that is decided at once: memory in
 * no range is the nearest range's. O(ranges). */
uint16_t topo_piece(const struct topo *topo, uint64_t start, uint64_t limit, uint64_t *end);

/* NULL or what is broken. */
const char *topo_check(const struct topo *topo);

#endif
