/* SPDX-License-Identifier: MIT
 *
 * The hand-off of the Linux riscv64 boot protocol, and the console that every SBI firmware has.
 */
#include <arch/hal.h>
#include <boot/boot_info.h>
#include <kernel/console.h>

#define FDT_ALIGN 8 /* the boot protocol's and the device tree's own rule */

status_t hal_boot_info(paddr_t handoff, struct boot_info *info)
{
    if (handoff.v == 0 || !is_aligned(handoff.v, FDT_ALIGN)) {
        kprintf("boot: a1 is %#llx, which is no device tree\n", (unsigned long long)handoff.v);
        return ERR_CORRUPT;
    }
    info->protocol = "Image";
    info->fdt = handoff;
    return OK;
}

struct console *hal_console_early(void)
{
    static struct console console;
    return console.put != NULL || sbi_console_init(&console) == OK ? &console : NULL;
}

struct console *hal_console_default(void)
{
    return hal_console_early();
}

struct console *hal_console_last(void)
{
    return hal_console_early();
}
