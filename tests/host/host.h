/* SPDX-License-Identifier: MIT
 *
 * The hosted machine: a piece of the host's memory that plays physical memory at HOST_PHYS_BASE, threads that
 * play CPUs, and an observer for TLB flushes.
 */
#ifndef HOST_H
#define HOST_H

#include <mm/types.h>

/* The border between DMA32 and Normal lies inside. */
#define HOST_PHYS_BASE (GIB(4) - MIB(64))
#define HOST_PHYS_SIZE MIB(256)
#define HOST_CPUS      4

extern uint8_t *host_arena;   /* HOST_PHYS_SIZE bytes once host_memory_init has run */
extern uint8_t *host_frame_0; /* outside the arena; NULL: there is none */
void host_memory_init(void);

/* Says which CPU the calling thread plays. */
void host_set_cpu(unsigned cpu);

/* Each port_ticks() adds this; 0: it is the host's clock. */
extern uint64_t host_tick_step, host_ticks;

/* Called for every port_tlb_flush; NULL: nobody. */
extern void (*host_tlb_observer)(vaddr_t start, uint64_t size);

/* Called instead of filling a frame with zeroes; NULL: the frame lies in the arena. */
extern void (*host_zero_observer)(pfn_t frame);

#endif
