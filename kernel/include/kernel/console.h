/* SPDX-License-Identifier: MIT
 *
 * Consoles and the kernel's text output. A console is a byte sink and source; drivers/console has one file
 * per part. kprintf keeps everything in a ring as well, so that what was printed before there was a console
 * appears as soon as there is one.
 */
#ifndef KERNEL_CONSOLE_H
#define KERNEL_CONSOLE_H

#include <stdarg.h>
#include <mm/types.h>

struct console_desc;

struct console {
    const char *name;
    /* put is called under kprintf's lock; get by one CPU at a time, perhaps during a put. */
    void (*put)(struct console *console, char c);
    int (*get)(struct console *console); /* -1: nothing is waiting */
    volatile void *base;
    uint16_t port;
    uint8_t reg_shift, reg_width;
    bool stuck; /* it had no room for long: drivers/console/wait.h */
};

/* Each driver fills *console from a description whose registers are mapped at base (NULL with I/O ports).
 * ERR_NOT_FOUND: the part does not answer, or not as it must to be of use; *console is left as it was. */
MUST_CHECK status_t ns16550_init(struct console *console, const struct console_desc *desc, volatile void *base);
MUST_CHECK status_t pl011_init(struct console *console, const struct console_desc *desc, volatile void *base);
MUST_CHECK status_t sifive_init(struct console *console, const struct console_desc *desc,
                                volatile void *base);
MUST_CHECK status_t cadence_init(struct console *console, const struct console_desc *desc,
                                 volatile void *base);
MUST_CHECK status_t sbi_console_init(struct console *console);

/* Output goes to console from now on; what the ring holds and no console has shown is written first. */
void console_use(struct console *console);
const struct console *console_current(void);

/* A byte from the console, or -1. */
int console_poll(void);

/* One call is one uninterrupted piece of output. Conversions: % d i u x X o c s p, flags 0 - space + #, width
 * and precision (also *), lengths hh h l ll z j t. Any context. */
void kprintf(const char *format, ...) PRINTF(1, 2);
void kvprintf(const char *format, va_list args);

/* In a trap on a CPU that may hold the output lock: from now on output is unlocked. */
void console_break_lock(void);

#endif
