/* SPDX-License-Identifier: MIT
 *
 * The local APIC of an x86 CPU (Intel SDM volume 3, chapter 10): interrupts between CPUs, starting them, and
 * a timer of its own. Registers are reached in memory (xAPIC, ids up to 254) or as MSRs (x2APIC, 32-bit ids);
 * x2APIC is used if the firmware turned it on or an id demands it.
 */
#ifndef DRIVERS_LAPIC_H
#define DRIVERS_LAPIC_H

#include <mm/types.h>

/* Maps the registers where the CPU says they are and chooses the mode for ids up to max_id.
 * ERR_UNSUPPORTED: this CPU has no local APIC or it is disabled for good. ERR_NO_MEMORY: no room for its
 * registers. Boot CPU, once. */
MUST_CHECK status_t lapic_init(uint64_t max_id);

/* Makes the calling CPU ready to take interrupts; its timer is off. */
void lapic_init_cpu(void);

/* Whether a CPU can be addressed in the chosen mode. */
bool lapic_reaches(uint64_t id);

/* What lapic_send delivers: an interrupt with a vector; the two steps that start a CPU at frame `page`. */
#define LAPIC_FIXED(vector) (0x4000u | (vector))
#define LAPIC_INIT 0x4500u
#define LAPIC_STARTUP(page) (0x4600u | (page))

/* Stores before this are seen by the target. lapic_reaches(id). Any context. */
void lapic_send(uint64_t id, uint32_t command);

/* Ends the interrupt being handled. */
void lapic_end(void);

/* One interrupt after `ticks` (≥ 1) of this CPU's timer; what is left of them. */
void lapic_timer_start(uint32_t ticks);
uint32_t lapic_timer_left(void);

#endif
