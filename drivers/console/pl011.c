/* SPDX-License-Identifier: MIT
 *
 * Arm PrimeCell UART (PL011, DDI 0183) and the SBSA's subset of it, polled. What the firmware set up is kept:
 * the line is programmed only if the UART is off or a baud rate is asked for.
 */
#include <drivers/mmio.h>
#include <boot/machine.h>
#include <kernel/console.h>

#include "wait.h"

#define UART_DR 0x000
#define UART_FR 0x018
#define UART_IBRD 0x024
#define UART_FBRD 0x028
#define UART_LCRH 0x02c
#define UART_CR 0x030
#define UART_IMSC 0x038
#define UART_CELL_ID 0xff0 /* four words, one byte each */

#define FR_BUSY (1u << 3)
#define FR_RX_EMPTY (1u << 4)
#define FR_TX_FULL (1u << 5)
#define LCRH_8BIT_FIFO (3u << 5 | 1u << 4)
#define CR_ON (1u << 0 | 1u << 8 | 1u << 9) /* UART, transmitter, receiver */

/* Every PrimeCell identifies itself so; the class in bits 15 – 12 differs between makers. */
#define CELL_ID 0xb105000du
#define CELL_ID_MASK 0xffff0fffu

static bool has_room(const struct console *console)
{
    return (mmio_read32(console->base, UART_FR) & FR_TX_FULL) == 0;
}

static bool is_idle(const struct console *console)
{
    return (mmio_read32(console->base, UART_FR) & FR_BUSY) == 0;
}

static void pl011_put(struct console *console, char c)
{
    console_wait(console, has_room);
    mmio_write32(console->base, UART_DR, (uint8_t)c);
}

static int pl011_get(struct console *console)
{
    if (mmio_read32(console->base, UART_FR) & FR_RX_EMPTY)
        return -1;
    return mmio_read32(console->base, UART_DR) & 0xff;
}

static bool answers(const volatile void *base)
{
    uint32_t id = 0;
    for (unsigned i = 0; i < 4; i++)
        id |= (mmio_read32(base, UART_CELL_ID + 4 * i) & 0xff) << 8 * i;
    return (id & CELL_ID_MASK) == CELL_ID;
}

/* The divisor is clock / (16 × baud) with six binary places; it takes effect with the write to LCRH. */
static void set_line(struct console *console, bool set_baud, uint32_t clock, uint32_t baud)
{
    volatile void *base = console->base;
    console_wait(console, is_idle);
    mmio_write32(base, UART_CR, 0);
    if (set_baud) {
        uint64_t divisor = (UINT64_C(4) * clock + baud / 2) / baud;
        mmio_write32(base, UART_IBRD, (uint32_t)(divisor >> 6));
        mmio_write32(base, UART_FBRD, divisor & 63);
    }
    mmio_write32(base, UART_LCRH, LCRH_8BIT_FIFO);
    mmio_write32(base, UART_CR, CR_ON);
}

status_t pl011_init(struct console *console, const struct console_desc *desc, volatile void *base)
{
    if (base == NULL || !answers(base))
        return ERR_NOT_FOUND;
    *console = (struct console){.name = "pl011", .put = pl011_put, .get = pl011_get, .base = base};
    mmio_write32(base, UART_IMSC, 0);
    bool set_baud = desc->clock != 0 && desc->baud != 0;
    if (set_baud || (mmio_read32(base, UART_CR) & CR_ON) != CR_ON)
        set_line(console, set_baud, desc->clock, desc->baud);
    return OK;
}
