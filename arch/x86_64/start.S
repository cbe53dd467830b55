/* SPDX-License-Identifier: MIT
 *
 * Entry by the PVH protocol (xen: docs/misc/pvh.pandoc): 32-bit protected mode, paging off, flat segments,
 * interrupts masked, ebx the start info; no stack, and no other state to be trusted. And the entry of CPUs
 * that the boot CPU starts, which begins in real mode.
 *
 * Position. 32-bit code has no ip-relative addressing: ebp holds the physical address of _start, the image's
 * first byte, and everything is reached as RVA(symbol)(%ebp). All of it is below 4 GiB.
 *
 * Long mode is entered in the image's first page, under one identity-mapped 2 MiB leaf of the early tables.
 * The leaf stays as long as they are used, because the step from four to five levels must leave long mode
 * once more. Everything that is executed at its physical address lies in .head.
 */
#include <arch/layout.h>
#include <arch/pte.h>
#include <arch/cpu.h>
#include <kernel/percpu.h>

#define RVA(symbol) ((symbol) - _start)
#define IMAGE_TABLES (HAL_IMAGE_MAX >> 21)
#define INDEX(address, level) (((address) >> (12 + 9 * (level))) & 511)

#define EARLY_TABLE (PTE_PRESENT | PTE_WRITABLE | PTE_A)
#define EARLY_LEAF (EARLY_TABLE | PTE_D)

#define CR0_ON (CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG)
#define LM_AND_NX (1 << 29 | 1 << 20)

#define COM1 0x3f8
#define COM1_LSR 0x3fd
#define LSR_TX_READY 0x20

#define SEGMENT_CODE64 0x00af9b000000ffff
#define SEGMENT_DATA 0x00cf93000000ffff
#define SEGMENT_CODE32 0x00cf9b000000ffff

    .section .note.Xen, "a", @note
    .balign 4
    .long   4, 8, 18                        /* "Xen", one address, XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz  "Xen"
    .quad   _start - HAL_KERNEL_BASE + HAL_LMA_OFFSET

    .section .head, "ax", @progbits
    .code32

    .globl _start
_start:
    cli
    cld
    movl    (%ebx), %eax                    /* the start info's first word lends itself as a stack */
    leal    4(%ebx), %esp
    call    1f
1:  popl    %ebp
    movl    %eax, (%ebx)
    subl    $RVA(1b), %ebp

    movl    %ebx, %esi
    movl    $0x80000000, %eax
    cpuid
    cmpl    $0x80000001, %eax
    jb      refuse
    movl    $0x80000001, %eax
    cpuid
    andl    $LM_AND_NX, %edx
    cmpl    $LM_AND_NX, %edx
    jne     refuse

    leal    RVA(__bss_start)(%ebp), %edi    /* both ends are page aligned */
    leal    RVA(__bss_end)(%ebp), %ecx
    subl    %edi, %ecx
    shrl    $2, %ecx
    xorl    %eax, %eax
    rep stosl
    leal    RVA(boot_stack_top)(%ebp), %esp
    call    build_tables

    movl    $CR4_PAE, %eax
    movl    %eax, %cr4
    leal    RVA(early_root)(%ebp), %eax
    movl    %eax, %cr3
    movl    $MSR_EFER, %ecx
    movl    $(EFER_LME | EFER_NXE), %eax
    xorl    %edx, %edx
    wrmsr
    leal    RVA(early_gdt)(%ebp), %eax
    pushl   %eax
    pushw   $(early_gdt_end - early_gdt - 1)
    lgdt    (%esp)
    pushl   $GDT_CODE64
    leal    RVA(primary_low)(%ebp), %eax
    pushl   %eax
    movl    $CR0_ON, %eax
    movl    %eax, %cr0
    lretl                                   /* read through the identity map if it reaches so far, … */

refuse:
    leal    RVA(refusal)(%ebp), %esi
1:  movb    (%esi), %bl
    testb   %bl, %bl
    jz      3f
    movw    $COM1_LSR, %dx
2:  inb     %dx, %al                        /* reads as ready where there is no UART */
    testb   $LSR_TX_READY, %al
    jz      2b
    movw    $COM1, %dx
    movb    %bl, %al
    outb    %al, %dx
    incl    %esi
    jmp     1b
3:  cli
    hlt
    jmp     3b

refusal:
    .asciz  "quire needs a 64-bit CPU with no-execute pages\r\n"
