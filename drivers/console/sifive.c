/* SPDX-License-Identifier: MIT
 *
 * SiFive's UART (FU540-C000 manual, chapter 13), polled. The divisor stays as the firmware set it.
 */
#include <boot/machine.h>
#include <drivers/mmio.h>
#include <kernel/console.h>

#include "wait.h"

#define UART_TXDATA 0x00
#define UART_RXDATA 0x04
#define UART_TXCTRL 0x08
#define UART_RXCTRL 0x0c
#define UART_IE 0x10

#define TXDATA_FULL (1u << 31)
#define RXDATA_EMPTY (1u << 31)
#define CTRL_ENABLE (1u << 0)

static bool has_room(const struct console *console)
{
    return (mmio_read32(console->base, UART_TXDATA) & TXDATA_FULL) == 0;
}

static void sifive_put(struct console *console, char c)
{
    console_wait(console, has_room);
    mmio_write32(console->base, UART_TXDATA, (uint8_t)c);
}

/* One read both tells whether there is a byte and takes it. */
static int sifive_get(struct console *console)
{
    uint32_t data = mmio_read32(console->base, UART_RXDATA);
    return data & RXDATA_EMPTY ? -1 : (int)(data & 0xff);
}

/* Where nothing answers, all bits are set. */
status_t sifive_init(struct console *console, const struct console_desc *desc, volatile void *base)
{
    (void)desc;
    if (base == NULL || mmio_read32(base, UART_TXCTRL) == UINT32_MAX)
        return ERR_NOT_FOUND;
    *console = (struct console){.name = "sifive", .put = sifive_put, .get = sifive_get, .base = base};
    mmio_write32(base, UART_IE, 0);
    mmio_write32(base, UART_TXCTRL, mmio_read32(base, UART_TXCTRL) | CTRL_ENABLE);
    mmio_write32(base, UART_RXCTRL, mmio_read32(base, UART_RXCTRL) | CTRL_ENABLE);
    return OK;
}
