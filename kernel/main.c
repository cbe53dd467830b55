/* SPDX-License-Identifier: MIT
 *
 * The kernel from its first shared line to the prompt, to be read from top to bottom.
 */
#include <arch/hal.h>
#include <kernel/address_space.h>
#include <kernel/clock.h>
#include <kernel/console.h>
#include <kernel/cpus.h>
#include <kernel/early.h>
#include <kernel/monitor.h>
#include <kernel/options.h>
#include <kernel/reclaim.h>
#include <mm/frame_info.h>
#include <mm/port.h>

static void print_banner(void)
{
    const char *model = machine.platform.model;
    kprintf("\nquire %s: %s, %s%s%s\n", QUIRE_VERSION, QUIRE_ISA, boot_info.protocol,
            model[0] != '\0' ? ", " : "", model);
}

static void identify_boot_cpu(void)
{
    const struct topo *topo = &machine.topo;
    for (unsigned i = 0; i < topo->cpu_count; i++)
        if (topo->cpu[i].hw_id == percpu_boot.hw_id)
            percpu_boot.node = topo->cpu[i].node;
    frame_cpu_node(percpu_boot.index, (uint16_t)percpu_boot.node);
}

static void report_memory(void)
{
    uint64_t managed = frame_managed() * FRAME_SIZE;
    uint64_t metadata = frame_metadata_bytes() + frame_descriptor_bytes() + vm_table_bytes();
    uint64_t millipercent = metadata * 100000 / (managed + metadata);
    kprintf("memory: %llu MiB managed on %u node%s; metadata %llu KiB (allocator %llu, descriptors %llu, page "
            "tables %llu), %llu.%03llu %%\n",
            (unsigned long long)(managed / MIB(1)), machine.topo.node_count,
            machine.topo.node_count == 1 ? "" : "s", (unsigned long long)(metadata / KIB(1)),
            (unsigned long long)(frame_metadata_bytes() / KIB(1)),
            (unsigned long long)(frame_descriptor_bytes() / KIB(1)),
            (unsigned long long)(vm_table_bytes() / KIB(1)), (unsigned long long)(millipercent / 1000),
            (unsigned long long)(millipercent % 1000));
}

/* Everything that waits relies on the timer's interrupt, so a wrong description of it must not go unnoticed. */
static void check_timer(void)
{
    uint64_t before = timer_ticks, deadline = hal_time_ns() + NS_PER_S;
    hal_timer_set(1000000);
    while (timer_ticks == before)
        if (hal_time_ns() > deadline)
            port_panic("the timer's interrupt does not arrive");
}

/* The last line is for whoever has only the console to judge by (tools/quire/emulator.py). */
static bool run_commands(void)
{
    bool ok = options.script != NULL ? monitor_script(options.script) : monitor_prompt();
    kprintf("quire: %s\n", ok ? "all commands succeeded" : "a command failed");
    return ok;
}

/* On the boot CPU's final stack: with memory in place, interrupts, the other CPUs, the prompt. */
static void run(void)
{
    hal_cpu_init(&percpu_boot);
    early_reclaim();
    status_t status = hal_irq_init();
    if (status != OK)
        port_panic("interrupts or timer cannot be used: %s", status_name(status));
    atomic_store_explicit(&percpu_boot.online, 1, memory_order_release);
    hal_irq_enable();
    check_timer();
    reclaim_enable(true);
    cpus_start(options.cpus);
    kprintf("cpus: %u of %u running; paging %s\n", cpus_online(), cpu_count(),
            hal_mmu_mode_name(kernel_pt.levels));
    report_memory();
    hal_exit(run_commands());
}

void kmain(uint64_t boot_cpu, paddr_t handoff, paddr_t image)
{
    percpu_boot.self = &percpu_boot;
    percpu_boot.hw_id = boot_cpu;
    boot_info.version = BOOT_INFO_VERSION;
    boot_info.boot_cpu = boot_cpu;
    boot_info.image = image;
    hal_cpu_init(&percpu_boot);
    if (hal_console_early() != NULL)
        console_use(hal_console_early());
    early_describe(handoff);
    percpu_boot.hw_id = boot_info.boot_cpu;
    print_banner();
    vm_init();
    identify_boot_cpu();
    cpus_leave_boot_stack(run);
}
