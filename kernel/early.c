/* SPDX-License-Identifier: MIT
 *
 * Boot, first half: with nothing but the image and a window of HAL_FIXMAP_SLOTS frames mapped, learn what the
 * machine is. The window's level-0 tables are start.S's early_fixmap.
 */
#include <arch/hal.h>
#include <kernel/address_space.h>
#include <kernel/console.h>
#include <kernel/early.h>
#include <kernel/options.h>
#include <libfdt.h>
#include <mm/port.h>
#include <stdatomic.h>
#include <string.h>

extern _Atomic pte_t early_fixmap[HAL_FIXMAP_SLOTS];
extern char __image_start[], __image_end[];

struct boot_info boot_info;
struct machine machine;

static unsigned slots_used;

/* ---- Fixmap ------------------------------------------------------------------------------------------- */

void *early_map(paddr_t address, uint64_t size, memtype_t type)
{
    uint64_t first = align_down(address.v, FRAME_SIZE);
    uint64_t end;
    if (size == 0 || __builtin_add_overflow(address.v, size, &end) || end >> PTE_PADDR_BITS != 0)
        return NULL;
    uint64_t count = (align_up(end, FRAME_SIZE) - first) / FRAME_SIZE;
    if (count > HAL_FIXMAP_SLOTS - slots_used)
        return NULL;
    vaddr_t va = HAL_FIXMAP_BASE + slots_used * FRAME_SIZE;
    for (uint64_t i = 0; i < count; i++)
        atomic_store_explicit(
            &early_fixmap[slots_used + i],
            pte_make_leaf(paddr(first + i * FRAME_SIZE), 0, PROT_READ | PROT_WRITE | PROT_GLOBAL, type),
            memory_order_release);
    slots_used += (unsigned)count;
    hal_pte_sync();
    return (void *)(va + (address.v - first));
}

unsigned early_mark(void)
{
    return slots_used;
}

void early_unmap_to(unsigned mark)
{
    for (unsigned i = mark; i < slots_used; i++)
        atomic_store_explicit(&early_fixmap[i], 0, memory_order_relaxed);
    hal_tlb_flush_local(HAL_FIXMAP_BASE + mark * FRAME_SIZE, (slots_used - mark) * FRAME_SIZE);
    slots_used = mark;
}

pte_t early_slot(unsigned slot)
{
    return atomic_load_explicit(&early_fixmap[slot], memory_order_relaxed);
}

/* ---- What the firmware says --------------------------------------------------------------------------- */

/* ACPI tables are mapped one beside the other until the reader is done; there are few. */
static const void *map_phys(void *context, uint64_t address, uint64_t size)
{
    (void)context;
    return early_map(paddr(address), size, MEMTYPE_NORMAL);
}

static const void *map_fdt(struct boot_info *info)
{
    if (info->fdt.v == 0)
        return NULL;
    unsigned mark = early_mark();
    const struct fdt_header *header = early_map(info->fdt, sizeof(*header), MEMTYPE_NORMAL);
    if (header == NULL || fdt_magic(header) != FDT_MAGIC) {
        kprintf("boot: no device tree at %#llx (wrong magic)\n", (unsigned long long)info->fdt.v);
        info->fdt = paddr(0);
        return NULL;
    }
    info->fdt_size = fdt_totalsize(header);
    early_unmap_to(mark);
    const void *fdt = early_map(info->fdt, info->fdt_size, MEMTYPE_NORMAL);
    if (fdt == NULL) {
        kprintf("boot: device tree at %#llx claims %llu bytes, more than this kernel reads (%llu)\n",
                (unsigned long long)info->fdt.v, (unsigned long long)info->fdt_size,
                (unsigned long long)(HAL_FIXMAP_SLOTS * FRAME_SIZE));
        info->fdt = paddr(0);
    }
    return fdt;
}

/* The console that the firmware describes, reached through the fixmap for now. */
static void find_console(void)
{
    static struct console console;
    const struct console_desc *desc = &machine.platform.console;
    volatile void *base = NULL;
    if (desc->kind != CONSOLE_NONE && desc->kind != CONSOLE_SBI && !desc->io_port)
        base = early_map(paddr(desc->base), FRAME_SIZE, MEMTYPE_DEVICE);
    status_t status = ERR_NOT_FOUND;
    if (desc->kind == CONSOLE_NS16550)
        status = ns16550_init(&console, desc, base);
    else if (desc->kind == CONSOLE_PL011)
        status = pl011_init(&console, desc, base);
    struct console *chosen = status == OK ? &console : hal_console_default();
    if (chosen != NULL && console_current() != chosen)
        console_use(chosen);
}

static void describe(struct boot_info *info)
{
    unsigned mark = early_mark();
    struct machine_sources sources = {
        .fdt = map_fdt(info),
        .fdt_size = info->fdt_size,
        .e820 = info->e820_count > 0 ? info->e820 : NULL,
        .e820_count = info->e820_count,
        .efi_map_size = info->efi_map_size,
        .efi_desc_size = info->efi_desc_size,
        .phys = {map_phys, NULL},
        .rsdp = info->rsdp.v,
    };
    if (info->efi_map.v != 0) {
        sources.efi_map = early_map(info->efi_map, info->efi_map_size, MEMTYPE_NORMAL);
        if (sources.efi_map == NULL) /* a device tree alone would give away what EFI keeps */
            port_panic("boot: EFI memory map at %#llx, %llu bytes: more than this kernel reads",
                       (unsigned long long)info->efi_map.v, (unsigned long long)info->efi_map_size);
    }
    status_t status = machine_describe(&machine, &sources);
    early_unmap_to(mark);
    for (const char *line = note_next(&machine.notes, NULL); line != NULL;
         line = note_next(&machine.notes, line))
        kprintf("warning: %s\n", line);
    find_console();
    if (status != OK)
        port_panic("the firmware's description of this machine cannot be used (%s)", status_name(status));
}

