/* SPDX-License-Identifier: MIT
 *
 * Cadence's UART as Xilinx builds it in (Zynq UltraScale+ TRM UG1085, chapter 21), polled. Clock and divisor
 * stay as the firmware set them; transmitter and receiver, which are off after a reset, are turned on.
 */
#include <boot/machine.h>
#include <drivers/mmio.h>
#include <kernel/console.h>

#include "wait.h"

#define UART_CR 0x00
#define UART_IDR 0x0c /* a bit set disables an interrupt */
#define UART_SR 0x2c
#define UART_FIFO 0x30

#define CR_RX_ENABLE (1u << 2)
#define CR_RX_DISABLE (1u << 3)
#define CR_TX_ENABLE (1u << 4)
#define CR_TX_DISABLE (1u << 5)
#define SR_RX_EMPTY (1u << 1)
#define SR_TX_FULL (1u << 4)
#define ALL_INTERRUPTS 0x1fffu

static bool has_room(const struct console *console)
{
    return (mmio_read32(console->base, UART_SR) & SR_TX_FULL) == 0;
}

static void cadence_put(struct console *console, char c)
{
    console_wait(console, has_room);
    mmio_write32(console->base, UART_FIFO, (uint8_t)c);
}

static int cadence_get(struct console *console)
{
    if (mmio_read32(console->base, UART_SR) & SR_RX_EMPTY)
        return -1;
    return (int)(mmio_read32(console->base, UART_FIFO) & 0xff);
}

/* Where nothing answers, all bits are set. */
status_t cadence_init(struct console *console, const struct console_desc *desc, volatile void *base)
{
    (void)desc;
    if (base == NULL || mmio_read32(base, UART_SR) == UINT32_MAX)
        return ERR_NOT_FOUND;
    *console = (struct console){.name = "cadence", .put = cadence_put, .get = cadence_get, .base = base};
    uint32_t control = mmio_read32(base, UART_CR) & ~(CR_RX_DISABLE | CR_TX_DISABLE);
    mmio_write32(base, UART_IDR, ALL_INTERRUPTS);
    mmio_write32(base, UART_CR, control | CR_RX_ENABLE | CR_TX_ENABLE);
    return OK;
}
