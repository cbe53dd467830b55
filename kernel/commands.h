/* SPDX-License-Identifier: MIT
 *
 * The monitor's commands; kernel/commands.c has the table. Those that print data take --json and then print one
 * JSON object on one line.
 */
#ifndef KERNEL_COMMANDS_H
#define KERNEL_COMMANDS_H

#include <kernel/early.h>

static inline const char *separator(unsigned index)
{
    return index == 0 ? "" : ",";
}

/* The firmware's id of a dense node index. */
static inline uint32_t node_id(uint16_t node)
{
    return node == NODE_NONE ? 0 : machine.topo.node[node].id;
}

bool command_map(int argc, char **argv);
bool command_nodes(int argc, char **argv);
bool command_zones(int argc, char **argv);
bool command_frames(int argc, char **argv);
bool command_frag(int argc, char **argv);
bool command_caches(int argc, char **argv);
bool command_reserve(int argc, char **argv);
bool command_slabs(int argc, char **argv);
bool command_latency(int argc, char **argv);
bool command_trace(int argc, char **argv);
bool command_cpus(int argc, char **argv);
bool command_layout(int argc, char **argv);
bool command_stat(int argc, char **argv);
bool command_why(int argc, char **argv);
bool command_alloc(int argc, char **argv);
bool command_free(int argc, char **argv);
bool command_fault(int argc, char **argv);
bool command_bench(int argc, char **argv);
bool command_owners(int argc, char **argv);
bool command_selftest(int argc, char **argv);

/* Commands that take nothing but --json: true and *json set, or a complaint and false. */
bool only_json(int argc, char **argv, bool *json);

/* Prints usage of argv[0]'s command; always false, for `return usage(argv)`. */
bool usage(char **argv);

#endif
