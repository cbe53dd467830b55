/* SPDX-License-Identifier: MIT
 *
 * Page-table entries: 4-level and 5-level paging (Intel SDM volume 3, 4.5), as whole words. Included by
 * mm/pt.h after its types; the bits themselves also by assembly.
 *
 * Memory types are entries of IA32_PAT, chosen by PWT and PCD alone: the entry's third bit, which large
 * leaves keep in another place than small ones, stays 0.
 */
#ifndef ARCH_PTE_H
#define ARCH_PTE_H

#ifdef __ASSEMBLER__
#define PTE_BIT(n) (1 << (n))
#else
#define PTE_BIT(n) (UINT64_C(1) << (n))
#endif

#define PTE_PRESENT PTE_BIT(0)
#define PTE_WRITABLE PTE_BIT(1)
#define PTE_USER PTE_BIT(2)
#define PTE_PWT PTE_BIT(3)
#define PTE_PCD PTE_BIT(4)
#define PTE_A PTE_BIT(5)
#define PTE_D PTE_BIT(6)
#define PTE_LARGE PTE_BIT(7) /* above level 0: a leaf; at level 0: PAT */
#define PTE_GLOBAL PTE_BIT(8)

#define PTE_PADDR_BITS 52

#ifndef __ASSEMBLER__

#define PTE_NX PTE_BIT(63)
#define PTE_PADDR_MASK UINT64_C(0x000ffffffffff000)

/* IA32_PAT, from entry 0 up: write-back, write-combining, UC-, uncacheable, and the same again. */
#define PTE_PAT UINT64_C(0x0007010600070106)
#define PTE_TYPE_MASK (PTE_PWT | PTE_PCD)
#define PTE_TYPE_UNCACHED PTE_PWT /* write-combining: what a cacheless processor would do with memory */
#define PTE_TYPE_DEVICE (PTE_PWT | PTE_PCD)

static inline bool pte_present(pte_t e)
{
    return (e & PTE_PRESENT) != 0;
}

static inline bool pte_is_table(pte_t e, unsigned level)
{
    return level > 0 && (e & (PTE_PRESENT | PTE_LARGE)) == PTE_PRESENT;
}

/* Grants everything: the leaves decide. */
static inline pte_t pte_make_table(paddr_t table)
{
    return (table.v & PTE_PADDR_MASK) | PTE_PRESENT | PTE_WRITABLE | PTE_USER | PTE_A;
}

/* Accessed from the start and, if writable, dirty: whoever wants to track use clears them. (Dirty without
 * writable would mean a shadow stack.) */
static inline pte_t pte_make_leaf(paddr_t pa, unsigned level, unsigned prot, memtype_t type)
{
    static const pte_t type_bits[] = {
        [MEMTYPE_NORMAL] = 0, [MEMTYPE_DEVICE] = PTE_TYPE_DEVICE, [MEMTYPE_UNCACHED] = PTE_TYPE_UNCACHED};
    pte_t e = (pa.v & PTE_PADDR_MASK) | PTE_PRESENT | PTE_A | type_bits[type];
    if (level > 0)
        e |= PTE_LARGE;
    if (prot & PROT_WRITE)
        e |= PTE_WRITABLE | PTE_D;
    if (!(prot & PROT_EXEC))
        e |= PTE_NX;
    if (prot & PROT_USER)
        e |= PTE_USER;
    if (prot & PROT_GLOBAL)
        e |= PTE_GLOBAL;
    return e;
}

static inline paddr_t pte_paddr(pte_t e, unsigned level)
{
    unsigned low_bits = pte_is_table(e, level) ? 12 : 12 + 9 * level;
    return (paddr_t){(e & PTE_PADDR_MASK) >> low_bits << low_bits};
}

static inline unsigned pte_prot(pte_t e, unsigned level)
{
    (void)level;
    return PROT_READ | ((e & PTE_WRITABLE) ? PROT_WRITE : 0u) | ((e & PTE_NX) ? 0u : PROT_EXEC) |
           ((e & PTE_USER) ? PROT_USER : 0u) | ((e & PTE_GLOBAL) ? PROT_GLOBAL : 0u);
}

static inline memtype_t pte_memtype(pte_t e, unsigned level)
{
    (void)level;
    switch (e & PTE_TYPE_MASK) {
    case 0:
        return MEMTYPE_NORMAL;
    case PTE_TYPE_UNCACHED:
        return MEMTYPE_UNCACHED;
    default:
        return MEMTYPE_DEVICE;
    }
}

static inline unsigned pte_ad(pte_t e)
{
    return ((e & PTE_A) ? PTE_ACCESSED : 0u) | ((e & PTE_D) ? PTE_DIRTY : 0u);
}

static inline pte_t pte_set_ad(pte_t e, unsigned ad)
{
    return e | ((ad & PTE_ACCESSED) ? PTE_A : 0) | ((ad & PTE_DIRTY) ? PTE_D : 0);
}

static inline pte_t pte_clear_ad(pte_t e, unsigned ad)
{
    return e & ~(((ad & PTE_ACCESSED) ? PTE_A : 0) | ((ad & PTE_DIRTY) ? PTE_D : 0));
}

/* SDM 4.10.2.3 and 11.12.4: while a leaf's size or memory type changes in place, accesses may use either at
 * random, the old address with it. Rights, A, D and G may change. */
static inline bool pte_needs_break(pte_t old, pte_t new)
{
    const pte_t harmless = PTE_WRITABLE | PTE_USER | PTE_A | PTE_D | PTE_GLOBAL | PTE_NX;
    return pte_present(old) && pte_present(new) && ((old ^ new) & ~harmless) != 0;
}

#endif
#endif
