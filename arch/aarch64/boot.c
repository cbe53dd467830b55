/* SPDX-License-Identifier: MIT
 *
 * The hand-off of the Linux arm64 boot protocol; there is no console before a description. Where none comes,
 * an emulator or a debugger may serve semihosting (ARM's "Semihosting for AArch32 and AArch64").
 */
#include <arch/hal.h>
#include <boot/boot_info.h>
#include <kernel/console.h>
#include <kernel/early.h>
#include <kernel/panic.h>

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

/* ---- Console of last resort ---------------------------------------------------------------------------- */

#define SEMIHOSTING_WRITEC 0x03
#define SEMIHOSTING_ERRNO 0x13

static void semihosting_call(uint64_t number, const void *block)
{
    register uint64_t operation __asm__("x0") = number;
    register const void *argument __asm__("x1") = block;
    __asm__ volatile("hlt #0xf000" : "+r"(operation) : "r"(argument) : "memory");
}

static void semihosting_put(struct console *console, char c)
{
    (void)console;
    semihosting_call(SEMIHOSTING_WRITEC, &c);
}

static int semihosting_get(struct console *console)
{
    (void)console;
    return -1; /* its own call waits */
}

static void try_semihosting(void *context)
{
    semihosting_call(SEMIHOSTING_ERRNO, context);
}

/* Where nobody serves it its instruction is undefined. Who does also wants to know the status at the end. */
struct console *hal_console_last(void)
{
    static struct console console = {.name = "semihosting", .put = semihosting_put, .get = semihosting_get};
    static struct trap_info trap;
    if (trap_catch(try_semihosting, NULL, &trap))
        return NULL;
    boot_info.qemu_exit = true;
    return &console;
}
