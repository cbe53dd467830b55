/* SPDX-License-Identifier: MIT
 *
 * The kernel's page tables, built in two steps because tables are written through the direct map, which is
 * itself in the tables:
 *
 *   1. A small bootstrap root from BOOT_TABLES frames of .bss, reached through the image's own mapping: image,
 *      fixmap, and the direct map of one pool of free memory.
 *   2. The final root from frames of that pool: image with exact rights, fixmap, and the direct map of exactly
 *      the RAM, in the largest leaves that fit. What the pool has left goes to the frame allocator.
 *
 * Rights. Text is R-X, constants R--, data RW-, by 4 KiB entries; in the direct map text and constants are
 * R-- and everything else RW-; nothing is writable and executable (vm_count_wx walks the tables to show it).
 *
 * Options move two borders. directmap=SIZE ends the direct map after so much RAM, counted from the lowest on
 * (addresses differ between ISAs, and holes between PCs); movable=SIZE starts zone Movable so far below the end
 * of RAM. Whatever the kernel keeps where it is (image, pool, and every frame it takes from zones up to Normal)
 * lies below both, or the border is not drawn.
 *
 * The vmap row starts with stack slots of 2 × HAL_STACK_SIZE: the lower half of a slot is never mapped and
 * guards the stack in its upper half. Device registers follow after the last slot.
 */
#include <arch/hal.h>
#include <kernel/address_space.h>
#include <kernel/console.h>
#include <kernel/early.h>
#include <kernel/options.h>
#include <kernel/text.h>
#include <mm/frame.h>
#include <mm/port.h>
#include <mm/spinlock.h>
#include <string.h>

extern char __image_start[], __text_start[], __text_end[], __rodata_start[], __rodata_end[], __data_start[],
    __image_end[];
extern char boot_stack[];

#define STACK_SLOT (2 * HAL_STACK_SIZE)
#define STACK_SLOTS (2 * TOPO_MAX_CPUS)

struct pt kernel_pt;
uint64_t direct_offset;

static struct spinlock kernel_pt_lock;
static vaddr_t vmap_base;
static vaddr_t mmio_next;

paddr_t image_phys(const volatile void *pointer)
{
    return paddr_add(boot_info.image, (uintptr_t)pointer - HAL_KERNEL_BASE);
}

/* ---- Sources of table frames -------------------------------------------------------------------------- */

/* Bootstrap root: 5 levels of the image's and the fixmap's path (9), direct path to the pool (at most 3 + 2 ×
 * 2 where it crosses a border), level-0 tables of image and fixmap (4): 20. */
#define BOOT_TABLES 24
static uint8_t boot_tables[BOOT_TABLES][FRAME_SIZE] __attribute__((aligned(4096), section(".bss.pages")));
static unsigned boot_tables_used;

static status_t boot_table_alloc(void *context, paddr_t *table)
{
    (void)context;
    if (boot_tables_used == BOOT_TABLES)
        return ERR_NO_MEMORY;
    *table = image_phys(boot_tables[boot_tables_used++]);
    return OK;
}

/* One piece of free memory for the final tables and the frame allocator's metadata, used from its end down. */
static struct {
    uint64_t start, end;
    uint64_t next; /* everything from here to end is used */
} pool;

static status_t pool_alloc(void *context, paddr_t *table)
{
    (void)context;
    if (pool.next - pool.start < FRAME_SIZE)
        return ERR_NO_MEMORY;
    pool.next -= FRAME_SIZE;
    *table = paddr(pool.next);
    return OK;
}

static status_t live_alloc(void *context, paddr_t *table)
{
    (void)context;
    pfn_t frame;
    status_t status = frame_alloc_one(0, &frame);
    if (status == OK)
        *table = paddr_of(frame);
    return status;
}

/* Tables of a root under construction are never given back one by one. */
static void table_keep(void *context, paddr_t table)
{
    (void)context;
    (void)table;
}

static void live_free(void *context, paddr_t table)
{
    (void)context;
    if (frame_free(pfn_of(table), 1) != OK)
        port_panic("page table %#llx cannot be freed", (unsigned long long)table.v);
}

