/* SPDX-License-Identifier: MIT
 *
 * Temporary maps. Each CPU has a window of TEMP_SLOTS pages in the row "temporary maps", used as a stack: the
 * innermost map has the highest slot. Between two slots lies a page that is never mapped. The level-0 table of
 * the window is made before the CPU starts, so mapping is one store and cannot fail.
 *
 * Interrupts need not be masked. A slot is taken by raising temp_depth before its entry is written, and given
 * back by lowering it after the entry was cleared and flushed; an interrupt at any point between finds only
 * slots above its own start free, and leaves temp_depth as it was.
 *
 * Only this CPU's TLB is flushed, though the tables are everybody's. Another CPU may translate the address
 * speculatively and keep that; but no code on it ever uses an address in this CPU's window (the contract of
 * temp_map), so what it keeps decides about no access. All leaves are 4 KiB, so no two sizes meet in its TLB
 * either. The owner itself flushes between clearing an entry and writing it anew, as aarch64 demands
 * (break-before-make).
 */
#include <kernel/address_space.h>
#include <kernel/early.h>
#include <mm/port.h>
#include <stdatomic.h>

/* Pages from one slot to the next, and of a CPU's window. */
#define STRIDE 2
#define WINDOW (TEMP_SLOTS * STRIDE)

_Static_assert(TOPO_MAX_CPUS *WINDOW *FRAME_SIZE <= HAL_TEMP_SIZE, "a window for each CPU");
_Static_assert(PT_ENTRIES % WINDOW == 0, "a window lies in one table");

/* Whether zone Device has memory below the direct map's end. Set before the second CPU starts. */
static bool direct_map_has_gaps;

static vaddr_t window_of(const struct percpu *cpu)
{
    return HAL_TEMP_BASE + (vaddr_t)cpu->index * WINDOW * FRAME_SIZE;
}

static bool is_direct(pfn_t frame)
{
    if (paddr_of(frame).v >= machine.limits.direct_end)
        return false;
    if (!direct_map_has_gaps)
        return true;
    const struct mem_region *region = memmap_find(&machine.map, paddr_of(frame));
    return region == NULL || region->type != MEM_SPECIFIC;
}

status_t temp_map_init(struct percpu *cpu)
{
    direct_map_has_gaps = memmap_bytes(&machine.map, MEM_SPECIFIC, machine.limits.direct_end) > 0;
    return vm_window(window_of(cpu), &cpu->temp_entry);
}

void *temp_map(pfn_t frame)
{
    if (is_direct(frame))
        return port_phys_to_virt(paddr_of(frame));
    struct percpu *cpu = hal_percpu();
    uint32_t slot = atomic_load_explicit(&cpu->temp_depth, memory_order_relaxed);
    if (slot == TEMP_SLOTS)
        port_panic("CPU %u holds %u temporary maps and wants another", cpu->index, TEMP_SLOTS);
    atomic_store_explicit(&cpu->temp_depth, slot + 1, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    pte_t entry = pte_make_leaf(paddr_of(frame), 0, PROT_READ | PROT_WRITE | PROT_GLOBAL, MEMTYPE_NORMAL);
    atomic_store_explicit(&cpu->temp_entry[slot * STRIDE], entry, memory_order_release);
    hal_pte_sync();
    return (void *)(window_of(cpu) + slot * STRIDE * FRAME_SIZE);
}

void temp_unmap(void *page)
{
    vaddr_t address = (vaddr_t)page;
    if (address - HAL_TEMP_BASE >= HAL_TEMP_SIZE)
        return;
    struct percpu *cpu = hal_percpu();
    uint32_t slot = atomic_load_explicit(&cpu->temp_depth, memory_order_relaxed) - 1;
    if (address != window_of(cpu) + slot * STRIDE * FRAME_SIZE)
        port_panic("temporary map %#lx is not CPU %u's innermost", address, cpu->index);
    atomic_store_explicit(&cpu->temp_entry[slot * STRIDE], 0, memory_order_release);
    hal_tlb_flush_local(address, FRAME_SIZE);
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&cpu->temp_depth, slot, memory_order_relaxed);
}

const char *temp_map_check(void)
{
    for (unsigned i = 0; i < cpu_count(); i++) {
        struct percpu *cpu = cpu_get(i);
        if (atomic_load_explicit(&cpu->temp_depth, memory_order_acquire) != 0)
            return "temp_map: a CPU's maps are not all unmapped";
        for (unsigned page = 0; page < WINDOW; page++)
            if (atomic_load_explicit(&cpu->temp_entry[page], memory_order_relaxed) != 0)
                return "temp_map: a CPU's window is not empty";
    }
    return NULL;
}
