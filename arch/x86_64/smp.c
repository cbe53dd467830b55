/* SPDX-License-Identifier: MIT
 *
 * Other CPUs: started by INIT and two startup interrupts (SDM 8.4.4.1), interrupted through the local APIC.
 *
 * A started CPU executes a copy of start.S's trampoline in a frame below 1 MiB, in real mode. To reach the
 * image it needs tables below 4 GiB that map this frame at its own address, which the kernel's must not: it
 * gets a root of its own with the frame, read only and executable, and the image. Frame and tables are made
 * when the first CPU is started, and kept.
 */
#include <arch/hal.h>
#include <drivers/irqchip/lapic.h>
#include <kernel/address_space.h>
#include <kernel/percpu.h>
#include <mm/frame.h>
#include <mm/port.h>
#include <string.h>

#define INIT_NS 10000000 /* as the SDM has it: 10 ms after INIT, 200 µs after a startup interrupt */
#define STARTUP_NS 200000

static pfn_t trampoline; /* 0: not made yet */

static status_t alloc_below(uint64_t limit, zone_kind_t zone, pfn_t *frame)
{
    struct frame_request request = {.count = 1, .limit = limit, .node = FRAME_NODE_ANY, .zone = zone};
    return frame_alloc(&request, frame);
}

static status_t low_table(void *context, paddr_t *table)
{
    (void)context;
    pfn_t frame;
    status_t status = alloc_below(GIB(4), ZONE_DMA32, &frame);
    if (status == OK)
        *table = paddr_of(frame);
    return status;
}

static void low_table_free(void *context, paddr_t table)
{
    (void)context;
    if (frame_free(pfn_of(table), 1) != OK)
        port_panic("page table %#llx cannot be freed", (unsigned long long)table.v);
}

/* The root's last entry leads to the image, in both paging modes. */
static status_t make_tables(pfn_t frame, paddr_t *root)
{
    struct pt pt;
    struct pt_frames frames = {low_table, low_table_free, NULL};
    status_t status = pt_init(&pt, kernel_pt.levels, 0, frames);
    if (status != OK)
        return status;
    paddr_t at = paddr_of(frame);
    status = pt_map(&pt, at.v, at, FRAME_SIZE, PROT_READ | PROT_EXEC, MEMTYPE_NORMAL);
    if (status != OK) {
        low_table_free(NULL, pt.root);
        return status;
    }
    const pte_t *kernel_root = port_phys_to_virt(kernel_pt.root);
    pte_t *own_root = port_phys_to_virt(pt.root);
    own_root[PT_ENTRIES - 1] = kernel_root[PT_ENTRIES - 1];
    *root = pt.root;
    return OK;
}

static status_t make_trampoline(void)
{
    pfn_t frame;
    paddr_t root;
    status_t status = alloc_below(MIB(1), ZONE_DMA, &frame);
    if (status != OK)
        return status;
    status = make_tables(frame, &root);
    if (status != OK) {
        status_t freed = frame_free(frame, 1);
        return freed != OK ? freed : status;
    }
    char *code = port_phys_to_virt(paddr_of(frame));
    uint32_t mode = CR4_PAE | (mmu_levels == PT_MAX_LEVELS ? CR4_LA57 : 0);
    struct secondary_parameters parameters = {.root = (uint32_t)root.v, .cr4 = mode};
    memcpy(code, secondary_trampoline, (size_t)(secondary_trampoline_end - secondary_trampoline));
    memcpy(code + (secondary_parameters - secondary_trampoline), &parameters, sizeof(parameters));
    trampoline = frame;
    return OK;
}

/* A frame for its descriptor tables. */
static status_t give_tables(struct percpu *cpu)
{
    struct frame_request request = {
        .count = 1, .node = (uint16_t)cpu->node, .zone = ZONE_NORMAL, .flags = FRAME_ZEROED};
    pfn_t frame;
    status_t status = frame_alloc(&request, &frame);
    if (status == OK)
        cpu->port[PORT_TABLES] = (uintptr_t)port_phys_to_virt(paddr_of(frame));
    return status;
}

static void wait_ns(uint64_t ns)
{
    uint64_t end = hal_time_ns() + ns;
    while (hal_time_ns() < end)
        hal_cpu_relax();
}

status_t hal_cpu_start(struct percpu *cpu)
{
    if (!lapic_reaches(cpu->hw_id))
        return ERR_INVALID;
    status_t status = trampoline.v == 0 ? make_trampoline() : OK;
    if (status == OK)
        status = give_tables(cpu);
    if (status != OK)
        return status;
    secondary_cpu = cpu;
    lapic_send(cpu->hw_id, LAPIC_INIT);
    wait_ns(INIT_NS);
    lapic_send(cpu->hw_id, LAPIC_STARTUP((uint32_t)trampoline.v));
    wait_ns(STARTUP_NS);
    lapic_send(cpu->hw_id, LAPIC_STARTUP((uint32_t)trampoline.v));
    return OK;
}

void hal_ipi_send(const struct percpu *target)
{
    lapic_send(target->hw_id, LAPIC_FIXED(VECTOR_IPI));
}
