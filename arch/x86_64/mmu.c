/* SPDX-License-Identifier: MIT
 *
 * Translation: which paging modes there are, exchanging roots, dropping translations. start.S begins with
 * four levels; the first root of five takes the boot CPU through early_enter_la57, later CPUs start with five
 * at once.
 */
#include <arch/hal.h>
#include <kernel/early.h>

#define LEVELS_MIN 4
#define LEVELS_MAX 5

#define CPUID7_ECX_LA57 (1u << 16)
#define CPUID_EXTENDED 0x80000001
#define CPUID_SIZES 0x80000008 /* every CPU with long mode has this leaf */
#define EXTENDED_EDX_PAGE1GB (1u << 26)

/* Pages that are dropped one by one; larger ranges cost the whole TLB. */
#define FLUSH_PAGES_MAX 64

uint64_t mmu_root;
unsigned mmu_levels;

struct mmu_features hal_mmu_probe(void)
{
    bool la57 = (cpuid(7).ecx & CPUID7_ECX_LA57) != 0;
    bool gigabyte = (cpuid(CPUID_EXTENDED).edx & EXTENDED_EDX_PAGE1GB) != 0;
    return (struct mmu_features){.min_levels = LEVELS_MIN, .max_levels = la57 ? LEVELS_MAX : LEVELS_MIN,
                                 .max_leaf = gigabyte ? 2 : 1, .paddr_bits = cpuid(CPUID_SIZES).eax & 0xff};
}

const char *hal_mmu_mode_name(unsigned levels)
{
    return levels == 3 ? "3-level" : levels == 4 ? "4-level" : "5-level";
}

/* Turning CR4.PGE off drops everything, global translations and cached upper entries included. */
static void flush_all(void)
{
    uint64_t cr4 = control_read(cr4);
    control_write(cr4, cr4 & ~(uint64_t)CR4_PGE);
    control_write(cr4, cr4 | CR4_PGE);
}

/* There is no way back from five levels to four, because nobody needs it. */
void hal_mmu_activate(paddr_t root, unsigned levels)
{
    if (levels == LEVELS_MAX && (control_read(cr4) & CR4_LA57) == 0) {
        struct percpu *cpu = hal_percpu();
        early_enter_la57(boot_info.image.v);
        hal_cpu_init(cpu);
    }
    control_write(cr3, root.v);
    flush_all();
    mmu_root = root.v;
    mmu_levels = levels;
}

void hal_tlb_flush_local(vaddr_t start, uint64_t size)
{
    vaddr_t first = align_down(start, FRAME_SIZE);
    uint64_t pages = (align_up(start + size, FRAME_SIZE) - first) >> FRAME_SHIFT;
    if (size > FLUSH_PAGES_MAX * FRAME_SIZE) {
        flush_all();
        return;
    }
    for (uint64_t i = 0; i < pages; i++)
        __asm__ volatile("invlpg (%0)" ::"r"(first + i * FRAME_SIZE) : "memory");
}
