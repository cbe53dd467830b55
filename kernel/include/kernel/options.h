/* SPDX-License-Identifier: MIT
 *
 * The kernel's command line: options separated by blanks, then optionally " -- " and a monitor script.
 *
 *   paging=sv39|sv48|sv57|4|5   use at most this paging mode
 *   cpus=N                      start at most N CPUs
 *   qemu-exit                   end with the emulator's exit device, so that its status tells the result
 */
#ifndef KERNEL_OPTIONS_H
#define KERNEL_OPTIONS_H

#include <mm/types.h>

struct options {
    unsigned paging_levels; /* 0: the deepest the CPU offers */
    unsigned cpus;          /* 0: all */
    bool qemu_exit;
    const char *script;     /* NULL: interactive */
};
extern struct options options;

/* Reads line, which stays in use, into options. What is not understood is said and left out. */
void options_parse(char *line);

#endif
