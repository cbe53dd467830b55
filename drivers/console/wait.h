/* SPDX-License-Identifier: MIT
 *
 * How all drivers of consoles wait for their part. Bound: PUT_SPINS looks, then the byte is lost rather than
 * hanging the machine. A line that did not move is stuck: from then on each byte takes one look, until one
 * finds room again, so that a whole log of bytes ends as well.
 */
#ifndef DRIVERS_CONSOLE_WAIT_H
#define DRIVERS_CONSOLE_WAIT_H

#include <arch/hal.h>
#include <kernel/console.h>

/* A character takes 1 ms at 9600 baud; a read of a device register at least some 10 ns. */
#define PUT_SPINS 1000000

static inline void console_wait(struct console *console, bool (*is_ready)(const struct console *console))
{
    unsigned looks = console->stuck ? 1 : PUT_SPINS;
    console->stuck = !is_ready(console);
    for (unsigned i = 1; i < looks && console->stuck; i++) {
        hal_cpu_relax();
        console->stuck = !is_ready(console);
    }
}

#endif
