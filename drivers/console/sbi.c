/* SPDX-License-Identifier: MIT
 *
 * The console of the SBI firmware: the debug console extension (SBI 2.0), or where that is missing the legacy
 * calls. Needs neither a description nor a mapping.
 */
#include <arch/hal.h>
#include <arch/sbi.h>
#include <kernel/address_space.h>
#include <kernel/console.h>

static void legacy_put(struct console *console, char c)
{
    (void)console;
    sbi_call(SBI_LEGACY_PUTCHAR, 0, (uint8_t)c, 0, 0);
}

static int legacy_get(struct console *console)
{
    (void)console;
    int64_t c = sbi_call(SBI_LEGACY_GETCHAR, 0, 0, 0, 0).error;
    return c < 0 ? -1 : (int)(c & 0xff);
}

static void debug_put(struct console *console, char c)
{
    (void)console;
    sbi_call(SBI_CONSOLE, SBI_CONSOLE_WRITE_BYTE, (uint8_t)c, 0, 0);
}

/* The firmware writes to a physical address, low and high word; never called at once from two CPUs. */
static int debug_get(struct console *console)
{
    static volatile uint8_t byte;
    (void)console;
    struct sbi_result read = sbi_call(SBI_CONSOLE, SBI_CONSOLE_READ, 1, image_phys(&byte).v, 0);
    return read.error == 0 && read.value == 1 ? byte : -1;
}

status_t sbi_console_init(struct console *console)
{
    if (sbi_has(SBI_CONSOLE))
        *console = (struct console){.name = "sbi", .put = debug_put, .get = debug_get};
    else
        *console = (struct console){.name = "sbi (legacy)", .put = legacy_put, .get = legacy_get};
    return OK;
}
