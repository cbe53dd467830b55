/* SPDX-License-Identifier: MIT
 *
 * Translation: which paging modes there are, exchanging roots, dropping translations. start.S begins with
 * four levels; the first root of five takes the boot CPU through early_enter_la57, later CPUs start with five
 * at once.
 */
#include <arch/hal.h>
#include <kernel/console.h>
#include <kernel/early.h>

#define LEVELS_MIN 4
#define LEVELS_MAX 5

#define CPUID7_ECX_LA57 (1u << 16)
#define CPUID_EXTENDED 0x80000001
#define EXTENDED_EDX_PAGE1GB (1u << 26)

/* Pages that are dropped one by one; larger ranges cost the whole TLB. */
#define FLUSH_PAGES_MAX 64

uint64_t mmu_root;
unsigned mmu_levels;

status_t hal_mmu_probe(unsigned wanted, unsigned *levels, unsigned *max_leaf)
{
    unsigned deepest = (cpuid(7).ecx & CPUID7_ECX_LA57) ? LEVELS_MAX : LEVELS_MIN;
    if (wanted != 0 && (wanted < LEVELS_MIN || wanted > deepest)) {
        kprintf("mmu: %u levels are not offered; this CPU has %s\n", wanted,
                deepest == LEVELS_MAX ? "4 and 5" : "4");
        return ERR_UNSUPPORTED;
    }
    *levels = wanted != 0 ? wanted : deepest;
    *max_leaf = (cpuid(CPUID_EXTENDED).edx & EXTENDED_EDX_PAGE1GB) ? 2 : 1;
    return OK;
}

const char *hal_mmu_mode_name(unsigned levels)
{
    return levels == LEVELS_MAX ? "5-level" : "4-level";
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
