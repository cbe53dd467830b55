/* SPDX-License-Identifier: MIT
 *
 * Entry, by the Linux arm64 boot protocol (Documentation/arch/arm64/booting.rst): EL1 or EL2, MMU and data
 * cache off, interrupts masked, x0 the device tree, the image anywhere on a 4 KiB border. And the entry of
 * CPUs that PSCI starts, which differs in what it finds ready.
 *
 * Until the MMU is on all memory is Device memory: no atomics, no unaligned access, no stack. What is written
 * meanwhile goes past the caches, so the lines of .bss, which holds it all, are dropped before (a dirty one
 * could be written back over it) and after (a speculatively filled one would hide it).
 *
 * The image is an EFI application as well: boot/efi/stub.c runs first then, and efi_leave makes of what EFI
 * leaves (MMU and caches on) what the boot protocol promises. x0 is the stub's hand-off then.
 *
 * The switch: this file's page of code is mapped at its physical address through TTBR0 until the jump to its linked
 * address, after which TTBR0 walks are disabled (TCR_EL1.EPD0). Everything up to that jump lies in .head, the
 * second page of the image after one of headers. The identity tables stay for the CPUs that start later.
 */
#include <arch/efi.h>
#include <arch/layout.h>
#include <arch/pte.h>
#include <boot/efi/pe.inc>
#include <kernel/percpu.h>

#define IMAGE_TABLES (HAL_IMAGE_MAX >> 21)
#define INDEX(address, level) (((address) >> (12 + 9 * (level))) & 511)

#define EARLY_LEAF (PTE_VALID | PTE_TABLE | PTE_AF | PTE_INNER_SHAREABLE | PTE_UXN)

/* TCR_EL1: 48-bit halves, 4 KiB granules, walks write-back cacheable and inner shareable. */
#define TCR_T0SZ 16
#define TCR_T1SZ (16 << 16)
#define TCR_WALKS0 (1 << 8 | 1 << 10 | 3 << 12)
#define TCR_WALKS1 (1 << 24 | 1 << 26 | 3 << 28)
#define TCR_TG1_4K (2 << 30)
#define TCR_EPD0 (1 << 7)
#define TCR_IPS_SHIFT 32
#define TCR_FIXED (TCR_T0SZ | TCR_T1SZ | TCR_WALKS0 | TCR_WALKS1 | TCR_TG1_4K)

/* SCTLR_EL1: the bits that are 1 where a feature is absent; and M, C, SA (stack alignment), I. */
#define SCTLR_RES1 0x30d00800
#define SCTLR_ON (SCTLR_RES1 | 1 << 0 | 1 << 2 | 1 << 3 | 1 << 12)

#define SCTLR_MMU_AND_CACHES (1 << 0 | 1 << 2 | 1 << 12)

#define CURRENT_EL2 (2 << 2)
#define SPSR_EL1H_MASKED 0x3c5
#define HCR_RW (1 << 31)
#define MPIDR_AFFINITY 0xff00ffffff

    .section .head, "ax"

    .globl _start
_start:
    ccmp    x18, #0, #0xd, pl               /* reads "MZ", does nothing */
    b       primary
    .quad   0                               /* text offset: any 2 MiB border will do */
    .quad   __image_end - . + 0x10          /* image size, .bss included */
    .quad   0xa                             /* little endian, 4 KiB pages, placed anywhere */
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   1f - _start
1:  pe_header _start, EFI_PE_MACHINE
    .org    _start + PE_HEADERS
head_code:

primary:
    mov     x20, x0
    bl      enter_el1
    bl      drop_bss_lines
    adrp    x0, __bss_start
    adrp    x1, __bss_end
1:  stp     xzr, xzr, [x0], #16             /* both ends are page aligned */
    cmp     x0, x1
    b.lo    1b
    bl      build_tables
    bl      drop_bss_lines
    adrp    x0, early_root
    adrp    x21, _start
    ldr     x30, =primary_high
    b       mmu_on

/* x0: the percpu, at its linked or directly mapped address. */
    .globl secondary_start
