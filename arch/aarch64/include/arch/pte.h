/* SPDX-License-Identifier: MIT
 *
 * Page-table entries: VMSAv8-64 stage 1, 4 KiB granule, as whole words. Included by mm/pt.h after its types;
 * the bits themselves also by assembly.
 *
 * Who may write: PTE_WRITABLE says that a leaf grants writing, and is the bit that hardware dirty tracking
 * (DBM) looks at; PTE_READ_ONLY is what the MMU enforces without it. A clean writable leaf has both and
 * faults on its first write. Dirtiness itself is PTE_SOFT_DIRTY, so that taking PROT_WRITE away does not lose
 * it. Invariant of every leaf made here: PTE_READ_ONLY is clear exactly when it is writable and dirty.
 */
#ifndef ARCH_PTE_H
#define ARCH_PTE_H

#ifdef __ASSEMBLER__
#define PTE_BIT(n) (1 << (n))
#else
#define PTE_BIT(n) (UINT64_C(1) << (n))
#endif

#define PTE_VALID PTE_BIT(0)
#define PTE_TABLE PTE_BIT(1)     /* above level 0: a table; at level 0: must be set */
#define PTE_ATTR_SHIFT 2         /* index into MAIR_EL1, below */
#define PTE_USER PTE_BIT(6)      /* AP[1] */
#define PTE_READ_ONLY PTE_BIT(7) /* AP[2] */
#define PTE_INNER_SHAREABLE (PTE_BIT(8) | PTE_BIT(9))
#define PTE_AF PTE_BIT(10)
#define PTE_NOT_GLOBAL PTE_BIT(11)
#define PTE_WRITABLE PTE_BIT(51) /* DBM */
#define PTE_PXN PTE_BIT(53)
#define PTE_UXN PTE_BIT(54)
#define PTE_SOFT_DIRTY PTE_BIT(55) /* ignored by hardware */

/* MAIR_EL1, one byte per memtype_t: write-back read/write-allocate, Device-nGnRnE, Normal non-cacheable. */
#define PTE_MAIR 0x4400ff

#define PTE_PADDR_BITS 48

#ifndef __ASSEMBLER__

#define PTE_PADDR_MASK UINT64_C(0x0000fffffffff000)
#define PTE_ATTR_MASK (UINT64_C(7) << PTE_ATTR_SHIFT)

static inline bool pte_present(pte_t e)
{
    return (e & PTE_VALID) != 0;
}

static inline bool pte_is_table(pte_t e, unsigned level)
{
    return level > 0 && (e & (PTE_VALID | PTE_TABLE)) == (PTE_VALID | PTE_TABLE);
}

static inline pte_t pte_make_table(paddr_t table)
{
    return (table.v & PTE_PADDR_MASK) | PTE_TABLE | PTE_VALID;
}

/* Accessed from the start and, if writable, dirty: whoever wants to track use clears them. */
static inline pte_t pte_make_leaf(paddr_t pa, unsigned level, unsigned prot, memtype_t type)
{
    pte_t e = (pa.v & PTE_PADDR_MASK) | PTE_VALID | PTE_AF | PTE_INNER_SHAREABLE | PTE_PXN | PTE_UXN;
    e |= (pte_t)type << PTE_ATTR_SHIFT;
    if (level == 0)
        e |= PTE_TABLE;
    e |= (prot & PROT_WRITE) ? PTE_WRITABLE | PTE_SOFT_DIRTY : PTE_READ_ONLY;
    if (prot & PROT_USER)
        e |= PTE_USER;
    if (prot & PROT_EXEC)
        e &= (prot & PROT_USER) ? ~PTE_UXN : ~PTE_PXN;
    if (!(prot & PROT_GLOBAL))
        e |= PTE_NOT_GLOBAL;
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
    pte_t never_exec = (e & PTE_USER) ? PTE_UXN : PTE_PXN;
    return PROT_READ | ((e & PTE_WRITABLE) ? PROT_WRITE : 0u) | ((e & never_exec) ? 0u : PROT_EXEC) |
           ((e & PTE_USER) ? PROT_USER : 0u) | ((e & PTE_NOT_GLOBAL) ? 0u : PROT_GLOBAL);
}

static inline memtype_t pte_memtype(pte_t e, unsigned level)
{
    (void)level;
    return (memtype_t)((e & PTE_ATTR_MASK) >> PTE_ATTR_SHIFT);
}

static inline unsigned pte_ad(pte_t e)
{
    return ((e & PTE_AF) ? PTE_ACCESSED : 0u) | ((e & PTE_SOFT_DIRTY) ? PTE_DIRTY : 0u);
}

static inline pte_t pte_set_ad(pte_t e, unsigned ad)
{
    if (ad & PTE_ACCESSED)
        e |= PTE_AF;
    if (ad & PTE_DIRTY) {
        e |= PTE_SOFT_DIRTY;
        if (e & PTE_WRITABLE)
            e &= ~PTE_READ_ONLY;
    }
    return e;
}

static inline pte_t pte_clear_ad(pte_t e, unsigned ad)
{
    if (ad & PTE_ACCESSED)
        e &= ~PTE_AF;
    if (ad & PTE_DIRTY)
        e = (e & ~PTE_SOFT_DIRTY) | PTE_READ_ONLY;
    return e;
}

/* Arm ARM (DDI 0487) D8.16, break-before-make: of two valid entries, only rights, the access flag and
 * software bits may change in place; so may a global entry turn non-global, but not the other way. */
static inline bool pte_needs_break(pte_t old, pte_t new)
{
    const pte_t harmless = PTE_USER | PTE_READ_ONLY | PTE_AF | PTE_NOT_GLOBAL | PTE_WRITABLE | PTE_PXN |
                           PTE_UXN | PTE_SOFT_DIRTY;
    if (!pte_present(old) || !pte_present(new))
        return false;
    return ((old ^ new) & ~harmless) != 0 || (old & ~new & PTE_NOT_GLOBAL) != 0;
}

#endif
#endif