/* ---- What is mapped ----------------------------------------------------------------------------------- */

static void map_or_stop(struct pt *pt, vaddr_t va, uint64_t pa, uint64_t size, unsigned prot, memtype_t type)
{
    if (size == 0)
        return;
    status_t status = pt_map(pt, va, paddr(pa), size, prot, type);
    if (status != OK)
        port_panic("cannot map %#llx at %#llx, %llu bytes: %s", (unsigned long long)pa,
                   (unsigned long long)va, (unsigned long long)size, status_name(status));
}

static void map_section(struct pt *pt, const char *start, const char *end, unsigned prot)
{
    map_or_stop(pt, (vaddr_t)start, image_phys(start).v, (uint64_t)(end - start), prot | PROT_GLOBAL,
                MEMTYPE_NORMAL);
}

static void map_image_and_fixmap(struct pt *pt)
{
    map_section(pt, __text_start, __text_end, PROT_READ | PROT_EXEC);
    map_section(pt, __rodata_start, __rodata_end, PROT_READ);
    map_section(pt, __data_start, __image_end, PROT_READ | PROT_WRITE);
    for (unsigned slot = 0; slot < early_mark(); slot++) {
        pte_t entry = early_slot(slot);
        map_or_stop(pt, HAL_FIXMAP_BASE + slot * FRAME_SIZE, pte_paddr(entry, 0).v, FRAME_SIZE,
                    pte_prot(entry, 0), pte_memtype(entry, 0));
    }
}

static void map_direct(struct pt *pt, uint64_t start, uint64_t end, unsigned prot)
{
    if (start < end)
        map_or_stop(pt, HAL_DIRECT_BASE(pt->levels) + start, start, end - start, prot | PROT_GLOBAL,
                    MEMTYPE_NORMAL);
}

/* Text and constants must not be writable under their other address either. */
static void map_direct_run(struct pt *pt, uint64_t start, uint64_t end)
{
    uint64_t fixed_start = image_phys(__text_start).v;
    uint64_t fixed_end = image_phys(__rodata_end).v;
    map_direct(pt, start, min_u64(end, fixed_start), PROT_READ | PROT_WRITE);
    map_direct(pt, max_u64(start, fixed_start), min_u64(end, fixed_end), PROT_READ);
    map_direct(pt, max_u64(start, fixed_end), end, PROT_READ | PROT_WRITE);
}

static bool is_direct_type(mem_type_t type)
{
    return type == MEM_USABLE || type == MEM_BOOT_RECLAIM || type == MEM_ACPI_RECLAIM || type == MEM_KERNEL ||
           type == MEM_MODULE || type == MEM_EARLY;
}

/* The next run of adjoining RAM from region *index on, rounded inwards to frames. False after the last. */
static bool next_direct_run(unsigned *index, uint64_t *start, uint64_t *end)
{
    const struct memmap *map = &machine.map;
    while (*index < map->region_count && !is_direct_type(map->region[*index].type))
        (*index)++;
    if (*index == map->region_count)
        return false;
    *start = map->region[*index].start.v;
    do
        *end = map->region[(*index)++].end.v;
    while (*index < map->region_count && map->region[*index].start.v == *end &&
           is_direct_type(map->region[*index].type));
    *start = align_up(*start, FRAME_SIZE);
    *end = min_u64(align_down(*end, FRAME_SIZE), machine.limits.direct_end);
    return true;
}

/* ---- The pool ----------------------------------------------------------------------------------------- */

/* No more tables than this: per run, one per gigabyte and level above with one more at each border, two
 * level-0 tables at its edges and two where the image's rights change; and the image, fixmap, stacks. */
static uint64_t tables_bound(void)
{
    uint64_t tables = 24, start, end;
    for (unsigned i = 0; next_direct_run(&i, &start, &end);)
        if (start < end)
            tables += ((end - start) >> 30) + ((end - start) >> 39) + 2 + 2 + 4;
    return tables;
}

static uint64_t pool_size(uint64_t metadata)
{
    return metadata + tables_bound() * FRAME_SIZE;
}

/* The end of what is mapped and need not be movable. */
static uint64_t kernel_end(void)
{
    uint64_t start, end;
    zone_bounds(&machine.limits, ZONE_NORMAL, &start, &end);
    return end;
}

