/* SPDX-License-Identifier: MIT
 *
 * One CPU by itself: control registers, time, the ways to stop, ports.
 *
 * Time is the time-stamp counter, taken to run at one rate and alike on all CPUs (as every x86_64 of the last
 * fifteen years, and every emulator, has it). Its frequency and the local APIC timer's are measured once
 * against the PIT. Conversions are 32.32 fixed point.
 */
#include <arch/hal.h>
#include <drivers/irqchip/lapic.h>
#include <drivers/timer/pit.h>
#include <kernel/clock.h>
#include <kernel/console.h>
#include <kernel/early.h>
#include <kernel/percpu.h>

#define CPUID1_EDX_MCE (1u << 7)
#define CPUID7_EBX_SMEP (1u << 7)
#define CPUID7_EBX_SMAP (1u << 20)
#define CPUID7_ECX_UMIP (1u << 2)

#define CR0_KERNEL (CR0_PE | CR0_MP | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_PG)


const bool hal_has_ports = true;

/* ---- Control ------------------------------------------------------------------------------------------ */

static uint64_t cr4_features(void)
{
    struct cpuid basic = cpuid(1), extended = cpuid(7);
    return (basic.edx & CPUID1_EDX_MCE ? CR4_MCE : 0) | (extended.ebx & CPUID7_EBX_SMEP ? CR4_SMEP : 0) |
           (extended.ebx & CPUID7_EBX_SMAP ? CR4_SMAP : 0) | (extended.ecx & CPUID7_ECX_UMIP ? CR4_UMIP : 0);
}

/* TS makes floating point and SIMD trap: the kernel has no state for them. */
void hal_cpu_init(struct percpu *cpu)
{
    trap_init_cpu(cpu);
    hal_percpu_set(cpu);
    control_write(cr0, CR0_KERNEL);
    control_write(cr4, (control_read(cr4) & CR4_LA57) | CR4_PAE | CR4_PGE | cr4_features());
    msr_write(MSR_PAT, PTE_PAT);
}

void hal_percpu_set(struct percpu *cpu)
{
    msr_write(MSR_GS_BASE, (uintptr_t)cpu);
}

_Noreturn void hal_cpu_halt(void)
{
    for (;;)
        __asm__ volatile("cli\n"
                         "hlt" ::: "memory");
}

/* ---- Ports -------------------------------------------------------------------------------------------- */

uint8_t hal_port_read8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

void hal_port_write8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

/* ---- End of the machine ------------------------------------------------------------------------------- */

/* QEMU's isa-debug-exit ends with status 2 × value + 1: 33 or 35. */
#define DEBUG_EXIT_PORT 0xf4
#define DEBUG_EXIT_OK 16
#define DEBUG_EXIT_FAILED 17

_Noreturn void hal_exit(bool ok)
{
    if (boot_info.qemu_exit)
        hal_port_write8(DEBUG_EXIT_PORT, ok ? DEBUG_EXIT_OK : DEBUG_EXIT_FAILED);
    kprintf("halted: the power can be turned off\n");
    hal_cpu_halt();
}

/* ---- Time --------------------------------------------------------------------------------------------- */

static struct {
    uint64_t start;        /* time-stamp counter at boot */
    uint64_t ns_per_cycle; /* 32.32 */
    uint64_t ticks_per_ns; /* 32.32, of the local APIC timer */
} clocks;

#define MEASURE_TICKS (PIT_HZ / 250) /* 4 ms */
#define MEASURE_POLLS 65536          /* some 10 times what the fastest port access makes of it */
#define MEASURE_TRIES 64         /* a busy host may hold an emulator up for longer than the PIT counts */
#define SAMPLE_TRIES 8

/* The three clocks at one moment. */
struct sample {
    uint64_t cycles;
    uint32_t lapic, pit;
};

/* Readings lie apart by chance (an emulator's host may be busy): the closest of several count. */
static struct sample take_sample(void)
{
    struct sample best = {0, 0, 0};
    uint64_t best_width = UINT64_MAX;
    for (unsigned i = 0; i < SAMPLE_TRIES; i++) {
        struct sample sample = {.cycles = hal_cycles()};
        sample.pit = pit_ticks();
        sample.lapic = lapic_timer_left();
        uint64_t width = hal_cycles() - sample.cycles;
        if (width < best_width) {
            best_width = width;
            best = sample;
        }
    }
    return best;
}

