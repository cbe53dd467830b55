/* SPDX-License-Identifier: MIT
 *
 * The hand-offs of the PVH protocol (Xen's xen/include/public/arch-x86/hvm/start_info.h) and of the Linux boot
 * protocol, and the consoles that every PC has. All addresses in a hand-off are physical; nothing in it is
 * believed before it is checked.
 */
#include <arch/boot_params.h>
#include <arch/hal.h>
#include <boot/efi/efi.h>
#include <boot/machine.h>
#include <kernel/console.h>
#include <kernel/early.h>
#include <string.h>

typedef unsigned long long ull;

/* Whether a BIOS left its data area at 0x400; after EFI anything may be there. */
static bool bios_data;

/* ---- Both --------------------------------------------------------------------------------------------- */

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

/* The protocols give no length that is certain. Only as much is looked at as there are bytes before the end. */
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

/* Leaves out what cannot be true. There is room for it. */
static void add_module(struct boot_info *info, uint64_t start, uint64_t size)
{
    uint64_t end;
    if (size == 0 || __builtin_add_overflow(start, size, &end) || end > UINT64_C(1) << PTE_PADDR_BITS)
        kprintf("warning: a module claims %llu bytes at %#llx; left out\n", (ull)size, (ull)start);
    else
        info->module[info->module_count++] = (struct boot_module){paddr(start), size};
}

/* ---- PVH ---------------------------------------------------------------------------------------------- */

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

/* Only as many as there is room for are looked at. */
static status_t read_modules(const struct start_info *start, struct boot_info *info)
{
    if (start->module_count > BOOT_MODULES_MAX)
        kprintf("warning: %u modules, of which %u are looked at\n", start->module_count, BOOT_MODULES_MAX);
    for (uint32_t i = 0; i < start->module_count && i < BOOT_MODULES_MAX; i++) {
        struct module_entry entry;
        if (!read_phys(&entry, start->modules + i * sizeof(entry), sizeof(entry))) {
            kprintf("boot: list of modules at %#llx cannot be read\n", (ull)start->modules);
            return ERR_CORRUPT;
        }
        add_module(info, entry.start, entry.size);
    }
    return OK;
}

static status_t read_start_info(paddr_t handoff, struct boot_info *info)
{
    struct start_info start;
    if (handoff.v == 0 || !read_phys(&start, handoff.v, sizeof(start)) || start.magic != START_INFO_MAGIC) {
        kprintf("boot: no PVH start info at %#llx (wrong magic)\n", (ull)handoff.v);
        return ERR_CORRUPT;
    }
    info->protocol = "PVH";
    bios_data = true;
    info->rsdp = paddr(start.rsdp);
    read_cmdline(start.cmdline, info);
    status_t status = read_memmap(&start, info);
    return status == OK ? read_modules(&start, info) : status;
}

/* ---- Linux -------------------------------------------------------------------------------------------- */

#define BOOT_PARAMS_MAGIC 0x53726448 /* "HdrS" */

#define RSDP_ALIGN 16
#define EBDA_SEGMENT 0x40e /* in the BIOS data area */
#define EBDA_SEARCHED 1024
#define BIOS_AREA 0xe0000
#define BIOS_AREA_END 0x100000

/* The root pointer in [start, start + size), or 0 (ACPI 6.5, 5.2.5.1). The reader checks more of it. */
static uint64_t find_rsdp_in(uint64_t start, uint64_t size)
{
    unsigned mark = early_mark();
    const uint8_t *area = early_map(paddr(start), size, MEMTYPE_NORMAL);
    uint64_t found = 0;
    for (uint64_t at = 0; area != NULL && found == 0 && at + 20 <= size; at += RSDP_ALIGN) {
        uint8_t sum = 0;
        for (unsigned i = 0; i < 20; i++)
            sum = (uint8_t)(sum + area[at + i]);
        if (sum == 0 && memcmp(area + at, "RSD PTR ", 8) == 0)
            found = start + at;
    }
    early_unmap_to(mark);
    return found;
}

static uint64_t find_rsdp(void)
{
    uint16_t segment = 0;
    uint64_t found = 0;
    if (read_phys(&segment, EBDA_SEGMENT, sizeof(segment)) && segment >= 0x400)
        found = find_rsdp_in((uint64_t)segment << 4, EBDA_SEARCHED);
    return found != 0 ? found : find_rsdp_in(BIOS_AREA, BIOS_AREA_END - BIOS_AREA);
}

/* Loaders that came from EFI and name no root pointer leave EFI's own list of tables. */
static uint64_t find_efi_rsdp(uint64_t at)
{
    static const struct efi_guid acpi_20 = EFI_ACPI_20_GUID, acpi_10 = EFI_ACPI_10_GUID;
    struct efi_system_table system;
    struct efi_configuration_table entry;
    uint64_t found = 0;
    if (!read_phys(&system, at, sizeof(system)) || system.header.signature != EFI_SYSTEM_TABLE_SIGNATURE)
        return 0;
    for (uint64_t i = 0; i < min_u64(system.table_count, EFI_TABLES_MAX); i++) {
        if (!read_phys(&entry, (uintptr_t)system.table + i * sizeof(entry), sizeof(entry)))
            return found;
        if (memcmp(&entry.guid, &acpi_20, sizeof(acpi_20)) == 0)
            return (uintptr_t)entry.table;
        if (memcmp(&entry.guid, &acpi_10, sizeof(acpi_10)) == 0)
            found = (uintptr_t)entry.table;
    }
    return found;
}

static status_t read_boot_params(paddr_t handoff, struct boot_info *info)
{
    static struct boot_params params;
    if (!read_phys(&params, handoff.v, sizeof(params)) || params.magic != BOOT_PARAMS_MAGIC) {
        kprintf("boot: no Linux boot parameters at %#llx (wrong magic)\n", (ull)handoff.v);
        return ERR_CORRUPT;
    }
    if (params.e820_count == 0 || params.e820_count > BOOT_PARAMS_E820_MAX) {
        kprintf("boot: the boot parameters have %u entries of memory map; 1 to %u can be\n", params.e820_count,
                BOOT_PARAMS_E820_MAX);
        return ERR_CORRUPT;
    }
    info->protocol = "bzImage";
    bios_data = params.efi.system_table == 0;
    info->e820_count = params.e820_count;
    memcpy(info->e820, params.e820, params.e820_count * sizeof(params.e820[0]));
    info->rsdp = paddr(params.acpi_rsdp);
    if (info->rsdp.v == 0 && params.efi.system_table != 0)
        info->rsdp = paddr(find_efi_rsdp((uint64_t)params.efi.system_table_high << 32 | params.efi.system_table));
    if (info->rsdp.v == 0)
        info->rsdp = paddr(find_rsdp());
    if (info->rsdp.v == 0)
        kprintf("warning: there are no ACPI tables to be found\n");
    read_cmdline((uint64_t)params.ext_cmdline << 32 | params.cmdline, info);
    if ((params.ramdisk_size | params.ext_ramdisk_size) != 0)
        add_module(info, (uint64_t)params.ext_ramdisk_image << 32 | params.ramdisk_image,
                   (uint64_t)params.ext_ramdisk_size << 32 | params.ramdisk_size);
    return OK;
}

status_t hal_boot_info(paddr_t handoff, struct boot_info *info)
{
    return boot_protocol == BOOT_LINUX ? read_boot_params(handoff, info) : read_start_info(handoff, info);
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
    if (bios_data && read_phys(&port, BIOS_DATA_COM1, sizeof(port)) && port != 0)
        found = find_uart(port);
    return found != NULL ? found : find_uart(COM1);
}
