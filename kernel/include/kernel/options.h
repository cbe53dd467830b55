/* SPDX-License-Identifier: MIT
 *
 * The kernel's command line: options separated by blanks, then optionally " -- " and a monitor script.
 *
 *   paging=sv39|sv48|sv57|4|5   use at most this paging mode
 *   cpus=N                      start at most N CPUs
 *   directmap=SIZE              map SIZE bytes of RAM, from the lowest on; the rest becomes zone HighMem
 *   movable=SIZE                the highest SIZE bytes of RAM become zone Movable
 *   threshold=N                 runs of N frames and more start a 2 MiB chunk of their own (2 … 512, default 512)
 *   qemu-exit                   end with the emulator's exit device, so that its status tells the result
 */
#ifndef KERNEL_OPTIONS_H
#define KERNEL_OPTIONS_H

#include <mm/types.h>

struct options {
    unsigned paging_levels; /* 0: the deepest the CPU offers */
    unsigned cpus;          /* 0: all */
    uint64_t directmap;     /* 0: all that the mode's direct map has room for */
    uint64_t movable;       /* 0: no such zone */
    uint64_t threshold;     /* frames; 0: as the allocator has it */
    bool qemu_exit;
    const char *script;     /* NULL: interactive */
};
extern struct options options;

/* Reads line, which stays in use, into options. What is not understood is said and left out. */
void options_parse(char *line);

#endif
