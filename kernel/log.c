/* SPDX-License-Identifier: MIT
 *
 * Text output: one lock, one ring, one console. The ring keeps the latest LOG_BYTES; what was written before a
 * console was known is shown when one comes.
 */
#include <kernel/console.h>
#include <mm/spinlock.h>
#include <stdio.h>

#define LOG_BYTES 16384u

static struct {
    struct spinlock lock;
    _Atomic bool unlocked; /* a trap broke the lock: order no longer matters */
    struct console *console;
    uint64_t written, shown; /* bytes since boot; written - shown ≤ LOG_BYTES are waiting */
    char ring[LOG_BYTES];
} out;

static void show(char c)
{
    if (c == '\n')
        out.console->put(out.console, '\r');
    out.console->put(out.console, c);
}

static void put_log(void *context, char c)
{
    (void)context;
    out.ring[out.written++ % LOG_BYTES] = c;
    if (out.console != NULL) {
        show(c);
        out.shown = out.written;
    }
}

/* False: the lock does not count any more. */
static bool lock(uint64_t *irq)
{
    bool locked = !out.unlocked;
    if (locked)
        *irq = spin_lock(&out.lock);
    return locked;
}

void kvprintf(const char *format, va_list args)
{
    uint64_t irq = 0;
    bool locked = lock(&irq);
    format_text(put_log, NULL, format, args);
    if (locked)
        spin_unlock(&out.lock, irq);
}

void kprintf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    kvprintf(format, args);
    va_end(args);
}

void console_use(struct console *console)
{
    uint64_t irq = 0;
    bool locked = lock(&irq);
    out.console = console;
    if (out.written - out.shown > LOG_BYTES)
        out.shown = out.written - LOG_BYTES;
    while (out.shown < out.written)
        show(out.ring[out.shown++ % LOG_BYTES]);
    if (locked)
        spin_unlock(&out.lock, irq);
}

const struct console *console_current(void)
{
    return out.console;
}

int console_poll(void)
{
    return out.console == NULL ? -1 : out.console->get(out.console);
}

void console_break_lock(void)
{
    out.unlocked = true;
}