/* Lets about MEASURE_TICKS pass. A port access costs an emulator hundreds of instructions: few are made. */
static void wait_measure(void)
{
    for (unsigned poll = 0; poll < MEASURE_POLLS && pit_ticks() < MEASURE_TICKS; poll++)
        for (unsigned spin = 0; spin < 256; spin++)
            __asm__ volatile("" ::: "memory");
}

/* One measurement; false if the PIT is missing, or ran out because this CPU was held up. */
static bool measure(void)
{
    lapic_timer_start(UINT32_MAX);
    pit_start();
    struct sample from = take_sample();
    wait_measure();
    struct sample to = take_sample();
    lapic_timer_start(0);
    if (from.pit == PIT_OVERRUN || to.pit == PIT_OVERRUN || to.pit - from.pit < MEASURE_TICKS / 2)
        return false;
    uint64_t ns = (to.pit - from.pit) * NS_PER_S / PIT_HZ;
    clocks.ns_per_cycle = (ns << 32) / (to.cycles - from.cycles);
    clocks.ticks_per_ns = ((uint64_t)(from.lapic - to.lapic) << 32) / ns;
    return true;
}

static status_t clock_init(void)
{
    for (unsigned i = 0; i < MEASURE_TRIES; i++) {
        if (measure()) {
            clocks.start = hal_cycles();
            return OK;
        }
    }
    kprintf("timer: no interval timer (8254) to measure the CPU's clocks by\n");
    return ERR_UNSUPPORTED;
}

uint64_t hal_ticks_to_ns(uint64_t ticks)
{
    return clock_scale(ticks, clocks.ns_per_cycle);
}

uint64_t hal_time_ns(void)
{
    return clocks.start == 0 ? 0 : clock_scale(hal_cycles() - clocks.start, clocks.ns_per_cycle);
}

static void timer_arm(uint64_t ns)
{
    uint64_t ticks = clock_scale(ns, clocks.ticks_per_ns) + 1;
    lapic_timer_start((uint32_t)min_u64(ticks, UINT32_MAX));
}

void hal_timer_set(uint64_t ns)
{
    uint64_t irq = hal_irq_save();
    uint64_t now = hal_time_ns();
    hal_percpu()->port[PORT_DEADLINE] = now + min_u64(ns, UINT64_MAX - now);
    timer_arm(ns);
    hal_irq_restore(irq);
}

/* The timer counts 32 bits: what is farther away takes several rounds. */
void timer_interrupt(void)
{
    uint64_t now = hal_time_ns(), deadline = hal_percpu()->port[PORT_DEADLINE];
    if (now < deadline)
        timer_arm(deadline - now);
    else
        timer_handle();
}

/* ---- Interrupts --------------------------------------------------------------------------------------- */

#define PIC1_COMMAND 0x20
#define PIC1_DATA 0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA 0xa1
#define PIC_INIT 0x11 /* edge triggered, cascaded, four words follow */

/* The 8259s' vectors move off the exceptions, because even a masked one can raise a spurious interrupt. */
static void mask_legacy(void)
{
    hal_port_write8(PIC1_COMMAND, PIC_INIT);
    hal_port_write8(PIC2_COMMAND, PIC_INIT);
    hal_port_write8(PIC1_DATA, VECTOR_LEGACY);
    hal_port_write8(PIC2_DATA, VECTOR_LEGACY + 8);
    hal_port_write8(PIC1_DATA, 1 << 2); /* the second hangs on line 2 */
    hal_port_write8(PIC2_DATA, 2);
    hal_port_write8(PIC1_DATA, 1); /* 8086 mode */
    hal_port_write8(PIC2_DATA, 1);
    hal_port_write8(PIC1_DATA, 0xff);
    hal_port_write8(PIC2_DATA, 0xff);
}

static uint64_t highest_apic_id(const struct topo *topo)
{
    uint64_t highest = 0;
    for (unsigned i = 0; i < topo->cpu_count; i++)
        if (topo->cpu[i].enabled)
            highest = max_u64(highest, topo->cpu[i].hw_id);
    return highest;
}

status_t hal_irq_init(void)
{
    mask_legacy();
    status_t status = lapic_init(highest_apic_id(&machine.topo));
    if (status != OK)
        return status;
    lapic_init_cpu();
    return clock_init();
}

void hal_irq_init_cpu(void)
{
    lapic_init_cpu();
}
