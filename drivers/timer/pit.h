/* SPDX-License-Identifier: MIT
 *
 * Channel 0 of the PC's interval timer (8254), whose gate is always open: a clock of known frequency to
 * measure others by. It is not used for interrupts; its line (IRQ 0) has to be masked.
 */
#ifndef DRIVERS_PIT_H
#define DRIVERS_PIT_H

#include <mm/types.h>

#define PIT_HZ 1193182
#define PIT_TICKS_MAX 0xffff /* 55 ms */
#define PIT_OVERRUN UINT32_MAX

/* Starts counting from 0. */
void pit_start(void);

/* Ticks since then. PIT_OVERRUN: more than PIT_TICKS_MAX, or the machine has no such part. */
uint32_t pit_ticks(void);

#endif
