/* SPDX-License-Identifier: MIT
 *
 * Arm's Generic Interrupt Controller, versions 2 and 3 (and 4, which is 3 for us).
 *
 * Version 2 (IHI 0048) is driven by memory-mapped registers: a distributor whose first words are banked per
 * CPU, and one CPU interface. Version 3 (IHI 0069) has a redistributor frame per CPU, found by its affinity,
 * and system registers in place of the CPU interface; affinity routing lets it pass eight CPUs.
 *
 * All interrupts that are used get one priority; nothing preempts. Shared peripheral interrupts stay off.
 */
#include <drivers/mmio.h>
#include <arch/hal.h>
#include <boot/machine.h>
#include <kernel/address_space.h>
#include <kernel/console.h>
#include <kernel/percpu.h>

#include "irqchip.h"

/* Distributor; a version 3 redistributor has the same layout for private interrupts in its second 64 KiB. */
#define GICD_CTLR 0x000
#define GICD_IGROUPR 0x080
#define GICD_ISENABLER 0x100
#define GICD_ICENABLER 0x180
#define GICD_IPRIORITYR 0x400
#define GICD_ITARGETSR 0x800
#define GICD_SGIR 0xf00
#define GICD_SIZE_V2 0x1000
#define GICD_SIZE_V3 0x10000

#define GICD_CTLR_ENABLE (1u << 0)
#define GICD_CTLR_ENABLE_GROUP1 (1u << 1) /* as seen with affinity routing on */
#define GICD_CTLR_AFFINITY (1u << 4)
#define GICD_CTLR_WRITE_PENDING (1u << 31)

/* Version 2 CPU interface. */
#define GICC_CTLR 0x00
#define GICC_PMR 0x04
#define GICC_IAR 0x0c
#define GICC_EOIR 0x10
#define GICC_SIZE 0x1000 /* as far as it is used */

/* Version 3 redistributor. */
#define GICR_TYPER 0x008
#define GICR_WAKER 0x014
#define GICR_PRIVATE 0x10000 /* SGI_base */
#define GICR_FRAME 0x20000
#define GICR_FRAME_V4 0x40000
#define GICR_TYPER_VLPIS (1u << 1)
#define GICR_TYPER_LAST (1u << 4)
#define GICR_WAKER_SLEEP (1u << 1)
#define GICR_WAKER_ASLEEP (1u << 2)

#define PRIVATE_INTERRUPTS 32

#define PRIORITY 0xa0a0a0a0u /* of four interrupts */
#define PRIORITY_MASK 0xf0   /* lets PRIORITY through */

/* Polls of a bit that hardware clears within microseconds. */
#define POLL_LIMIT 1000000

static struct {
    uint32_t version;
    volatile void *dist;
    volatile void *cpu; /* version 2: CPU interface; 3: redistributors */
    uint64_t cpu_size;
} gic;

/* False if mask stays set. */
static bool wait_clear(const volatile void *base, uint64_t offset, uint32_t mask)
{
    for (unsigned i = 0; i < POLL_LIMIT; i++) {
        if ((mmio_read32(base, offset) & mask) == 0)
            return true;
    }
    return false;
}

/* ---- Private interrupts: the same in both versions, but for where their registers are ---------------- */

static volatile void *redistributor(const struct percpu *cpu)
{
    uint32_t affinity = (uint32_t)((cpu->hw_id >> 32 & 0xff) << 24 | (cpu->hw_id & 0xffffff));
    for (uint64_t at = 0; at + GICR_FRAME <= gic.cpu_size;) {
        volatile void *frame = (volatile uint8_t *)gic.cpu + at;
        uint32_t type = mmio_read32(frame, GICR_TYPER);
        if (mmio_read32(frame, GICR_TYPER + 4) == affinity)
            return frame;
        if (type & GICR_TYPER_LAST)
            return NULL;
        at += (type & GICR_TYPER_VLPIS) ? GICR_FRAME_V4 : GICR_FRAME;
    }
    return NULL;
}

static void private_reset(struct percpu *cpu, volatile void *base)
{
    cpu->port[PORT_GIC_PRIVATE] = (uintptr_t)base;
    mmio_write32(base, GICD_ICENABLER, UINT32_MAX);
    for (unsigned i = 0; i < PRIVATE_INTERRUPTS; i += 4)
        mmio_write32(base, GICD_IPRIORITYR + i, PRIORITY);
}

static void gic_enable(uint32_t number)
{
    mmio_write32((volatile void *)hal_percpu()->port[PORT_GIC_PRIVATE], GICD_ISENABLER, 1u << number);
}

/* ---- Version 2 ---------------------------------------------------------------------------------------- */

/* The banked target registers of private interrupts read as the reader's own bit; a single CPU's may read
 * 0. */
static void v2_init_cpu(struct percpu *cpu)
{
    uint32_t bits = 0;
    for (unsigned i = 0; i < PRIVATE_INTERRUPTS; i += 4)
        bits |= mmio_read32(gic.dist, GICD_ITARGETSR + i);
    bits |= bits >> 16;
    cpu->port[PORT_GIC_TARGET] = (bits | bits >> 8) & 0xff;
    private_reset(cpu, gic.dist);
    mmio_write32(gic.cpu, GICC_PMR, PRIORITY_MASK);
    mmio_write32(gic.cpu, GICC_CTLR, 1);
}

