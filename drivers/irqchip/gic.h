/* SPDX-License-Identifier: MIT
 *
 * Arm's Generic Interrupt Controller, versions 2 and 3 (and 4, which is 3 for us). The kernel needs little of
 * it: one software-generated interrupt between CPUs and the private interrupt of the timer.
 */
#ifndef DRIVERS_GIC_H
#define DRIVERS_GIC_H

#include <mm/types.h>

struct percpu;
struct platform;

#define GIC_IPI 0         /* INTID of the inter-processor interrupt */
#define GIC_PRIVATE 32    /* INTIDs below are each CPU's own */
/* Private peripheral interrupts (IHI 0048B 2.2.1). */
#define GIC_IS_PPI(intid) ((intid) >= 16 && (intid) < 32)
#define GIC_SPURIOUS 1020 /* from here on: nothing to handle */

/* Maps the controller and turns the distributor on. ERR_UNSUPPORTED: no controller this driver knows is
 * described or answers. ERR_NO_MEMORY: no room for its registers. Boot CPU, once. */
MUST_CHECK status_t gic_init(const struct platform *platform);

/* Makes the calling CPU, which is cpu, ready to take interrupts; all of its private ones are off.
 * ERR_NOT_FOUND: version 3, and no redistributor answers for it. */
MUST_CHECK status_t gic_init_cpu(struct percpu *cpu);

/* Lets a private interrupt through to the calling CPU. intid < GIC_PRIVATE. */
void gic_enable_private(uint32_t intid);

/* Takes the interrupt to handle, which is active until gic_end gets the same word back. GIC_INTID gives its
 * number; version 2 keeps an interrupt's sender beside it. */
uint32_t gic_acknowledge(void);
void gic_end(uint32_t acknowledged);
#define GIC_INTID(acknowledged) ((acknowledged) & 0x3ff)

/* Stores before this are seen by the target's handler. */
void gic_send_ipi(const struct percpu *target);

#endif
