/* SPDX-License-Identifier: MIT
 *
 * The controller beside the four cores of BCM2836 and BCM2837 (Raspberry Pi 2 and 3), which have no GIC
 * (Broadcom, "ARM Quad A7 core", revision 3.4). Each core has words of its own: which of its timers interrupt
 * it, which of its mailboxes, and what is pending. A mailbox is 32 bits that others set and the core clears;
 * the first one of each core serves as the interrupt between CPUs.
 *
 * Timers are numbered 16 – 19 here, in the order of their bits: secure, non-secure, hypervisor, virtual.
 *
 * The older controller of all other devices (BCM2835 ARM Peripherals, chapter 7) raises one more interrupt on
 * core 0. No driver here wants it, so what the firmware left enabled there is turned off.
 *
 * Bound: an interrupt that nobody claims is taken UNCLAIMED_MAX times in a row, then the kernel stops.
 */
#include <drivers/mmio.h>
#include <arch/hal.h>
#include <boot/machine.h>
#include <kernel/address_space.h>
#include <kernel/console.h>
#include <kernel/percpu.h>
#include <mm/port.h>

#include "irqchip.h"

#define TIMER_CONTROL(core) (0x40 + 4 * (core))
#define MAILBOX_CONTROL(core) (0x50 + 4 * (core))
#define PENDING(core) (0x60 + 4 * (core))
#define MAILBOX_SET(core) (0x80 + 16 * (core))
#define MAILBOX_CLEAR(core) (0xc0 + 16 * (core))
#define REGISTERS_SIZE 0x100

#define DEVICES_FIQ 0x0c
#define DEVICES_DISABLE1 0x1c
#define DEVICES_DISABLE2 0x20
#define DEVICES_DISABLE_BASIC 0x24
#define DEVICES_SIZE 0x28

#define CORES 4
#define TIMERS 4
#define FIRST_TIMER IRQ_FIRST_PRIVATE
#define VIRTUAL_TIMER 3
#define UNCLAIMED_MAX 1000
#define PENDING_TIMERS ((1u << TIMERS) - 1)
#define PENDING_MAILBOX (1u << 4)

static volatile void *registers;
static unsigned unclaimed[CORES]; /* in a row */

/* The core is the lowest affinity; above it a BCM2836 has a cluster id. */
static unsigned core_of(const struct percpu *cpu)
{
    return cpu->hw_id & 0xff;
}

static void silence_devices(volatile void *devices)
{
    mmio_write32(devices, DEVICES_FIQ, 0);
    mmio_write32(devices, DEVICES_DISABLE1, UINT32_MAX);
    mmio_write32(devices, DEVICES_DISABLE2, UINT32_MAX);
    mmio_write32(devices, DEVICES_DISABLE_BASIC, UINT32_MAX);
}

static status_t bcm2836_init(const struct platform *platform)
{
    volatile void *devices = NULL;
    registers = mmio_map(paddr(platform->bcm2836), REGISTERS_SIZE);
    if (platform->bcm2836_devices != 0)
        devices = mmio_map(paddr(platform->bcm2836_devices), DEVICES_SIZE);
    if (registers == NULL || (devices == NULL && platform->bcm2836_devices != 0)) {
        kprintf("bcm2836: its registers cannot be mapped\n");
        return ERR_NO_MEMORY;
    }
    if (devices != NULL)
        silence_devices(devices);
    return OK;
}

static status_t bcm2836_init_cpu(struct percpu *cpu)
{
    unsigned core = core_of(cpu);
    if (core >= CORES)
        return ERR_NOT_FOUND;
    mmio_write32(registers, TIMER_CONTROL(core), 0);
    mmio_write32(registers, MAILBOX_CONTROL(core), 0);
    mmio_write32(registers, MAILBOX_CLEAR(core), UINT32_MAX);
    return OK;
}

static void bcm2836_enable(uint32_t number)
{
    unsigned core = core_of(hal_percpu());
    if (number == IRQ_IPI)
        mmio_write32(registers, MAILBOX_CONTROL(core), 1);
    else if (number >= FIRST_TIMER && number < FIRST_TIMER + TIMERS)
        mmio_write32(registers, TIMER_CONTROL(core), 1u << (number - FIRST_TIMER));
}

/* The mailbox is emptied before its handler looks, so what is sent from then on interrupts again. */
static uint32_t bcm2836_acknowledge(void)
{
    unsigned core = core_of(hal_percpu());
    uint32_t pending = mmio_read32(registers, PENDING(core));
    if ((pending & (PENDING_MAILBOX | PENDING_TIMERS)) != 0)
        unclaimed[core] = 0;
    else if (++unclaimed[core] == UNCLAIMED_MAX)
        port_panic("bcm2836: core %u has an interrupt without end that nobody claims (pending %#x)", core,
                   pending);
    if (pending & PENDING_MAILBOX) {
        mmio_write32(registers, MAILBOX_CLEAR(core), UINT32_MAX);
        cpu_dsb();
        return IRQ_IPI;
    }
    return pending & PENDING_TIMERS ? FIRST_TIMER + (uint32_t)__builtin_ctz(pending) : IRQ_NONE;
}

/* A timer's interrupt ends with its cause. */
static void bcm2836_end(uint32_t acknowledged)
{
    (void)acknowledged;
}

static void bcm2836_send_ipi(const struct percpu *target)
{
    cpu_dsb();
    mmio_write32(registers, MAILBOX_SET(core_of(target)), 1);
}

const struct irqchip bcm2836_chip = {
    .timer = FIRST_TIMER + VIRTUAL_TIMER,
    .private_end = FIRST_TIMER + TIMERS,
    .init = bcm2836_init,
    .init_cpu = bcm2836_init_cpu,
    .enable = bcm2836_enable,
    .acknowledge = bcm2836_acknowledge,
    .end = bcm2836_end,
    .send_ipi = bcm2836_send_ipi,
};
