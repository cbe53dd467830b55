/* SPDX-License-Identifier: MIT
 *
 * Translation: finding the paging modes, exchanging roots, dropping translations.
 *
 * Probing. A write to satp with a mode that the hart does not have changes nothing, but one that it has takes
 * effect at once. So the tables tried are real: the last entry of probe_root[0], an Sv48 root, is the present
 * Sv39 root, and the last entry of probe_root[1], an Sv57 root, is probe_root[0]. What Sv39 maps in the
 * kernel's half has the same addresses in all three.
 */
#include <arch/hal.h>
#include <kernel/address_space.h>

#define LEVELS_MIN 3
#define LEVELS_MAX 5
#define MAX_LEAF 2 /* gigapages, in every mode */

#define SATP_MODE_SHIFT 60
#define SATP_ROOT_MASK ((UINT64_C(1) << 44) - 1)

/* Pages that are dropped one by one; larger ranges cost the whole TLB. */
#define FLUSH_PAGES_MAX 64

static const char *const mode_name[] = {"Sv39", "Sv48", "Sv57"};

static pte_t probe_root[LEVELS_MAX - LEVELS_MIN][PT_ENTRIES]
    __attribute__((aligned(4096), section(".bss.pages")));

uint64_t mmu_satp;

/* Sv39 is mode 8, and so on. */
static uint64_t make_satp(paddr_t root, unsigned levels)
{
    return (uint64_t)(levels + 5) << SATP_MODE_SHIFT | pfn_of(root).v;
}

static void flush_all(void)
{
    __asm__ volatile("sfence.vma" ::: "memory");
}

static bool offers(unsigned levels)
{
    uint64_t early = csr_read(satp);
    paddr_t next = paddr_of(pfn(early & SATP_ROOT_MASK));
    for (unsigned i = 0; i < levels - LEVELS_MIN; i++) {
        probe_root[i][PT_ENTRIES - 1] = pte_make_table(next);
        next = image_phys(probe_root[i]);
    }
    uint64_t tried = make_satp(next, levels);
    flush_all();
    csr_write(satp, tried);
    bool taken = csr_read(satp) == tried;
    csr_write(satp, early);
    flush_all();
    return taken;
}

struct mmu_features hal_mmu_probe(void)
{
    uint64_t irq = hal_irq_save();
    unsigned found = LEVELS_MAX;
    while (found > LEVELS_MIN && !offers(found))
        found--;
    hal_irq_restore(irq);
    return (struct mmu_features){.min_levels = LEVELS_MIN, .max_levels = found, .max_leaf = MAX_LEAF,
                                 .paddr_bits = PTE_PADDR_BITS};
}

const char *hal_mmu_mode_name(unsigned levels)
{
    return mode_name[levels - LEVELS_MIN];
}

/* Root and mode change in one write; code, stack and fixmap are mapped alike before and after it. */
void hal_mmu_activate(paddr_t root, unsigned levels)
{
    mmu_satp = make_satp(root, levels);
    flush_all();
    csr_write(satp, mmu_satp);
    flush_all();
}

/* With an address but no address-space number, SFENCE.VMA covers global entries and leaves of any size. */
void hal_tlb_flush_local(vaddr_t start, uint64_t size)
{
    if (size > FLUSH_PAGES_MAX * FRAME_SIZE) {
        flush_all();
        return;
    }
    for (uint64_t offset = 0; offset < size; offset += FRAME_SIZE)
        __asm__ volatile("sfence.vma %0, zero" ::"r"(start + offset) : "memory");
}
