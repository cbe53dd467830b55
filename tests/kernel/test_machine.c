/* SPDX-License-Identifier: MIT
 *
 * Tests that only make sense inside the kernel: faults are caught and named, the page tables keep W^X, the
 * direct map holds exactly the RAM, every CPU works.
 */
#include <arch/hal.h>
#include <kernel/address_space.h>
#include <kernel/cpus.h>
#include <kernel/early.h>
#include <kernel/panic.h>
#include <kernel/symbols.h>
#include <mm/frame.h>
#include <mm/frame_reserve.h>
#include <mm/port.h>
#include <string.h>

#include "../unit/frame_support.h"

/* ---- Faults ------------------------------------------------------------------------------------------- */

/* Mapped by no row; volatile, so that the compiler cannot reason about it. */
static volatile uintptr_t nowhere = 0x1230;

static void read_nowhere(void *context)
{
    (void)context;
    (void)*(volatile uint64_t *)nowhere;
}

static void write_byte(void *context)
{
    *(volatile uint8_t *)context = 0;
}

static void call_data(void *context)
{
    void (*function)(void);
    memcpy(&function, &context, sizeof(function));
    function();
}

static void overflow(void *context)
{
    (void)context;
    hal_overflow_stack();
}

static void run_illegal(void *context)
{
    (void)context;
    hal_illegal_instruction();
}

TEST(machine, read_fault_is_caught_and_named)
{
    struct trap_info trap;
    CHECK(trap_catch(read_nowhere, NULL, &trap));
    CHECK_EQ(trap.kind, TRAP_PAGE_FAULT);
    CHECK_EQ(trap.address, nowhere);
    CHECK_EQ(trap.access & TRAP_WRITE, 0);
    uint64_t offset;
    const char *name = symbol_find(trap.pc, &offset);
    CHECK(name != NULL && strncmp(name, "read_nowhere", 12) == 0);
}

TEST(machine, write_to_constants_faults)
{
    extern char __rodata_start[];
    struct trap_info trap;
    CHECK(trap_catch(write_byte, __rodata_start, &trap));
    CHECK_EQ(trap.kind, TRAP_PAGE_FAULT);
    CHECK_EQ(trap.address, (uintptr_t)__rodata_start);
    CHECK(trap.access & TRAP_WRITE);
}

TEST(machine, write_to_text_through_the_direct_map_faults)
{
    extern char __text_start[];
    void *alias = port_phys_to_virt(image_phys(__text_start));
    struct trap_info trap;
    CHECK(trap_catch(write_byte, alias, &trap));
    CHECK_EQ(trap.kind, TRAP_PAGE_FAULT);
    CHECK_EQ(trap.address, (uintptr_t)alias);
}

TEST(machine, executing_data_faults)
{
    static uint64_t data[2];
    struct trap_info trap;
    CHECK(trap_catch(call_data, data, &trap));
    CHECK_EQ(trap.kind, TRAP_PAGE_FAULT);
    CHECK_EQ(trap.address, (uintptr_t)data);
    CHECK(trap.access & TRAP_EXEC);
}

TEST(machine, illegal_instruction_is_named)
{
    struct trap_info trap;
    CHECK(trap_catch(run_illegal, NULL, &trap));
    CHECK_EQ(trap.kind, TRAP_ILLEGAL);
}

TEST(machine, stack_overflow_is_caught_and_named)
{
    struct trap_info trap;
    CHECK(trap_catch(overflow, NULL, &trap));
    CHECK_EQ(trap.kind, TRAP_STACK_OVERFLOW);
    CHECK_EQ(stack_guard_owner(trap.address), hal_percpu()->index);
}

/* ---- Page tables -------------------------------------------------------------------------------------- */

TEST(machine, nothing_is_writable_and_executable)
{
    uint64_t leaves;
    CHECK_EQ(vm_count_wx(&leaves), 0);
    CHECK(leaves > 0);
}

TEST(machine, page_tables_are_sound)
{
    const char *broken = pt_check(&kernel_pt);
    if (broken != NULL)
        test_fail(test_result_, __FILE__, __LINE__, "%s", broken);
}

struct direct_sum {
    uint64_t mapped, outside;
    uint64_t by_level[3];
};

static bool is_ram(uint64_t start, uint64_t end)
{
    for (uint64_t at = start; at < end;) {
        const struct mem_region *region = memmap_find(&machine.map, paddr(at));
        if (region == NULL || region->type == MEM_RESERVED || region->type == MEM_NOMAP ||
            region->type == MEM_FIRMWARE || region->type == MEM_MMIO || region->type == MEM_SPECIFIC)
            return false;
        at = region->end.v;
    }
    return true;
}

static bool add_direct_leaf(void *context, const struct pt_leaf *leaf)
{
    struct direct_sum *sum = context;
    uint64_t size = pt_level_size(leaf->level);
    sum->mapped += size;
    sum->by_level[leaf->level]++;
    sum->outside += !is_ram(leaf->target.v, leaf->target.v + size);
    return true;
}

/* Bytes of RAM that the allocator got and the direct map should hold. */
static uint64_t managed_and_direct(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < machine.map.region_count; i++) {
        const struct mem_region *region = &machine.map.region[i];
        uint64_t start = align_up(region->start.v, FRAME_SIZE);
        uint64_t end = min_u64(align_down(region->end.v, FRAME_SIZE), machine.limits.direct_end);
        if (region->type == MEM_USABLE && start < end)
            sum += end - start;
    }
    return sum;
}

