/* SPDX-License-Identifier: MIT
 *
 * What the kernel needs of an aarch64 machine's interrupt controller: one interrupt between CPUs and the
 * timer's, which is each CPU's own. One such table per driver; hal_irq_init chooses by what the machine has.
 *
 * Numbers are those of Arm's GIC: 0 – 15 come from software, 16 – 31 are private to a CPU.
 */
#ifndef DRIVERS_IRQCHIP_H
#define DRIVERS_IRQCHIP_H

#include <mm/types.h>

struct percpu;
struct platform;

#define IRQ_IPI 0
#define IRQ_FIRST_PRIVATE 16
#define IRQ_NONE 1020 /* from here on: nothing to handle */

struct irqchip {
    uint32_t timer;        /* the virtual timer's interrupt where no table says */
    uint32_t private_end;  /* one past the last private interrupt that there is */

    /* Maps the controller and turns on what all CPUs share. ERR_UNSUPPORTED: no controller this driver knows
     * is described or answers. ERR_NO_MEMORY: no room for its registers. The reason is logged. Boot CPU. */
    status_t (*init)(const struct platform *platform);

    /* Makes the calling CPU, which is cpu, ready to take interrupts; all of its own are off. ERR_NOT_FOUND:
     * the controller has nothing for it. */
    status_t (*init_cpu)(struct percpu *cpu);

    /* Lets IRQ_IPI or a private interrupt through to the calling CPU. */
    void (*enable)(uint32_t number);

    /* Takes the interrupt to handle, which is active until end gets the same word back. IRQ_NUMBER gives its
     * number; beside it a GICv2 keeps the sender. */
    uint32_t (*acknowledge)(void);
    void (*end)(uint32_t acknowledged);

    /* Raises IRQ_IPI. Stores before this are seen by the target's handler. */
    void (*send_ipi)(const struct percpu *target);
};
#define IRQ_NUMBER(acknowledged) ((acknowledged) & 0x3ff)

extern const struct irqchip gic_chip;     /* Arm's Generic Interrupt Controller, versions 2 to 4 */
extern const struct irqchip bcm2836_chip; /* the one inside BCM2836 and BCM2837 */

#endif
