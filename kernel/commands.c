/* SPDX-License-Identifier: MIT */
#include "commands.h"

#include <kernel/console.h>
#include <kernel/monitor.h>
#include <string.h>

static bool command_help(int argc, char **argv);
static bool command_poweroff(int argc, char **argv);

const struct command monitor_commands[] = {
    {"help", "[COMMAND]", "this list, or one command", command_help},
    {"map", "[--json]", "the memory map: who said what is where", command_map},
    {"nodes", "[--json]", "NUMA nodes, distances, order of fallback", command_nodes},
    {"zones", "[--json]", "zones of each node, managed and free", command_zones},
    {"frames", "[--json]", "frames free, cached and in use; free blocks by order", command_frames},
    {"frag", "[ZONE|node=N] [--json]", "fragmentation, and a picture of what is in use", command_frag},
    {"caches", "[--json]", "per-CPU caches", command_caches},
    {"reserve", "[--json]", "emergency reserves, and the pressure on each zone", command_reserve},
    {"slabs", "[--json]", "caches of kernel objects, and where these are", command_slabs},
    {"latency", "[on|off|--json]", "how long the allocator's slow paths take: measure it, show it", command_latency},
    {"trace", "on [ENTRIES] [slow] | off | dump | show [EVENTS] [--json]",
     "every call of the allocator (or those past the caches), for `quire replay`", command_trace},
    {"cpus", "[--json]", "CPUs and their nodes", command_cpus},
    {"layout", "[--json]", "the kernel's address space", command_layout},
    {"stat", "[--json]", "counters and the cost of management", command_stat},
    {"why", "ADDRESS", "who named a physical address, who owns it", command_why},
    {"alloc", "COUNT [align=N] [below=ADDRESS] [node=N] [zone=NAME] [at=ADDRESS] [zeroed]",
     "allocate COUNT frames of 4 KiB, aligned to N frames", command_alloc},
    {"free", "ADDRESS COUNT", "give frames back", command_free},
    {"owners", "[ADDRESS] [--json]", "what frames are used for, where they were allocated; or one frame", command_owners},
    {"selftest", "[SUITE]", "run the self-tests (KTAP)", command_selftest},
    {"bench", "[empty|full|checkerboard|sparse|halves|chunks|random]…",
     "instructions per operation and at worst, in these states of memory", command_bench},
    {"fault", "read|write|exec|rodata|illegal|breakpoint|stack|panic",
     "provoke a fault (most end the machine)", command_fault},
    {"poweroff", "", "end the machine", command_poweroff},
    {NULL, NULL, NULL, NULL},
};

static const struct command *find(const char *name)
{
    for (const struct command *c = monitor_commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

bool usage(char **argv)
{
    const struct command *c = find(argv[0]);
    kprintf("usage: %s %s\n", c->name, c->usage);
    return false;
}

bool only_json(int argc, char **argv, bool *json)
{
    *json = argc == 2 && strcmp(argv[1], "--json") == 0;
    return argc == 1 || *json || usage(argv);
}

static bool command_help(int argc, char **argv)
{
    if (argc > 1) {
        const struct command *c = find(argv[1]);
        if (c == NULL) {
            kprintf("help: no such command: %s\n", argv[1]);
            return false;
        }
        kprintf("%s %s\n    %s\n", c->name, c->usage, c->help);
        return true;
    }
    for (const struct command *c = monitor_commands; c->name != NULL; c++)
        kprintf("  %-10s %s\n", c->name, c->help);
    kprintf("Numbers: decimal or 0x…, with K, M, G or T behind. `help COMMAND` shows its arguments.\n");
    return true;
}

static bool command_poweroff(int argc, char **argv)
{
    if (argc != 1)
        return usage(argv);
    monitor_finish();
    return true;
}
