/* SPDX-License-Identifier: MIT
 *
 * What the kernel gives back when memory is scarce: free objects of slab caches.
 */
#ifndef KERNEL_RECLAIM_H
#define KERNEL_RECLAIM_H

#include <stdbool.h>

/* Registers the kernel's reclaimer (mm/frame_pressure.h), or removes it: tests name reclaimers of their own. Off at first.
 * Not from interrupts; holds no locks. */
void reclaim_enable(bool on);

/* What a CPU does that has nothing else to do: reclaims where that is due, gives back what it was asked for. The same. */
void reclaim_rest(void);

#endif