/* At the end of the highest region that is large enough, so that large aligned blocks below stay whole and
 * low memory stays free. False: none is; *largest is the size of the largest. */
static bool choose_pool(uint64_t size, uint64_t *largest)
{
    const struct memmap *map = &machine.map;
    *largest = 0;
    for (unsigned i = map->region_count; i-- > 0;) {
        const struct mem_region *region = &map->region[i];
        uint64_t start = align_up(region->start.v, FRAME_SIZE);
        uint64_t end = min_u64(align_down(region->end.v, FRAME_SIZE), kernel_end());
        if (region->type != MEM_USABLE || start >= end)
            continue;
        *largest = max_u64(*largest, end - start);
        if (end - start >= size) {
            pool.start = end - size;
            pool.end = pool.next = end;
            return true;
        }
    }
    return false;
}

static void make_pool(uint64_t size)
{
    uint64_t largest;
    if (!choose_pool(size, &largest))
        port_panic(
            "too little memory: %llu KiB in one piece are needed beside the kernel's image, the largest "
            "free piece is %llu KiB",
            (unsigned long long)(size / KIB(1)), (unsigned long long)(largest / KIB(1)));
}

static void claim_early(uint64_t start, uint64_t end)
{
    if (memmap_claim(&machine.map, start, end - start, MEM_EARLY, SOURCE_KERNEL, 0, false) != OK ||
        machine_settle(&machine) != OK)
        port_panic("memory map: no room for the kernel's own claims");
}

/* ---- Borders ------------------------------------------------------------------------------------------ */

#define CHUNK_BYTES (CHUNK_FRAMES * FRAME_SIZE)

/* A CPU's two stacks and own data, with room to spare; and all that the kernel takes for itself otherwise. */
#define ROOM_PER_CPU KIB(64)
#define ROOM_BESIDES MIB(4)

/* Where the direct map ends when it holds `size` bytes: at the end of a 2 MiB block, which saves small leaves. */
static uint64_t direct_border(uint64_t size)
{
    uint64_t start, end;
    for (unsigned i = 0; next_direct_run(&i, &start, &end);) {
        if (start < end && end - start >= size)
            return min_u64(align_up(start + size, CHUNK_BYTES), machine.limits.direct_end);
        size -= start < end ? end - start : 0;
    }
    return machine.limits.direct_end;
}

/* Where the highest `size` bytes of RAM that is free, now or after boot, begin; at the start of a 2 MiB block. 0:
 * there is not so much. */
static uint64_t movable_border(uint64_t size)
{
    const struct memmap *map = &machine.map;
    for (unsigned i = map->region_count; i-- > 0;) {
        const struct mem_region *region = &map->region[i];
        uint64_t length = region->end.v - region->start.v;
        if (region->type != MEM_USABLE && region->type != MEM_BOOT_RECLAIM)
            continue;
        if (length >= size)
            return align_down(region->end.v - size, CHUNK_BYTES);
        size -= length;
    }
    return 0;
}

static bool kernel_has_room(void)
{
    uint64_t metadata = frame_metadata_size(&machine.map, &machine.topo, &machine.limits), largest;
    uint64_t needed = pool_size(metadata) + machine.topo.cpu_count * ROOM_PER_CPU + ROOM_BESIDES;
    return boot_info.image.v + boot_info.image_size <= kernel_end() &&
           memmap_bytes(&machine.map, MEM_USABLE, kernel_end()) >= needed &&
           choose_pool(pool_size(metadata), &largest);
}

static void draw_border(uint64_t *limit, uint64_t border, const char *option, uint64_t size)
{
    uint64_t before = *limit;
    struct size_text text;
    *limit = border;
    if (border != 0 && kernel_has_room())
        return;
    *limit = before;
    kprintf("warning: %s=%s leaves too little memory to the kernel; left out\n", option,
            size_text(&text, size));
}

static void draw_borders(unsigned levels)
{
    machine.limits.direct_end = HAL_DIRECT_SIZE(levels);
    if (options.directmap != 0)
        draw_border(&machine.limits.direct_end, direct_border(options.directmap), "directmap",
                    options.directmap);
    if (options.movable != 0)
        draw_border(&machine.limits.movable_start, movable_border(options.movable), "movable",
                    options.movable);
}