/* ---- Version 3 ---------------------------------------------------------------------------------------- */

static bool v3_init_dist(void)
{
    mmio_write32(gic.dist, GICD_CTLR, 0);
    if (!wait_clear(gic.dist, GICD_CTLR, GICD_CTLR_WRITE_PENDING))
        return false;
    mmio_write32(gic.dist, GICD_CTLR, GICD_CTLR_AFFINITY);
    mmio_write32(gic.dist, GICD_CTLR, GICD_CTLR_AFFINITY | GICD_CTLR_ENABLE_GROUP1);
    return wait_clear(gic.dist, GICD_CTLR, GICD_CTLR_WRITE_PENDING);
}

static status_t v3_init_cpu(struct percpu *cpu)
{
    volatile void *frame = redistributor(cpu);
    if (frame == NULL)
        return ERR_NOT_FOUND;
    mmio_write32(frame, GICR_WAKER, mmio_read32(frame, GICR_WAKER) & ~GICR_WAKER_SLEEP);
    if (!wait_clear(frame, GICR_WAKER, GICR_WAKER_ASLEEP))
        return ERR_NOT_FOUND;
    volatile void *private = (volatile uint8_t *)frame + GICR_PRIVATE;
    mmio_write32(private, GICD_IGROUPR, UINT32_MAX); /* group 1: arrives as IRQ */
    private_reset(cpu, private);

    sysreg_write(icc_sre_el1, sysreg_read(icc_sre_el1) | 1);
    cpu_isb();
    sysreg_write(icc_pmr_el1, PRIORITY_MASK);
    sysreg_write(icc_ctlr_el1, 0); /* end of interrupt also deactivates */
    sysreg_write(icc_igrpen1_el1, 1);
    cpu_isb();
    return OK;
}

/* SGI1R: affinities 3, 2, 1, and within these a bit among the sixteen CPUs of one range of affinity 0. */
static void v3_send(uint64_t hw_id, uint64_t intid)
{
    uint64_t aff0 = hw_id & 0xff, aff1 = hw_id >> 8 & 0xff;
    uint64_t aff2 = hw_id >> 16 & 0xff, aff3 = hw_id >> 32 & 0xff;
    uint64_t range = aff0 >> 4, target = UINT64_C(1) << (aff0 & 15);
    sysreg_write(icc_sgi1r_el1, aff3 << 48 | range << 44 | aff2 << 32 | intid << 24 | aff1 << 16 | target);
    cpu_isb();
}

/* ---- Both --------------------------------------------------------------------------------------------- */

static status_t gic_init(const struct platform *platform)
{
    bool v3 = platform->gic_version >= 3;
    if (platform->gic_version < 2 || platform->gic_dist == 0 || platform->gic_cpu == 0) {
        kprintf("gic: none is described\n");
        return ERR_UNSUPPORTED;
    }
    gic.version = v3 ? 3 : 2;
    gic.cpu_size = v3 ? platform->gic_cpu_size : GICC_SIZE;
    gic.dist = mmio_map(paddr(platform->gic_dist), v3 ? GICD_SIZE_V3 : GICD_SIZE_V2);
    gic.cpu = mmio_map(paddr(platform->gic_cpu), gic.cpu_size);
    if (gic.dist == NULL || gic.cpu == NULL) {
        kprintf("gic: its registers cannot be mapped\n");
        return ERR_NO_MEMORY;
    }
    if (v3 && !v3_init_dist()) {
        kprintf("gic: the distributor does not answer\n");
        return ERR_UNSUPPORTED;
    }
    if (!v3)
        mmio_write32(gic.dist, GICD_CTLR, GICD_CTLR_ENABLE);
    return OK;
}

static status_t gic_init_cpu(struct percpu *cpu)
{
    if (gic.version == 3)
        return v3_init_cpu(cpu);
    v2_init_cpu(cpu);
    return OK;
}

static uint32_t gic_acknowledge(void)
{
    if (gic.version == 2)
        return mmio_read32(gic.cpu, GICC_IAR);
    uint32_t acknowledged = (uint32_t)sysreg_read(icc_iar1_el1);
    cpu_dsb(); /* it is taken before the handler acts on it */
    return acknowledged;
}

static void gic_end(uint32_t acknowledged)
{
    if (gic.version == 2)
        mmio_write32(gic.cpu, GICC_EOIR, acknowledged);
    else
        sysreg_write(icc_eoir1_el1, acknowledged);
    cpu_isb();
}

static void gic_send_ipi(const struct percpu *target)
{
    cpu_dsb();
    if (gic.version == 2)
        mmio_write32(gic.dist, GICD_SGIR, (uint32_t)target->port[PORT_GIC_TARGET] << 16 | IRQ_IPI);
    else
        v3_send(target->hw_id, IRQ_IPI);
}

const struct irqchip gic_chip = {
    .timer = 27, /* PPI 11, as the SBSA has it */
    .private_end = 32,
    .init = gic_init,
    .init_cpu = gic_init_cpu,
    .enable = gic_enable,
    .acknowledge = gic_acknowledge,
    .end = gic_end,
    .send_ipi = gic_send_ipi,
};
