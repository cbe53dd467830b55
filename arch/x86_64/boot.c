/* SPDX-License-Identifier: MIT
 *
 * The hand-off of the PVH protocol (Xen's xen/include/public/arch-x86/hvm/start_info.h), and the consoles
 * that every PC has. All addresses in the hand-off are physical; nothing in it is believed before it is
 * checked.
 */
#include <arch/hal.h>
#include <boot/machine.h>
#include <kernel/console.h>
#include <kernel/early.h>
#include <string.h>

typedef unsigned long long ull;

#define START_INFO_MAGIC 0x336ec578

struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp;
    uint64_t memmap; /* from version 1 on */
    uint32_t memmap_count, reserved;
};
_Static_assert(sizeof(struct start_info) == 56, "hvm_start_info");

struct module_entry {
    uint64_t start, size, cmdline, reserved;
};
_Static_assert(sizeof(struct module_entry) == 32, "hvm_modlist_entry");

struct memmap_entry {
    struct e820_entry e820;
    uint32_t reserved;
};
_Static_assert(sizeof(struct memmap_entry) == 24, "hvm_memmap_table_entry");

/* Copies bytes from physical memory. False: that many cannot be mapped there. */
static bool read_phys(void *to, uint64_t from, uint64_t size)
{
    unsigned mark = early_mark();
    const void *source = early_map(paddr(from), size, MEMTYPE_NORMAL);
    if (source != NULL)
        memcpy(to, source, size);
    early_unmap_to(mark);
    return source != NULL;
}

static status_t read_memmap(const struct start_info *start, struct boot_info *info)
{
    if (start->version < 1 || start->memmap_count == 0) {
        kprintf("boot: the start info (version %u) has no memory map\n", start->version);
        return ERR_CORRUPT;
    }
    if (start->memmap_count > BOOT_E820_MAX) {
        kprintf("boot: %u entries of memory map, more than this kernel reads (%u)\n", start->memmap_count,
                BOOT_E820_MAX);
        return ERR_FULL;
    }
    for (uint32_t i = 0; i < start->memmap_count; i++) {
        struct memmap_entry entry;
        if (!read_phys(&entry, start->memmap + i * sizeof(entry), sizeof(entry))) {
            kprintf("boot: memory map at %#llx cannot be read\n", (ull)start->memmap);
            return ERR_CORRUPT;
        }
        info->e820[i] = entry.e820;
    }
    info->e820_count = start->memmap_count;
    return OK;
}

/* Only as many as there is room for are looked at; what cannot be true is left out. */
static status_t read_modules(const struct start_info *start, struct boot_info *info)
{
    if (start->module_count > BOOT_MODULES_MAX)
        kprintf("warning: %u modules, of which %u are looked at\n", start->module_count, BOOT_MODULES_MAX);
    for (uint32_t i = 0; i < start->module_count && i < BOOT_MODULES_MAX; i++) {
        struct module_entry entry;
        uint64_t end;
        if (!read_phys(&entry, start->modules + i * sizeof(entry), sizeof(entry))) {
            kprintf("boot: list of modules at %#llx cannot be read\n", (ull)start->modules);
            return ERR_CORRUPT;
        }
        if (entry.size == 0 || __builtin_add_overflow(entry.start, entry.size, &end) ||
            end > UINT64_C(1) << PTE_PADDR_BITS) {
            kprintf("warning: module %u claims %llu bytes at %#llx\n", i, (ull)entry.size, (ull)entry.start);
            continue;
        }
        info->module[info->module_count++] = (struct boot_module){paddr(entry.start), entry.size};
    }
    return OK;
}

/* The protocol gives no length. Only as much is looked at as there are bytes before the end. */
static void read_cmdline(uint64_t address, struct boot_info *info)
{
    if (address == 0)
        return;
    unsigned mark = early_mark();
    const char *line = early_map(paddr(address), BOOT_CMDLINE_MAX, MEMTYPE_NORMAL);
    if (line == NULL) {
        kprintf("warning: command line at %#llx cannot be read\n", (ull)address);
        return;
    }
    size_t length = strnlen(line, BOOT_CMDLINE_MAX);
    if (length == BOOT_CMDLINE_MAX) {
        length--;
        kprintf("warning: command line cut after %u bytes\n", (unsigned)length);
    }
    memcpy(info->cmdline, line, length);
    info->cmdline[length] = '\0';
    early_unmap_to(mark);
}

status_t hal_boot_info(paddr_t handoff, struct boot_info *info)
{
    struct start_info start;
    if (handoff.v == 0 || !read_phys(&start, handoff.v, sizeof(start)) || start.magic != START_INFO_MAGIC) {
        kprintf("boot: no PVH start info at %#llx (wrong magic)\n", (ull)handoff.v);
        return ERR_CORRUPT;
    }
    info->protocol = "PVH";
    info->boot_cpu = cpu_apic_id();
    info->rsdp = paddr(start.rsdp);
    read_cmdline(start.cmdline, info);
    status_t status = read_memmap(&start, info);
    return status == OK ? read_modules(&start, info) : status;
}

/* ---- Consoles ----------------------------------------------------------------------------------------- */

#define COM1 0x3f8
#define BIOS_DATA_COM1 0x400 /* holds COM1's port, 0: none */

static struct console com1;

/* The UART at a port, or NULL if none answers. A port that is in use already stays as it is. */
static struct console *find_uart(uint16_t port)
{
    const struct console_desc desc = {.kind = CONSOLE_NS16550, .io_port = true, .base = port, .reg_width = 1};
    if (com1.put != NULL && com1.port == port)
        return &com1;
    return ns16550_init(&com1, &desc, NULL) == OK ? &com1 : NULL;
}

struct console *hal_console_early(void)
{
    return find_uart(COM1);
}

struct console *hal_console_default(void)
{
    uint16_t port = 0;
    struct console *found = NULL;
    if (read_phys(&port, BIOS_DATA_COM1, sizeof(port)) && port != 0)
        found = find_uart(port);
    return found != NULL ? found : find_uart(COM1);
}
