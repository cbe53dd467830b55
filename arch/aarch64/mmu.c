/* SPDX-License-Identifier: MIT
 *
 * Translation: one mode (4 KiB granule, 48 bits, four levels), kernel addresses through TTBR1. start.S has
 * set MAIR_EL1 and TCR_EL1 for good; this file exchanges roots and drops translations.
 */
#include <arch/hal.h>
#include <kernel/address_space.h>

#define LEVELS 4
#define MAX_LEAF 2 /* 1 GiB blocks */

/* Pages that are dropped one by one; larger ranges cost the whole TLB. */
#define FLUSH_PAGES_MAX 64

uint64_t mmu_root;

/* PARange 0 … 5 (Arm ARM D17.2.64); larger ones need LPA2, which the tables here do not use. */
static unsigned paddr_bits(void)
{
    static const unsigned bits[] = {32, 36, 40, 42, 44, 48};
    uint64_t range = sysreg_read(id_aa64mmfr0_el1) & 15;
    return range < ARRAY_LEN(bits) ? bits[range] : PTE_PADDR_BITS;
}

struct mmu_features hal_mmu_probe(void)
{
    return (struct mmu_features){.min_levels = LEVELS, .max_levels = LEVELS, .max_leaf = MAX_LEAF,
                                 .paddr_bits = paddr_bits()};
}

const char *hal_mmu_mode_name(unsigned levels)
{
    return levels == 3 ? "3-level" : levels == 5 ? "5-level" : "4-level";
}

static void flush_all(void)
{
    __asm__ volatile("dsb nshst\n"
                     "tlbi vmalle1\n"
                     "dsb nsh\n"
                     "isb" ::: "memory");
}

static void set_root(uint64_t root)
{
    sysreg_write(ttbr1_el1, root);
    cpu_isb();
    flush_all();
}

/* Two roots may map the same address by leaves of different sizes, which must never be in one TLB together
 * (break-before-make). The early root between them translates only the image, boot stack included, and the
 * fixmap: by the same 4 KiB entries as any other root, but for rights. */
void hal_mmu_activate(paddr_t root, unsigned levels)
{
    (void)levels;
    __asm__ volatile("dsb ishst" ::: "memory");
    set_root(image_phys(early_root).v);
    set_root(root.v);
    mmu_root = root.v;
}

void hal_tlb_flush_local(vaddr_t start, uint64_t size)
{
    uint64_t pages = align_up(size, FRAME_SIZE) >> FRAME_SHIFT;
    if (pages > FLUSH_PAGES_MAX) {
        flush_all();
        return;
    }
    __asm__ volatile("dsb nshst" ::: "memory");
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t page = ((start >> FRAME_SHIFT) + i) & ((UINT64_C(1) << 44) - 1);
        __asm__ volatile("tlbi vaae1, %0" ::"r"(page) : "memory");
    }
    __asm__ volatile("dsb nsh\n"
                     "isb" ::: "memory");
}