/* ---- Taking over -------------------------------------------------------------------------------------- */

static void start_bootstrap_root(unsigned levels, unsigned max_leaf)
{
    struct pt boot_pt;
    struct pt_frames frames = {boot_table_alloc, table_keep, NULL};
    direct_offset = HAL_KERNEL_BASE - boot_info.image.v;
    if (pt_init(&boot_pt, levels, max_leaf, frames) != OK)
        port_panic("no frame for the first page table");
    map_image_and_fixmap(&boot_pt);
    map_direct(&boot_pt, pool.start, pool.end, PROT_READ | PROT_WRITE);
    hal_mmu_activate(boot_pt.root, levels);
    direct_offset = HAL_DIRECT_BASE(levels);
}

static void start_final_root(unsigned levels, unsigned max_leaf)
{
    struct pt_frames frames = {pool_alloc, table_keep, NULL};
    if (pt_init(&kernel_pt, levels, max_leaf, frames) != OK)
        port_panic("no frame for the kernel's page table");
    map_image_and_fixmap(&kernel_pt);
    uint64_t start, end;
    for (unsigned i = 0; next_direct_run(&i, &start, &end);)
        map_direct_run(&kernel_pt, start, end);
    hal_mmu_activate(kernel_pt.root, levels);
    kernel_pt.frames = (struct pt_frames){live_alloc, live_free, NULL};
}

static unsigned choose_levels(const struct mmu_features *mmu, unsigned wanted)
{
    if (wanted != 0 && wanted < mmu->min_levels)
        port_panic("paging=%u: this machine's modes have %u to %u levels", wanted, mmu->min_levels,
                   mmu->max_levels);
    return wanted != 0 && wanted < mmu->max_levels ? wanted : mmu->max_levels;
}

void vm_init(void)
{
    struct mmu_features mmu = hal_mmu_probe();
    unsigned levels = choose_levels(&mmu, options.paging_levels), max_leaf = mmu.max_leaf;
    draw_borders(levels);
    vmap_base = HAL_VMAP_BASE(levels);
    mmio_next = vmap_base + STACK_SLOTS * STACK_SLOT;

    uint64_t metadata = frame_metadata_size(&machine.map, &machine.topo, &machine.limits);
    make_pool(pool_size(metadata));
    start_bootstrap_root(levels, max_leaf);
    pool.next -= metadata;
    void *metadata_at = port_phys_to_virt(paddr(pool.next));
    memset(metadata_at, 0, metadata);
    start_final_root(levels, max_leaf);

    claim_early(pool.next, pool.end);
    status_t status = frame_init(&machine.map, &machine.topo, &machine.limits, metadata_at, metadata);
    if (status != OK)
        port_panic("the frame allocator cannot start: %s", status_name(status));
    if (options.threshold != 0 && frame_set_threshold(options.threshold) != OK)
        kprintf("warning: threshold=%llu is left out: from 2 to %llu frames\n", (unsigned long long)options.threshold,
                (unsigned long long)CHUNK_FRAMES);
}

/* ---- Afterwards --------------------------------------------------------------------------------------- */

static status_t map_locked(vaddr_t va, paddr_t pa, uint64_t size, unsigned prot, memtype_t type)
{
    uint64_t irq = spin_lock(&kernel_pt_lock);
    status_t status = pt_map(&kernel_pt, va, pa, size, prot | PROT_GLOBAL, type);
    spin_unlock(&kernel_pt_lock, irq);
    return status;
}

status_t stack_create(unsigned slot, uint16_t node, uint64_t *top)
{
    struct frame_request request = {
        .count = HAL_STACK_SIZE / FRAME_SIZE, .node = node, .zone = ZONE_NORMAL, .flags = FRAME_ZEROED};
    pfn_t frames;
    status_t status = frame_alloc(&request, &frames);
    if (status != OK)
        return status;
    vaddr_t base = vmap_base + slot * STACK_SLOT + HAL_STACK_SIZE;
    status = map_locked(base, paddr_of(frames), HAL_STACK_SIZE, PROT_READ | PROT_WRITE, MEMTYPE_NORMAL);
    if (status != OK) {
        status_t freed = frame_free(frames, request.count);
        return freed != OK ? freed : status;
    }
    *top = base + HAL_STACK_SIZE;
    return OK;
}

