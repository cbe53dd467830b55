/* SPDX-License-Identifier: MIT
 *
 * Simulated machines: maps and topologies of any shape, of which the allocator sees nothing but metadata. One
 * at a time; frames of it must not be touched.
 */
#ifndef LAYOUT_H
#define LAYOUT_H

#include <mm/frame.h>

extern struct memmap layout_map;
extern struct topo layout_topo;
extern struct zone_limits layout_limits; /* of the machine that was started */

/* Starts a machine of `nodes` nodes with ids 0, 1, …, all equally far from each other. */
void layout_begin(unsigned nodes);

/* Memory of a node; and a part of it that is something else. */
void layout_ram(unsigned node, uint64_t start, uint64_t end);
void layout_part(uint64_t start, uint64_t end, mem_type_t type);

/* CPUs 0, 1, … on the nodes in turn; without, there is one on node 0. */
void layout_cpus(unsigned cpus);

/* Settles map and topology, then starts the allocator on it. */
status_t layout_settle(void);
status_t layout_start(const struct zone_limits *limits);

/* The metadata of the machine that was started: pages of the host that take memory only once they are touched. */
void *layout_metadata(uint64_t *size);

/* Drops the metadata. */
void layout_end(void);

/* Whole frames of usable regions, counted from the map alone. */
uint64_t layout_usable_frames(void);

#endif