TEST(machine, direct_map_holds_exactly_the_ram)
{
    struct direct_sum sum = {0};
    vaddr_t base = HAL_DIRECT_BASE(kernel_pt.levels);
    pt_visit(&kernel_pt, base, base + (HAL_DIRECT_SIZE(kernel_pt.levels) - 1), add_direct_leaf, &sum);
    CHECK_EQ(sum.outside, 0);
    CHECK(sum.mapped >= managed_and_direct());
    CHECK(sum.mapped < MIB(64) || sum.by_level[1] + sum.by_level[2] > 0);
}

TEST(machine, layout_rows_do_not_overlap)
{
    const struct layout_row *row = layout_rows(kernel_pt.levels);
    for (; row->name != NULL && row[1].name != NULL; row++)
        CHECK(row->start + (row->size - 1) < row[1].start);
}

/* ---- CPUs --------------------------------------------------------------------------------------------- */

struct roll_call {
    _Atomic uint64_t seen[TOPO_MAX_CPUS / 64];
};

static void answer(void *context, unsigned index)
{
    (void)index;
    struct roll_call *roll = context;
    unsigned cpu = hal_percpu()->index;
    atomic_fetch_or(&roll->seen[cpu / 64], UINT64_C(1) << (cpu % 64));
}

TEST(machine, every_cpu_answers)
{
    static struct roll_call roll;
    memset(&roll, 0, sizeof(roll));
    CHECK_EQ(cpus_online(), cpus_startable());
    cpus_run(cpus_online(), answer, &roll);
    for (unsigned i = 0; i < cpu_count(); i++)
        CHECK_EQ(atomic_load(&roll.seen[i / 64]) >> (i % 64) & 1, atomic_load(&cpu_get(i)->online));
}

static void flush_much(void *context, unsigned index)
{
    (void)context;
    for (unsigned i = 0; i < 20; i++)
        port_tlb_flush(HAL_KERNEL_BASE + index * FRAME_SIZE, FRAME_SIZE);
}

TEST(machine, shootdowns_from_all_cpus_at_once_end)
{
    cpus_run(cpus_online(), flush_much, NULL);
}

/* A page that every CPU has used and that is then unmapped: none may still reach it. */
static struct {
    vaddr_t address;
    _Atomic unsigned faults;
} unmapped;

static void read_word(void *context)
{
    (void)*(volatile uint64_t *)context;
}

static void use_page(void *context, unsigned index)
{
    (void)index;
    read_word(context);
}

static void expect_fault(void *context, unsigned index)
{
    struct trap_info trap;
    (void)index;
    atomic_fetch_add(&unmapped.faults, trap_catch(read_word, context, &trap));
}

TEST(machine, unmapping_reaches_every_cpu)
{
    unsigned slot = 2 * cpu_count(), cpus = cpus_online();
    uint64_t top;
    if (cpu_count() == TOPO_MAX_CPUS)
        SKIP("no stack slot is free");
    CHECK_EQ(stack_create(slot, 0, &top), OK);
    unmapped.address = top - sizeof(uint64_t);
    atomic_store(&unmapped.faults, 0);
    cpus_run(cpus, use_page, (void *)unmapped.address);
    stack_destroy(slot);
    cpus_run(cpus, expect_fault, (void *)unmapped.address);
    CHECK_EQ(atomic_load(&unmapped.faults), cpus);
}

TEST(machine, interrupts_are_enabled_and_time_passes)
{
    CHECK(hal_irq_enabled());
    uint64_t start = hal_time_ns();
    cpu_sleep(1000000);
    CHECK(hal_irq_enabled());
    CHECK(hal_time_ns() > start);
}

/* ---- Memory map --------------------------------------------------------------------------------------- */

TEST(machine, own_memory_is_not_handed_out)
{
    extern char __image_start[], __image_end[];
    unsigned zone;
    for (const char *at = __image_start; at < __image_end; at += FRAME_SIZE)
        CHECK_EQ(frame_query(pfn_of(image_phys(at)), &zone), FRAME_UNMANAGED);
    CHECK_EQ(frame_query(pfn_of(kernel_pt.root), &zone), FRAME_UNMANAGED);
    CHECK_EQ(frame_query(pfn(0), &zone), FRAME_UNMANAGED);
}

TEST(machine, map_and_topology_are_sound)
{
    CHECK(memmap_check(&machine.map) == NULL);
    CHECK(topo_check(&machine.topo) == NULL);
}

/* ---- Without memory ----------------------------------------------------------------------------------- */

/* One page and the tables above it, from where the kernel's own tables come. */
static bool map_one_page(void)
{
    struct pt pt;
    if (pt_init(&pt, kernel_pt.levels, 0, kernel_pt.frames) != OK)
        return false;
    bool mapped = pt_map(&pt, GIB(1), paddr(0), FRAME_SIZE, PROT_READ, MEMTYPE_NORMAL) == OK &&
                  pt.tables == pt.levels && pt_unmap(&pt, GIB(1), FRAME_SIZE) == OK;
    pt.frames.free(pt.frames.context, pt.root);
    return mapped;
}

TEST(machine, page_tables_can_be_made_without_memory)
{
    uint64_t before = frame_free_count(), reserved = frame_reserved();
    struct frame_reserve_info info;
    struct chain chain = {0};
    pfn_t frame;
    frame_reserve_info((uint16_t)hal_percpu()->node, FRAME_RESERVE_PAGE_TABLE, &info);
    if (info.size < kernel_pt.levels)
        SKIP("the reserve of this node is too small for a whole path");
    chain_take_all(&chain, ANY_FRAMES(1), FRAME_ORDERS - 1);
    bool none = frame_alloc_one(0, &frame) == ERR_NO_MEMORY;
    bool mapped = map_one_page();
    chain_free_all(&chain);
    CHECK(none && mapped && !chain.damaged);
    CHECK_RESTORED(before);
    CHECK_EQ(frame_reserved(), reserved);
}