/* ---- What must not be handed out ----------------------------------------------------------------------- */

static void keep(uint64_t start, uint64_t size, mem_type_t type)
{
    uint64_t first = align_down(start, FRAME_SIZE);
    uint64_t end = align_up(start + size, FRAME_SIZE);
    if (memmap_claim(&machine.map, first, end - first, type, SOURCE_KERNEL, 0, false) != OK)
        port_panic("memory map: no room to keep %#llx out", (unsigned long long)start);
}

/* Whether every frame of [start, start + size) is installed RAM that the firmware keeps for nobody.
 * What a boot loader says about its own data is no more to be trusted than the rest. */
static bool is_ram(uint64_t start, uint64_t size)
{
    uint64_t end, ram_start, ram_end;
    if (__builtin_add_overflow(start, size, &end) || end > UINT64_MAX - FRAME_SIZE)
        return false;
    start = align_down(start, FRAME_SIZE);
    end = align_up(end, FRAME_SIZE);
    if (!memmap_ram_next(&machine.map, start, &ram_start, &ram_end) || ram_start > start || ram_end < end)
        return false;
    for (uint64_t at = start; at < end;) { /* at most one round per region */
        const struct mem_region *region = memmap_find(&machine.map, paddr(at));
        if (region == NULL || region->type == MEM_NOMAP || region->type == MEM_FIRMWARE ||
            region->type == MEM_SPECIFIC)
            return false;
        at = region->end.v;
    }
    return true;
}

/* RAM that no address of this CPU can name is of no use, and what is said about it may be no more than a
 * slip. */
static void leave_out_of_reach(void)
{
    struct mmu_features mmu = hal_mmu_probe();
    uint64_t limit = UINT64_C(1) << mmu.paddr_bits, end;
    memmap_ram_bytes(&machine.map, &end);
    if (end <= limit)
        return;
    kprintf("warning: memory from %#llx to %#llx is beyond this CPU's %u-bit addresses; left out\n",
            (unsigned long long)limit, (unsigned long long)end, mmu.paddr_bits);
    keep(limit, min_u64(end, UINT64_MAX - FRAME_SIZE) - limit, MEM_NOMAP);
}

static void keep_own_memory(const struct boot_info *info)
{
    /* Frame 0 is never handed out: address 0 stays distinguishable, and PCs keep BIOS data there. */
    keep(0, FRAME_SIZE, MEM_RESERVED);
    leave_out_of_reach();
    keep(info->image.v, info->image_size, MEM_KERNEL);
    if (info->fdt.v != 0 && is_ram(info->fdt.v, info->fdt_size))
        keep(info->fdt.v, info->fdt_size, MEM_BOOT_RECLAIM);
    for (unsigned i = 0; i < info->module_count; i++) {
        const struct boot_module *module = &info->module[i];
        if (module->size > 0 && is_ram(module->start.v, module->size))
            keep(module->start.v, module->size, MEM_MODULE);
        else if (module->size > 0)
            kprintf(
                "warning: the module at %#llx, %#llx bytes, is not in memory the kernel may use; left out\n",
                (unsigned long long)module->start.v, (unsigned long long)module->size);
    }
    if (machine_settle(&machine) != OK)
        port_panic("memory map: too many regions");
}

static void add_module(struct boot_info *info, uint64_t start, uint64_t end)
{
    if (start < end && info->module_count < BOOT_MODULES_MAX)
        info->module[info->module_count++] = (struct boot_module){paddr(start), end - start};
}

void early_describe(paddr_t handoff)
{
    struct boot_info *info = &boot_info;
    info->image_size = (uint64_t)(__image_end - __image_start);
    status_t status = early_efi(handoff, info);
    if (status == ERR_NOT_FOUND)
        status = hal_boot_info(handoff, info);
    if (status != OK)
        port_panic("boot: the hand-off at %#llx cannot be read", (unsigned long long)handoff.v);
    describe(info);
    if (info->boot_cpu == BOOT_CPU_UNKNOWN)
        info->boot_cpu = machine.boot_cpu;
    if (info->boot_cpu == BOOT_CPU_UNKNOWN)
        port_panic("boot: neither EFI nor the device tree says which CPU this is");
    add_module(info, machine.initrd_start, machine.initrd_end);
    if (info->cmdline[0] == '\0')
        memcpy(info->cmdline, machine.bootargs, sizeof(info->cmdline));
    options_parse(info->cmdline);
    info->qemu_exit = options.qemu_exit;
    keep_own_memory(info);
}

void early_reclaim(void)
{
    struct memmap *map = &machine.map;
    for (uint32_t i = 0; i < map->claim_count; i++) {
        struct mem_claim *claim = &map->claim[i];
        if (claim->source != SOURCE_KERNEL || claim->type != MEM_BOOT_RECLAIM)
            continue;
        const struct mem_region *region = memmap_find(map, claim->start);
        bool ours = region != NULL && region->type == MEM_BOOT_RECLAIM && region->end.v >= claim->end.v;
        if (ours && frame_release(pfn_of(claim->start), (claim->end.v - claim->start.v) / FRAME_SIZE) == OK)
            claim->type = MEM_USABLE;
    }
    if (machine_settle(&machine) != OK)
        port_panic("memory map: too many regions");
}
