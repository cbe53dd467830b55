/* SPDX-License-Identifier: MIT
 *
 * 16550-compatible UARTs, polled, on I/O ports or memory-mapped registers (PC16550D datasheet, table II). Line
 * settings stay as the firmware left them unless the description names clock and baud rate.
 *
 * Two relatives: Synopsys' DW_apb_uart ignores a write to the line control register while a byte is on its
 * way, and its scratch register is an option; the BCM2835's auxiliary UART (BCM2835 ARM Peripherals, 2.2) has
 * other divisors and needs nothing but its interrupts off.
 */
#include <arch/hal.h>
#include <boot/machine.h>
#include <drivers/mmio.h>
#include <kernel/console.h>

#include "wait.h"

enum { REG_DATA = 0, REG_IER = 1, REG_FCR = 2, REG_LCR = 3, REG_MCR = 4, REG_LSR = 5, REG_SCRATCH = 7 };
enum {
    LSR_DATA = 0x01,
    LSR_ROOM = 0x20,
    FCR_ENABLE = 0x01,
    FCR_CLEAR = 0x06,
    LCR_8N1 = 0x03,
    LCR_DLAB = 0x80,
    MCR_DTR_RTS = 0x03
};

#define LCR_TRIES 1000

static uint8_t reg_read(const struct console *console, unsigned reg)
{
    if (console->base == NULL)
        return hal_port_read8((uint16_t)(console->port + reg));
    uint64_t offset = (uint64_t)reg << console->reg_shift;
    switch (console->reg_width) {
    case 4:
        return (uint8_t)mmio_read32(console->base, offset);
    case 2:
        return (uint8_t)mmio_read16(console->base, offset);
    default:
        return mmio_read8(console->base, offset);
    }
}

static void reg_write(const struct console *console, unsigned reg, uint8_t value)
{
    uint64_t offset = (uint64_t)reg << console->reg_shift;
    if (console->base == NULL)
        hal_port_write8((uint16_t)(console->port + reg), value);
    else if (console->reg_width == 4)
        mmio_write32(console->base, offset, value);
    else if (console->reg_width == 2)
        mmio_write16(console->base, offset, value);
    else
        mmio_write8(console->base, offset, value);
}

static bool has_room(const struct console *console)
{
    return (reg_read(console, REG_LSR) & LSR_ROOM) != 0;
}

static void ns16550_put(struct console *console, char c)
{
    console_wait(console, has_room);
    reg_write(console, REG_DATA, (uint8_t)c);
}

static int ns16550_get(struct console *console)
{
    return reg_read(console, REG_LSR) & LSR_DATA ? reg_read(console, REG_DATA) : -1;
}

/* A missing part reads as all ones, or does not keep its scratch register if that is a must. */
static bool answers(const struct console *console, enum console_kind kind)
{
    if (reg_read(console, REG_LSR) == 0xff)
        return false;
    if (kind != CONSOLE_NS16550)
        return true;
    reg_write(console, REG_SCRATCH, 0x5a);
    return reg_read(console, REG_SCRATCH) == 0x5a;
}

/* A busy part is made idle by emptying its buffers. False: it stays busy. */
static bool set_lcr(const struct console *console, uint8_t value)
{
    for (int tries = 0; tries < LCR_TRIES; tries++) {
        reg_write(console, REG_LCR, value);
        if (reg_read(console, REG_LCR) == value)
            return true;
        reg_write(console, REG_FCR, FCR_ENABLE | FCR_CLEAR);
        (void)reg_read(console, REG_DATA);
    }
    return false;
}

/* A rate that the 16-bit divisor cannot give is left alone, and so is a part that does not let go of its
 * settings. False: it keeps the divisor in the place of its data, so nothing can be sent. */
static bool set_line(const struct console *console, const struct console_desc *desc)
{
    uint64_t divisor = desc->clock / (UINT64_C(16) * desc->baud);
    if (divisor == 0 || divisor > UINT16_MAX)
        return true;
    if (!set_lcr(console, LCR_DLAB | LCR_8N1))
        return true;
    reg_write(console, REG_DATA, (uint8_t)divisor);
    reg_write(console, REG_IER, (uint8_t)(divisor >> 8));
    return set_lcr(console, LCR_8N1);
}

status_t ns16550_init(struct console *console, const struct console_desc *desc, volatile void *base)
{
    if (base == NULL && (!desc->io_port || !hal_has_ports))
        return ERR_NOT_FOUND;
    const struct console part = {.name = "ns16550",
                                 .put = ns16550_put,
                                 .get = ns16550_get,
                                 .base = base,
                                 .port = (uint16_t)desc->base,
                                 .reg_shift = (uint8_t)desc->reg_shift,
                                 .reg_width = (uint8_t)desc->reg_width};
    if (!answers(&part, desc->kind))
        return ERR_NOT_FOUND;
    reg_write(&part, REG_IER, 0);
    if (desc->kind != CONSOLE_BCM2835_AUX) {
        if (desc->clock != 0 && desc->baud != 0 && !set_line(&part, desc))
            return ERR_NOT_FOUND;
        reg_write(&part, REG_FCR, FCR_ENABLE);
        reg_write(&part, REG_MCR, MCR_DTR_RTS);
    }
    *console = part;
    return OK;
}
