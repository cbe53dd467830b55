/* SPDX-License-Identifier: MIT
 *
 * The hand-off of the Linux arm64 boot protocol; there is no console before a description.
 */
#include <arch/hal.h>
#include <boot/boot_info.h>
#include <kernel/console.h>

#define FDT_ALIGN 8 /* the boot protocol's and the device tree's own rule */

status_t hal_boot_info(paddr_t handoff, struct boot_info *info)
{
    if (handoff.v == 0 || !is_aligned(handoff.v, FDT_ALIGN)) {
        kprintf("boot: x0 is %#llx, which is no device tree\n", (unsigned long long)handoff.v);
        return ERR_CORRUPT;
    }
    info->protocol = "Image";
    info->fdt = handoff;
    return OK;
}

struct console *hal_console_early(void)
{
    return NULL;
}

struct console *hal_console_default(void)
{
    return NULL;
}
