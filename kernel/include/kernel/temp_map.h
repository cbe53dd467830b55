/* SPDX-License-Identifier: MIT
 *
 * Temporary maps: how the kernel reaches memory that the direct map does not hold (zones HighMem and Device, and
 * Movable beyond the direct map).
 */
#ifndef KERNEL_TEMP_MAP_H
#define KERNEL_TEMP_MAP_H

#include <mm/types.h>

struct percpu;

/* Maps that a CPU can hold at the same time: a thread four, an interrupt in it two, a trap in that two. */
#define TEMP_SLOTS 8

/* The frame's first byte, readable and writable, until temp_unmap. A directly mapped frame costs nothing: its
 * direct address is returned. frame: RAM of the memory map (no device registers). Cannot fail; one map more than
 * TEMP_SLOTS stops the machine.
 *
 * Only the CPU that mapped may use the address, and it unmaps innermost first, before the context ends in which
 * it mapped. Any context, interrupts masked or not, that stays on its CPU meanwhile. Takes no lock. */
void *temp_map(pfn_t frame);

/* page: as temp_map returned it. Afterwards the address faults, unless it was direct. */
void temp_unmap(void *page);

/* Makes the page tables of a CPU's window, before the CPU maps anything. ERR_NO_MEMORY. Boot CPU. */
MUST_CHECK status_t temp_map_init(struct percpu *cpu);

/* NULL, or what is broken if no CPU should hold a map at this moment. */
const char *temp_map_check(void);

#endif
