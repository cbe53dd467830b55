/* SPDX-License-Identifier: MIT
 *
 * Commands that try the kernel: selftest and fault.
 */
#include "commands.h"

#include <arch/hal.h>
#include <kernel/console.h>
#include <kernel/cpus.h>
#include <kernel/panic.h>
#include <kernel/reclaim.h>
#include <mm/port.h>
#include <string.h>

#include "../tests/unit/quire_test.h"

bool command_selftest(int argc, char **argv)
{
    if (argc > 2)
        return usage(argv);
    const char *suite = argc == 2 ? argv[1] : NULL;
    if (!test_suite_exists(suite)) {
        kprintf("selftest: no suite \"%s\" (machine, zones, base, frame, pressure, reserve, metrics, trace, pt, slab, "
                "memmap, topo, readers)\n",
                suite);
        return false;
    }
    reclaim_enable(false); /* tests name reclaimers of their own */
    unsigned failures = test_run_all(suite, kprintf);
    reclaim_enable(true);
    return failures == 0;
}

unsigned test_cpus(void)
{
    return cpus_online();
}

unsigned test_reports(void)
{
    return reports_made();
}

const char *test_last_report(void)
{
    return report_last();
}

void test_parallel(unsigned n, void (*body)(void *context, unsigned index), void *context)
{
    cpus_run(n, body, context);
}

/* ---- fault -------------------------------------------------------------------------------------------- */

/* An address that no row of any layout maps; volatile, so that the compiler cannot reason about it. */
static volatile uintptr_t nowhere = 0x10;

static void fault_read(void)
{
    (void)*(volatile uint32_t *)nowhere;
}

static void fault_write(void)
{
    *(volatile uint32_t *)nowhere = 1;
}

static void fault_exec(void)
{
    static uint32_t data[4];
    void (*function)(void);
    void *target = data;
    memcpy(&function, &target, sizeof(function));
    function();
}

static void fault_rodata(void)
{
    extern char __rodata_start[];
    *(volatile char *)__rodata_start = 0;
}

static void fault_illegal(void)
{
    hal_illegal_instruction();
}

static void fault_breakpoint(void)
{
    hal_breakpoint();
}

static void fault_stack(void)
{
    hal_overflow_stack();
}

static void fault_panic(void)
{
    port_panic("as asked for");
}

bool command_fault(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*provoke)(void);
    } faults[] = {
        {"read", fault_read},     {"write", fault_write},     {"exec", fault_exec},
        {"rodata", fault_rodata}, {"illegal", fault_illegal}, {"breakpoint", fault_breakpoint},
        {"stack", fault_stack},   {"panic", fault_panic},
    };
    for (unsigned i = 0; argc == 2 && i < ARRAY_LEN(faults); i++) {
        if (strcmp(argv[1], faults[i].name) == 0) {
            faults[i].provoke();
            return strcmp(argv[1], "breakpoint") == 0;
        }
    }
    return usage(argv);
}
