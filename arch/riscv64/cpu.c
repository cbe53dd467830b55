/* SPDX-License-Identifier: MIT
 *
 * One hart by itself: control registers, interrupts and timer (both through SBI), and the ways to stop.
 *
 * Time is the `time` counter, which all harts share, converted by 32.32 fixed-point factors; their error
 * stays below 2^-29 for counters of up to 4 GHz.
 */
#include <arch/hal.h>
#include <arch/sbi.h>
#include <kernel/address_space.h>
#include <kernel/clock.h>
#include <kernel/console.h>
#include <kernel/early.h>
#include <kernel/panic.h>
#include <kernel/percpu.h>

#define SSTATUS_FS (UINT64_C(3) << 13)
#define SSTATUS_VS (UINT64_C(3) << 9)
#define SSTATUS_SUM (UINT64_C(1) << 18)
#define SSTATUS_MXR (UINT64_C(1) << 19)

bool cpu_has_cycle, cpu_has_instret;

static struct clock timer;

/* ---- Control ------------------------------------------------------------------------------------------ */

/* Floating point and vectors trap: the kernel has no state for them. User pages are out of its reach, and
 * what is only executable cannot be read. */
void hal_cpu_init(struct percpu *cpu)
{
    hal_percpu_set(cpu);
    csr_write(sscratch, 0);
    csr_write(sie, 0);
    csr_clear(sstatus, SSTATUS_FS | SSTATUS_VS | SSTATUS_SUM | SSTATUS_MXR);
    csr_write(scounteren, 0);
    csr_write(stvec, (uintptr_t)trap_entry);
    cpu_has_cycle = cpu_probe_cycle();
    cpu_has_instret = cpu_probe_instret();
}

void hal_percpu_set(struct percpu *cpu)
{
    __asm__ volatile("mv tp, %0" ::"r"(cpu) : "memory");
}

_Noreturn void hal_cpu_halt(void)
{
    csr_clear(sstatus, SSTATUS_SIE);
    csr_write(sie, 0);
    for (;;)
        __asm__ volatile("wfi" ::: "memory");
}

/* ---- End of the machine ------------------------------------------------------------------------------- */

#define SEMIHOSTING_EXIT 0x18
#define APPLICATION_EXIT 0x20026
#define SIFIVE_TEST_FAIL 0x3333u /* QEMU's exit status in the upper half */
#define EXIT_OK 33u
#define EXIT_FAILED 35u

/* An emulator knows a call by the instructions around its breakpoint, all in one page and none compressed
 * ("RISC-V Semihosting Specification"). Where nobody serves it the breakpoint is one like any other. */
static void semihosting_exit(void *block)
{
    register uint64_t operation __asm__("a0") = SEMIHOSTING_EXIT;
    register const void *argument __asm__("a1") = block;
    __asm__ volatile(".option push\n"
                     ".option norvc\n"
                     ".balign 16\n"
                     "slli x0, x0, 0x1f\n"
                     "ebreak\n"
                     "srai x0, x0, 7\n"
                     ".option pop"
                     : "+r"(operation)
                     : "r"(argument)
                     : "memory");
}

/* The exit device is written with translation off: that needs no mapping, so it works at any moment. */
_Noreturn void hal_exit(bool ok)
{
    (void)hal_irq_save();
    bool emulated = boot_info.qemu_exit;
    boot_info.qemu_exit = false; /* a trap on the way leads here again */
    if (emulated && machine.platform.sifive_test != 0)
        cpu_store_untranslated(machine.platform.sifive_test,
                               (ok ? EXIT_OK : EXIT_FAILED) << 16 | SIFIVE_TEST_FAIL,
                               image_phys(untranslated_store));
    uint64_t block[2] = {APPLICATION_EXIT, ok ? EXIT_OK : EXIT_FAILED};
    static struct trap_info trap;
    if (emulated)
        (void)trap_catch(semihosting_exit, block, &trap);
    sbi_call(SBI_RESET, SBI_RESET_SYSTEM, SBI_RESET_TYPE_SHUTDOWN,
             ok ? SBI_RESET_REASON_NONE : SBI_RESET_REASON_FAILURE, 0);
    sbi_call(SBI_LEGACY_SHUTDOWN, 0, 0, 0, 0);
    hal_cpu_halt();
}

/* ---- Timer -------------------------------------------------------------------------------------------- */

static status_t timer_init(uint64_t frequency)
{
    if (frequency == 0 || frequency > UINT32_MAX || !sbi_has(SBI_TIME)) {
        kprintf("timer: frequency %llu Hz, SBI timer %s\n", (unsigned long long)frequency,
                sbi_has(SBI_TIME) ? "present" : "missing");
        return ERR_UNSUPPORTED;
    }
    timer = clock_make(frequency, csr_read(time));
    return OK;
}

uint64_t hal_ticks_to_ns(uint64_t ticks)
{
    return clock_scale(ticks, timer.ns_per_tick);
}

uint64_t hal_time_ns(void)
{
    return clock_ns(&timer, csr_read(time));
}

void hal_timer_set(uint64_t ns)
{
    sbi_call(SBI_TIME, SBI_TIME_SET, csr_read(time) + clock_ticks(&timer, ns), 0, 0);
    csr_set(sie, INTERRUPT_TIMER);
}

/* ---- Interrupts --------------------------------------------------------------------------------------- */

status_t hal_irq_init(void)
{
    if (!sbi_has(SBI_IPI)) {
        kprintf("sbi: no inter-processor interrupts\n");
        return ERR_UNSUPPORTED;
    }
    status_t status = timer_init(machine.platform.timebase_hz);
    if (status == OK)
        hal_irq_init_cpu();
    return status;
}

void hal_irq_init_cpu(void)
{
    csr_set(sie, INTERRUPT_SOFTWARE);
}
