/* SPDX-License-Identifier: MIT
 *
 * Page-table entries: Sv39, Sv48 and Sv57 (Privileged Architecture, "Supervisor"), which share one format, as
 * whole words. Included by mm/pt.h after its types; the bits themselves also by assembly.
 *
 * Memory types. Without Svpbmt an entry cannot say how memory is accessed: the platform's physical memory
 * attributes do. What the kernel asked for is kept in the two bits that the MMU leaves to software, so that
 * pte_memtype is exact; it has no effect on hardware.
 */
#ifndef ARCH_PTE_H
#define ARCH_PTE_H

#ifdef __ASSEMBLER__
#define PTE_BIT(n) (1 << (n))
#else
#define PTE_BIT(n) (UINT64_C(1) << (n))
#endif

#define PTE_VALID PTE_BIT(0)
#define PTE_READ PTE_BIT(1)
#define PTE_WRITE PTE_BIT(2)
#define PTE_EXEC PTE_BIT(3)
#define PTE_USER PTE_BIT(4)
#define PTE_GLOBAL PTE_BIT(5)
#define PTE_A PTE_BIT(6)
#define PTE_D PTE_BIT(7)
#define PTE_MEMTYPE_SHIFT 8 /* RSW: memtype_t */

/* Bits 53 – 10 hold the frame number: an address moves down by two. */
#define PTE_PADDR_SHIFT 2

#define PTE_PADDR_BITS 56

#ifndef __ASSEMBLER__

#define PTE_FRAME_MASK UINT64_C(0x003ffffffffffc00)

static inline bool pte_present(pte_t e)
{
    return (e & PTE_VALID) != 0;
}

static inline bool pte_is_table(pte_t e, unsigned level)
{
    return level > 0 && (e & (PTE_VALID | PTE_READ | PTE_WRITE | PTE_EXEC)) == PTE_VALID;
}

static inline pte_t pte_make_table(paddr_t table)
{
    return (table.v >> PTE_PADDR_SHIFT & PTE_FRAME_MASK) | PTE_VALID;
}

/* Accessed and dirty from the start: a hart may fault instead of setting a bit, and the kernel's own leaves
 * must not fault, whatever rights they get later. Whoever wants to track use clears them. */
static inline pte_t pte_make_leaf(paddr_t pa, unsigned level, unsigned prot, memtype_t type)
{
    (void)level;
    pte_t e = (pa.v >> PTE_PADDR_SHIFT & PTE_FRAME_MASK) | PTE_VALID | PTE_READ | PTE_A | PTE_D;
    e |= (pte_t)type << PTE_MEMTYPE_SHIFT;
    if (prot & PROT_WRITE)
        e |= PTE_WRITE;
    if (prot & PROT_EXEC)
        e |= PTE_EXEC;
    if (prot & PROT_USER)
        e |= PTE_USER;
    if (prot & PROT_GLOBAL)
        e |= PTE_GLOBAL;
    return e;
}

static inline paddr_t pte_paddr(pte_t e, unsigned level)
{
    unsigned low_bits = pte_is_table(e, level) ? 12 : 12 + 9 * level;
    return (paddr_t){(e & PTE_FRAME_MASK) << PTE_PADDR_SHIFT >> low_bits << low_bits};
}

static inline unsigned pte_prot(pte_t e, unsigned level)
{
    (void)level;
    return PROT_READ | ((e & PTE_WRITE) ? PROT_WRITE : 0u) | ((e & PTE_EXEC) ? PROT_EXEC : 0u) |
           ((e & PTE_USER) ? PROT_USER : 0u) | ((e & PTE_GLOBAL) ? PROT_GLOBAL : 0u);
}

static inline memtype_t pte_memtype(pte_t e, unsigned level)
{
    (void)level;
    return (memtype_t)(e >> PTE_MEMTYPE_SHIFT & 3);
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

/* An entry may turn into any other in place: until the flush, each access uses the old or the new one. */
static inline bool pte_needs_break(pte_t old, pte_t new)
{
    (void)old;
    (void)new;
    return false;
}

#endif
#endif
