/* SPDX-License-Identifier: MIT
 *
 * One CPU by itself: control registers, performance counters, the virtual timer, and the ways to stop.
 *
 * Time is CNTVCT_EL0, which all CPUs share.
 */
#include <arch/hal.h>
#include <drivers/irqchip/irqchip.h>
#include <kernel/clock.h>
#include <kernel/console.h>
#include <kernel/early.h>
#include <kernel/panic.h>
#include <kernel/percpu.h>

#define PMCR_ENABLE (1u << 0 | 1u << 1 | 1u << 6) /* E; P: events to 0; LC: 64-bit cycle counter */
#define PM_CYCLES (1u << 31)                      /* in the enable sets */
#define PM_COUNTER0 (1u << 0)
#define EVENT_INST_RETIRED 8

bool cpu_has_cycles;
uint32_t timer_intid;
const struct irqchip *irqchip;

static bool counts_instructions;

static struct clock timer;

/* ---- Counters ----------------------------------------------------------------------------------------- */

static void counters_init(void)
{
    uint64_t version = sysreg_read(id_aa64dfr0_el1) >> 8 & 15;
    if (version == 0 || version == 15)
        return;
    counts_instructions = (sysreg_read(pmcr_el0) >> 11 & 31) > 0 &&
                          (sysreg_read(pmceid0_el0) >> EVENT_INST_RETIRED & 1);
    sysreg_write(pmccfiltr_el0, 0);
    if (counts_instructions)
        sysreg_write(pmevtyper0_el0, EVENT_INST_RETIRED);
    sysreg_write(pmcntenset_el0, counts_instructions ? PM_CYCLES | PM_COUNTER0 : PM_CYCLES);
    sysreg_write(pmcr_el0, PMCR_ENABLE);
    cpu_isb();
    cpu_has_cycles = true;
}

/* The event counter has 32 bits. The extension's low half is its last reading, so as long as it is read
 * once per 2^32 instructions nothing is lost. */
uint64_t cpu_instructions(void)
{
    if (!counts_instructions)
        return 0;
    uint64_t state = hal_irq_save();
    uint64_t *total = &hal_percpu()->port[PORT_INSTRUCTIONS];
    *total += (uint32_t)(sysreg_read(pmevcntr0_el0) - *total);
    uint64_t result = *total;
    hal_irq_restore(state);
    return result;
}

/* ---- Control ------------------------------------------------------------------------------------------ */

void hal_cpu_init(struct percpu *cpu)
{
    hal_percpu_set(cpu);
    sysreg_write(vbar_el1, (uintptr_t)vectors);
    sysreg_write(cpacr_el1, 0); /* FP and SIMD trap: the kernel has no state for them */
    sysreg_write(cntkctl_el1, 0);
    sysreg_write(cntv_ctl_el0, 0);
    sysreg_write(mdscr_el1, 0);
    cpu_isb();
    counters_init();
    __asm__ volatile("msr daifclr, #5" ::: "memory"); /* SError and FIQ are reported */
}

void hal_percpu_set(struct percpu *cpu)
{
    sysreg_write(tpidr_el1, (uintptr_t)cpu);
}

void cpu_dcache_clean(const volatile void *start, uint64_t size)
{
    uint64_t line = UINT64_C(4) << (sysreg_read(ctr_el0) >> 16 & 15);
    uint64_t end = (uintptr_t)start + size;
    for (uint64_t at = align_down((uintptr_t)start, line); at < end; at += line)
        __asm__ volatile("dc cvac, %0" ::"r"(at) : "memory");
    cpu_dsb();
}

_Noreturn void hal_cpu_halt(void)
{
    __asm__ volatile("msr daifset, #15" ::: "memory");
    for (;;)
        __asm__ volatile("wfi" ::: "memory");
}

/* ---- End of the machine ------------------------------------------------------------------------------- */

#define SEMIHOSTING_EXIT 0x18
#define APPLICATION_EXIT 0x20026
#define EXIT_OK 33
#define EXIT_FAILED 35

static void semihosting_exit(void *block)
{
    register uint64_t operation __asm__("x0") = SEMIHOSTING_EXIT;
    register const void *argument __asm__("x1") = block;
    __asm__ volatile("hlt #0xf000" : "+r"(operation) : "r"(argument) : "memory");
}

/* Where nobody serves semihosting its instruction is undefined. */
_Noreturn void hal_exit(bool ok)
{
    static struct trap_info trap;
    uint64_t block[2] = {APPLICATION_EXIT, ok ? EXIT_OK : EXIT_FAILED};
    bool semihosting = boot_info.qemu_exit;
    boot_info.qemu_exit = false; /* a trap on the way leads here again */
    if (semihosting)
        (void)trap_catch(semihosting_exit, block, &trap);
    psci_call(PSCI_SYSTEM_OFF, 0, 0, 0);
    hal_cpu_halt();
}

/* ---- Timer -------------------------------------------------------------------------------------------- */

static status_t timer_init(uint32_t intid)
{
    uint64_t frequency = sysreg_read(cntfrq_el0) & UINT32_MAX;
    if (frequency == 0) {
        kprintf("timer: the firmware left CNTFRQ_EL0 at 0\n");
        return ERR_UNSUPPORTED;
    }
    timer_intid = intid != 0 ? intid : irqchip->timer;
    if (timer_intid < IRQ_FIRST_PRIVATE || timer_intid >= irqchip->private_end) {
        kprintf("timer: interrupt %u is not private to a CPU\n", timer_intid);
        return ERR_UNSUPPORTED;
    }
    timer = clock_make(frequency, sysreg_read(cntvct_el0));
    return OK;
}

uint64_t hal_ticks_to_ns(uint64_t ticks)
{
    return clock_scale(ticks, timer.ns_per_tick);
}

uint64_t hal_time_ns(void)
{
    cpu_isb(); /* the counter may be read early otherwise */
    return clock_ns(&timer, sysreg_read(cntvct_el0));
}

void hal_timer_set(uint64_t ns)
{
    sysreg_write(cntv_cval_el0, sysreg_read(cntvct_el0) + clock_ticks(&timer, ns));
    sysreg_write(cntv_ctl_el0, 1);
    cpu_isb();
}

void timer_interrupt(void)
{
    sysreg_write(cntv_ctl_el0, 0);
    cpu_isb();
}

/* ---- Interrupts --------------------------------------------------------------------------------------- */

static status_t irq_init_this_cpu(void)
{
    status_t status = irqchip->init_cpu(hal_percpu());
    if (status != OK) {
        kprintf("interrupts: the controller has nothing for CPU %#llx\n",
                (unsigned long long)hal_percpu()->hw_id);
        return status;
    }
    irqchip->enable(IRQ_IPI);
    irqchip->enable(timer_intid);
    return OK;
}

status_t hal_irq_init(void)
{
    const struct platform *platform = &machine.platform;
    irqchip = platform->bcm2836 != 0 && platform->gic_version == 0 ? &bcm2836_chip : &gic_chip;
    status_t status = irqchip->init(platform);
    if (status == OK)
        status = timer_init(platform->timer_irq);
    return status == OK ? irq_init_this_cpu() : status;
}

void hal_irq_init_cpu(void)
{
    if (irq_init_this_cpu() != OK)
        hal_cpu_halt();
}
