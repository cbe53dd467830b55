/* SPDX-License-Identifier: MIT
 *
 * Entry, by the Linux riscv64 boot protocol (Documentation/riscv/boot.rst): S-mode, satp 0, interrupts
 * masked, a0 the hart id, a1 the device tree, the image anywhere on a 4 KiB border. And the entry of harts
 * that SBI HSM starts: satp 0 and interrupts masked as well, a1 what hal_cpu_start handed over.
 *
 * The switch needs no identity map: nothing is mapped at physical addresses, so the fetch after the write to
 * satp faults, and stvec names the linked address of the next instruction.
 *
 * The image is an EFI application as well: boot/efi/stub.c runs first then, and efi_leave makes of what EFI
 * leaves what the boot protocol promises. a1 is the stub's hand-off then.
 *
 * gp is left alone: the kernel has no small data, and U-Boot keeps its state there.
 */
#include <arch/efi.h>
#include <arch/layout.h>
#include <arch/pte.h>
#include <boot/efi/pe.inc>
#include <kernel/percpu.h>

#define IMAGE_TABLES (HAL_IMAGE_MAX >> 21)
#define INDEX(address, level) (((address) >> (12 + 9 * (level))) & 511)

#define EARLY_LEAF (PTE_VALID | PTE_READ | PTE_WRITE | PTE_EXEC | PTE_GLOBAL | PTE_A | PTE_D)

#define SATP_SV39 8
#define SSTATUS_SIE 2
#define EFI_HANDOFF_BOOT_CPU 8

/* Goes on at the linked address of label, which follows, with translation by satp. Clobbers t1, t2. */
.macro translate satp, label
    lla     t1, \label
    lla     t2, _start
    sub     t1, t1, t2
    li      t2, HAL_KERNEL_BASE
    add     t1, t1, t2
    csrw    stvec, t1
    sfence.vma
    csrw    satp, \satp
    .balign 4
\label:
.endm

/* table[index] = to. Clobbers t0, t1. */
.macro table_entry table, index, to
    lla     t0, \to
    srli    t0, t0, PTE_PADDR_SHIFT
    addi    t0, t0, PTE_VALID
    lla     t1, \table + 8 * (\index)
    sd      t0, (t1)
.endm

    .section .head, "ax"

    .globl _start
_start:
    c.li    s4, -13                         /* reads "MZ", does nothing */
    j       primary
    .balign 8
    .quad   0x200000                        /* text offset: the firmware lies below */
    .quad   __image_end - _start            /* image size, .bss included */
    .quad   0                               /* little endian */
    .long   2                               /* header version 0.2 */
    .long   0
    .quad   0
    .ascii  "RISCV\0\0\0"
    .ascii  "RSC\x05"
    .long   1f - _start
1:  pe_header _start, EFI_PE_MACHINE
    .org    _start + PE_HEADERS

primary:
    csrw    sie, zero
    csrci   sstatus, SSTATUS_SIE
    li      t0, 1                           /* firmware without HSM enters on all harts: the first one boots */
    lla     t1, entered
    amoswap.w t0, t0, (t1)
    bnez    t0, late

    mv      s2, a0
    mv      s3, a1
    lla     s4, _start
    lla     t0, __bss_start
    lla     t1, __bss_end
1:  sd      zero, (t0)                      /* both ends are page aligned */
    addi    t0, t0, 8
    bltu    t0, t1, 1b
    call    build_tables
    lla     t0, early_root
    srli    t0, t0, 12
    li      t1, SATP_SV39
    slli    t1, t1, 60
    or      t0, t0, t1
    translate t0, primary_high
    lla     tp, percpu_boot
    lla     sp, boot_stack_top
    mv      a0, s2
    mv      a1, s3
    mv      a2, s4
    li      s0, 0                           /* the end of frame-pointer chains */
    li      ra, 0
    tail    kmain

/* A hart that nobody waits for, or one that was: OpenSBI before 1.2 may release a hart that is still in its
 * own start-up before it stored where to, and it arrives here. late_hart says whether it is the one being
 * started. */
late:
    lla     t0, late_hart
    ld      t1, (t0)
    ld      a1, 8(t0)
    beq     t1, a0, secondary_start
park:
    wfi
    j       park

/* a1: the percpu, at its linked or directly mapped address. */
    .globl secondary_start
secondary_start:
    mv      tp, a1
    lla     t0, mmu_satp
    ld      t0, (t0)
    translate t0, secondary_high
    ld      sp, PERCPU_STACK_TOP(tp)
    mv      a0, tp
    li      s0, 0
    li      ra, 0
    tail    kmain_secondary

/* void efi_leave(struct efi_handoff *handoff, uint64_t image): the image is where it was, which is mapped at its
 * physical address. Outside .head, which may not be executable as long as the firmware's tables are used. */
    .text
    .globl efi_leave
    .hidden efi_leave
efi_leave:
    csrci   sstatus, SSTATUS_SIE
    csrw    satp, zero
    sfence.vma
    mv      a1, a0
    ld      a0, EFI_HANDOFF_BOOT_CPU(a1)
    fence.i
    tail    primary

    .section .head, "ax"
/* Fills the zeroed early tables. s4: the image. Clobbers t0 – t2. */
build_tables:
    table_entry early_root, INDEX(HAL_KERNEL_BASE, 2), early_level1
    .set    i, 0
    .rept   IMAGE_TABLES
    table_entry early_level1, INDEX(HAL_KERNEL_BASE, 1) + i, early_image + i * 0x1000
    .set    i, i + 1
    .endr
    table_entry early_level1, INDEX(HAL_FIXMAP_BASE, 1), early_fixmap
    table_entry early_level1, INDEX(HAL_FIXMAP_BASE, 1) + 1, early_fixmap + 0x1000

    srli    t0, s4, PTE_PADDR_SHIFT
    addi    t0, t0, EARLY_LEAF
    lla     t1, early_image
    lla     t2, __image_end
    srli    t2, t2, PTE_PADDR_SHIFT
1:  sd      t0, (t1)
    addi    t1, t1, 8
    addi    t0, t0, 0x1000 >> PTE_PADDR_SHIFT
    bltu    t0, t2, 1b

    lla     t0, early_image                 /* the boot stack's guard: 8 bytes of entry per 4 KiB */
    lla     t1, boot_guard
    sub     t1, t1, s4
    srli    t1, t1, 9
    add     t0, t0, t1
    .set    i, 0
    .rept   HAL_STACK_SIZE / 0x1000
    sd      zero, i(t0)
    .set    i, i + 8
    .endr
    ret

    .data
    .balign 8
    .globl late_hart
late_hart:          .quad -1, 0             /* hart id and percpu of the hart being started */
entered:            .word 0                 /* not in .bss, which is zeroed later */

/* The boot stack takes the upper half of a slot, as every stack does (HAL_STACK_SHIFT). The guard below it is
 * not mapped, so its frames serve as tables, which nobody reaches by a virtual address. */
    .section .bss.pages, "aw", %nobits
    .balign 2 * HAL_STACK_SIZE
boot_guard:
early_root:         .space 0x1000
early_level1:       .space 0x1000
    .org    boot_guard + HAL_STACK_SIZE
    .globl boot_stack, boot_stack_top
boot_stack:         .space HAL_STACK_SIZE
boot_stack_top:
early_image:        .space 0x1000 * IMAGE_TABLES
    .globl early_fixmap
early_fixmap:       .space 8 * HAL_FIXMAP_SLOTS