secondary_start:
    mov     x20, x0
    bl      enter_el1
    adrp    x0, mmu_root
    ldr     x0, [x0, #:lo12:mmu_root]
    ldr     x30, =secondary_high
    b       mmu_on

/* Returns at EL1 with the MMU off, whatever the level before. Clobbers x1, x2. */
enter_el1:
    mrs     x1, CurrentEL
    cmp     x1, #CURRENT_EL2
    b.eq    from_el2
    ldr     x1, =SCTLR_RES1
    msr     sctlr_el1, x1
    isb
    ret

/* Nothing that EL1 does may trap to an EL2 that nobody serves. */
from_el2:
    mov     x1, #HCR_RW
    msr     hcr_el2, x1
    isb                                     /* E2H is 0 from here: the layouts below are the plain ones */
    ldr     x1, =SCTLR_RES1
    msr     sctlr_el1, x1
    mrs     x1, midr_el1
    msr     vpidr_el2, x1
    mrs     x1, mpidr_el1
    msr     vmpidr_el2, x1
    mov     x1, #3                          /* EL1 may use the physical timer and counter */
    msr     cnthctl_el2, x1
    msr     cntvoff_el2, xzr
    msr     vttbr_el2, xzr
    msr     hstr_el2, xzr
    mov     x1, #0x33ff                     /* the RES1 bits; FP and CPACR_EL1 do not trap */
    msr     cptr_el2, x1

    mrs     x1, id_aa64dfr0_el1             /* all event counters belong to EL1, if there is a PMU */
    ubfx    x1, x1, #8, #4
    sub     x1, x1, #1
    mov     x2, #0
    cmp     x1, #0xe
    b.hs    1f                              /* version 0: none; 0xf: not the architecture's */
    mrs     x2, pmcr_el0
    ubfx    x2, x2, #11, #5
1:  msr     mdcr_el2, x2

    mrs     x1, id_aa64mmfr0_el1            /* fine-grained traps */
    ubfx    x1, x1, #56, #4
    cbz     x1, 2f
    msr     s3_4_c1_c1_4, xzr               /* HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2, HDFGWTR_EL2 */
    msr     s3_4_c1_c1_5, xzr
    msr     s3_4_c1_c1_6, xzr
    msr     s3_4_c3_c1_4, xzr
    msr     s3_4_c3_c1_5, xzr

2:  mrs     x1, id_aa64pfr0_el1             /* GICv3 system registers, unless EL3 keeps them */
    ubfx    x1, x1, #24, #4
    cbz     x1, 3f
    mrs     x1, icc_sre_el2
    mov     x2, #9                          /* SRE, and EL1 may set its own */
    orr     x1, x1, x2
    msr     icc_sre_el2, x1
    isb
    mrs     x1, icc_sre_el2
    tbz     x1, #0, 3f
    msr     ich_hcr_el2, xzr

3:  mov     x1, #SPSR_EL1H_MASKED
    msr     spsr_el2, x1
    msr     elr_el2, x30
    eret

/* Invalidates the data-cache lines of .bss. Clobbers x0 – x3. */
drop_bss_lines:
    adrp    x0, __bss_start
    adrp    x1, __bss_end
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4
    mov     x3, #4
    lsl     x2, x3, x2
1:  dc      ivac, x0
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    ret

.macro table_entry table, index, to
    adrp    x0, \table
    adrp    x1, \to
    orr     x1, x1, #(PTE_VALID | PTE_TABLE)
    str     x1, [x0, #8 * (\index)]
.endm

.macro identity_entry table, level, value
    adrp    x0, \table
    ubfx    x1, x21, #(12 + 9 * \level), #9
    str     \value, [x0, x1, lsl #3]
.endm

.macro identity_table table, level, to
    adrp    x2, \to
    orr     x2, x2, #(PTE_VALID | PTE_TABLE)
    identity_entry \table, \level, x2
.endm

/* Fills the zeroed early tables. Clobbers x0 – x4, x21. */
build_tables:
    table_entry early_root, INDEX(HAL_KERNEL_BASE, 3), early_level2
    table_entry early_level2, INDEX(HAL_KERNEL_BASE, 2), early_level1
    .set    i, 0
    .rept   IMAGE_TABLES
    table_entry early_level1, INDEX(HAL_KERNEL_BASE, 1) + i, early_image + i * 0x1000
    .set    i, i + 1
    .endr
    table_entry early_level1, INDEX(HAL_FIXMAP_BASE, 1), early_fixmap
    table_entry early_level1, INDEX(HAL_FIXMAP_BASE, 1) + 1, early_fixmap + 0x1000

    adrp    x21, _start
    ldr     x2, =EARLY_LEAF
    orr     x3, x21, x2
    adrp    x4, __image_end
    orr     x4, x4, x2
    adrp    x0, early_image
1:  str     x3, [x0], #8
    add     x3, x3, #0x1000
    cmp     x3, x4
    b.lo    1b

    adrp    x0, early_image                 /* the boot stack's guard: 8 bytes of entry per 4 KiB */
    adrp    x1, boot_guard
    sub     x1, x1, x21
    add     x0, x0, x1, lsr #9
    .rept   HAL_STACK_SIZE / 0x2000
    stp     xzr, xzr, [x0], #16
    .endr

    adrp    x21, head_code
    identity_table identity_root, 3, identity_level2
    identity_table identity_level2, 2, identity_level1
    identity_table identity_level1, 1, identity_level0
    ldr     x2, =EARLY_LEAF | PTE_READ_ONLY
    orr     x2, x2, x21
    identity_entry identity_level0, 0, x2
    ret

/* Turns the MMU on with root x0 for the upper half and goes on at x30, a linked address, with the lower half
 * gone. Clobbers x1, x2. */
mmu_on:
    adrp    x1, identity_root
    msr     ttbr0_el1, x1
    msr     ttbr1_el1, x0
    ldr     x1, =PTE_MAIR
    msr     mair_el1, x1
    ldr     x1, =TCR_FIXED
    mrs     x2, id_aa64mmfr0_el1            /* physical addresses: as many bits as there are, at most 48 */
    and     x2, x2, #15
    cmp     x2, #5
    b.ls    1f
    mov     x2, #5
1:  orr     x1, x1, x2, lsl #TCR_IPS_SHIFT
    msr     tcr_el1, x1
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x2, =SCTLR_ON
    msr     sctlr_el1, x2
    isb
    ldr     x2, =leave_identity
    br      x2

leave_identity:
    orr     x1, x1, #TCR_EPD0
    msr     tcr_el1, x1
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    ret

primary_high:
    ldr     x0, =percpu_boot
    msr     tpidr_el1, x0
    ldr     x0, =boot_stack_top
    mov     sp, x0
    mrs     x0, mpidr_el1
    ldr     x1, =MPIDR_AFFINITY
    and     x0, x0, x1
    mov     x1, x20
    mov     x2, x21
    mov     x29, #0                         /* the end of frame-pointer chains */
    bl      kmain

secondary_high:
    msr     tpidr_el1, x20
    ldr     x1, [x20, #PERCPU_STACK_TOP]
    mov     sp, x1
    mov     x0, x20
    mov     x29, #0
    bl      kmain_secondary

    .ltorg
    .org    head_code + 0x1000              /* an error if the code leaves its page */

/* void efi_leave(struct efi_handoff *handoff, uint64_t image): the image is where it was, which is mapped at
 * its physical address; handoff and tables are read through the caches again, so they may stay in there.
 * Outside .head, which may not be executable as long as the firmware's tables are used. */
    .text
    .globl efi_leave
    .hidden efi_leave
efi_leave:
    msr     daifset, #15
    adrp    x2, _start
    adrp    x3, __image_end
    mrs     x4, ctr_el0
    ubfx    x4, x4, #16, #4
    mov     x5, #4
    lsl     x4, x5, x4
1:  dc      civac, x2
    add     x2, x2, x4
    cmp     x2, x3
    b.lo    1b
    dsb     sy
    mov     x3, #SCTLR_MMU_AND_CACHES
    mrs     x2, CurrentEL
    cmp     x2, #CURRENT_EL2
    b.eq    2f
    mrs     x2, sctlr_el1
    bic     x2, x2, x3
    msr     sctlr_el1, x2
    b       3f
2:  mrs     x2, sctlr_el2
    bic     x2, x2, x3
    msr     sctlr_el2, x2
3:  isb
    ic      iallu
    dsb     nsh
    isb
    b       primary

/* The boot stack takes the upper half of a slot, as every stack does (HAL_STACK_SHIFT). The guard below it
 * is not mapped, so its frames serve as tables, which nobody reaches by a virtual address. */
    .section .bss.pages, "aw", %nobits
    .balign 2 * HAL_STACK_SIZE
boot_guard:
    .globl early_root
early_root:         .space 0x1000
early_level2:       .space 0x1000
early_level1:       .space 0x1000
identity_root:      .space 0x1000
    .org    boot_guard + HAL_STACK_SIZE
    .globl boot_stack, boot_stack_top
boot_stack:         .space HAL_STACK_SIZE
boot_stack_top:
early_image:        .space 0x1000 * IMAGE_TABLES
    .globl early_fixmap
early_fixmap:       .space 8 * HAL_FIXMAP_SLOTS
identity_level2:    .space 0x1000
identity_level1:    .space 0x1000
identity_level0:    .space 0x1000