void stack_destroy(unsigned slot)
{
    struct pt_leaf leaf;
    vaddr_t base = vmap_base + slot * STACK_SLOT + HAL_STACK_SIZE;
    uint64_t irq = spin_lock(&kernel_pt_lock);
    status_t status = pt_lookup(&kernel_pt, base, &leaf);
    if (status == OK)
        status = pt_unmap(&kernel_pt, base, HAL_STACK_SIZE);
    spin_unlock(&kernel_pt_lock, irq);
    if (status == OK && frame_free(pfn_of(leaf.target), HAL_STACK_SIZE / FRAME_SIZE) != OK)
        port_panic("stack %u cannot be freed", slot);
}

static bool is_stack_slot(vaddr_t address)
{
    return vmap_base != 0 && address >= vmap_base && address - vmap_base < STACK_SLOTS * STACK_SLOT;
}

bool stack_contains(vaddr_t address)
{
    if (!is_aligned(address, 8))
        return false;
    vaddr_t boot = (vaddr_t)boot_stack;
    if (address >= boot && address - boot <= HAL_STACK_SIZE - 16)
        return true;
    struct pt_leaf leaf;
    return is_stack_slot(address) && is_stack_slot(address + 15) &&
           pt_lookup(&kernel_pt, address, &leaf) == OK && pt_lookup(&kernel_pt, address + 15, &leaf) == OK;
}

int stack_guard_owner(vaddr_t address)
{
    if (!is_stack_slot(address) || (address - vmap_base) % STACK_SLOT >= HAL_STACK_SIZE)
        return -1;
    return (int)((address - vmap_base) / STACK_SLOT / 2);
}

volatile void *mmio_map(paddr_t base, uint64_t size)
{
    uint64_t start = align_down(base.v, FRAME_SIZE);
    uint64_t end;
    if (size == 0 || __builtin_add_overflow(base.v, size, &end) || end >> PTE_PADDR_BITS != 0)
        return NULL;
    uint64_t length = align_up(end, FRAME_SIZE) - start;
    uint64_t irq = spin_lock(&kernel_pt_lock);
    vaddr_t va = mmio_next;
    status_t status = ERR_FULL;
    if (length <= vmap_base + HAL_VMAP_SIZE(kernel_pt.levels) - mmio_next)
        status = pt_map(&kernel_pt, va, paddr(start), length, PROT_READ | PROT_WRITE | PROT_GLOBAL,
                        MEMTYPE_DEVICE);
    if (status == OK)
        mmio_next += length;
    spin_unlock(&kernel_pt_lock, irq);
    return status == OK ? (volatile void *)(va + (base.v - start)) : NULL;
}

status_t vm_window(vaddr_t va, _Atomic pte_t **entry)
{
    paddr_t table;
    uint64_t irq = spin_lock(&kernel_pt_lock);
    status_t status = pt_window(&kernel_pt, va, &table);
    spin_unlock(&kernel_pt_lock, irq);
    if (status == OK)
        *entry = (_Atomic pte_t *)port_phys_to_virt(table) + va / FRAME_SIZE % PT_ENTRIES;
    return status;
}

uint64_t vm_table_bytes(void)
{
    return kernel_pt.tables * FRAME_SIZE;
}

struct wx_count {
    uint64_t leaves, bad;
};

static bool count_wx(void *context, const struct pt_leaf *leaf)
{
    struct wx_count *count = context;
    unsigned both = PROT_WRITE | PROT_EXEC;
    count->leaves++;
    count->bad += (leaf->prot & both) == both;
    return true;
}

uint64_t vm_count_wx(uint64_t *leaves)
{
    struct wx_count count = {0, 0};
    pt_visit(&kernel_pt, 0, UINTPTR_MAX, count_wx, &count);
    *leaves = count.leaves;
    return count.bad;
}
