/* SPDX-License-Identifier: MIT
 *
 * The entries: by the PVH protocol (xen: docs/misc/pvh.pandoc), 32-bit protected mode with paging off, ebx the
 * start info; by the Linux boot protocol (Documentation/arch/x86/boot.rst), the same with esi the boot
 * parameters, or 64-bit with rsi (real mode comes before that, in setup.S); as an EFI application, through
 * boot/efi/stub.c; and of CPUs that the boot CPU starts, which begins in real mode. Interrupts are masked and
 * segments flat, but there is no stack, and no other state to be trusted.
 *
 * All boot paths meet at `primary`: 32-bit, paging off, ebp the image, esi what was handed over, edi the
 * protocol. 64-bit ones leave long mode for that: then there is one way to make the early tables.
 *
 * Position. 32-bit code has no ip-relative addressing: ebp holds the physical address of _start, the image's
 * first byte, and everything is reached as RVA(symbol)(%ebp). All of it is below 4 GiB.
 *
 * Long mode is entered in the image's first page, under one identity-mapped 2 MiB leaf of the early tables.
 * The leaf stays as long as they are used, because the step from four to five levels must leave long mode
 * once more. What is executed or read at its physical address lies in .head.
 */
#include <arch/layout.h>
#include <arch/pte.h>
#include <arch/boot_params.h>
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

    .section .note.Xen, "a", @note
    .balign 4
    .long   4, 8, 18                        /* "Xen", one address, XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz  "Xen"
    .quad   pvh_start - HAL_KERNEL_BASE + HAL_LMA_OFFSET

/* The selectors of arch/cpu.h, accessed already, so that nothing writes here. */
.macro flat_segments
    .quad   0
    .quad   0x00af9b000000ffff              /* GDT_CODE64 */
    .quad   0x00cf93000000ffff              /* GDT_DATA */
    .quad   0x00cf9b000000ffff              /* GDT_CODE32 */
.endm

.macro load_efer
    movl    $MSR_EFER, %ecx
    movl    $(EFER_LME | EFER_NXE), %eax
    xorl    %edx, %edx
    wrmsr
.endm

/* With paging and EFER.LME on: to 64-bit code at its physical address. */
.macro enter_64bit label
    leal    RVA(\label)(%ebp), %eax
    movl    %eax, RVA(far_target)(%ebp)
    ljmpl   *RVA(far_target)(%ebp)
.endm

/* This CPU's APIC id to eax. Clobbers ebx, ecx, edx. */
.macro apic_id
    xorl    %eax, %eax
    cpuid
    cmpl    $0xb, %eax
    jb      10f
    movl    $0xb, %eax
    xorl    %ecx, %ecx
    cpuid
    movl    %edx, %eax
    testl   %ebx, %ebx                      /* zero: the leaf is there, but empty */
    jnz     11f
10: movl    $1, %eax
    cpuid
    shrl    $24, %ebx
    movl    %ebx, %eax
11:
.endm

    .section .head, "ax", @progbits
    .code32

/* The Linux protocol's 32-bit entry. The boot parameters have a word that is nobody's: a stack. */
    .globl _start
_start:
    cli
    cld
    leal    (BOOT_PARAMS_SCRATCH + 4)(%esi), %esp
    call    1f
1:  popl    %ebp
    subl    $RVA(1b), %ebp
    movl    $BOOT_LINUX, %edi
    jmp     primary

pvh_start:
    cli
    cld
    movl    %ebx, %esi
    movl    (%esi), %eax                    /* the start info's first word lends itself as a stack */
    leal    4(%esi), %esp
    call    1f
1:  popl    %ebp
    movl    %eax, (%esi)
    subl    $RVA(1b), %ebp
    movl    $BOOT_PVH, %edi

primary:
    movl    %edi, RVA(boot_protocol)(%ebp)
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

    leal    RVA(early_gdt)(%ebp), %eax
    pushl   %eax
    pushw   $(early_gdt_end - early_gdt - 1)
    lgdt    (%esp)
    movl    $CR4_PAE, %eax
    movl    %eax, %cr4
    leal    RVA(early_root)(%ebp), %eax
    movl    %eax, %cr3
    load_efer
    movl    $CR0_ON, %eax
    movl    %eax, %cr0
    enter_64bit primary_low

refuse:
    leal    RVA(refusal)(%ebp), %esi
1:  movb    (%esi), %bl
    testb   %bl, %bl
    jz      3f
    movw    $COM1_LSR, %dx
2:  inb     %dx, %al                        /* all ones, so ready, where there is no UART */
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

.macro table_entry table, index, to
    leal    (RVA(\to) + EARLY_TABLE)(%ebp), %eax
    movl    %eax, (RVA(\table) + 8 * (\index))(%ebp)
.endm

/* Entry `index` of the frame at \table, the index being a field of ebp: the 2 MiB leaf's path. */
.macro identity_entry table, level, value
    movl    %ebp, %ecx
    shrl    $(12 + 9 * \level), %ecx
    andl    $511, %ecx
    movl    \value, RVA(\table)(%ebp, %ecx, 8)
.endm

/* Fills the zeroed early tables. Upper halves of entries stay 0. Clobbers eax, ecx, edx, edi. */
build_tables:
    table_entry early_root, INDEX(HAL_KERNEL_BASE, 3), early_level2
    table_entry early_root, 0, identity_level2
    table_entry early_root5, 511, early_root
    table_entry early_root5, 0, early_root
    table_entry early_level2, INDEX(HAL_KERNEL_BASE, 2), early_level1
    .set    i, 0
    .rept   IMAGE_TABLES
    table_entry early_level1, (INDEX(HAL_KERNEL_BASE, 1) + i), (early_image + i * 0x1000)
    .set    i, i + 1
    .endr
    table_entry early_level1, INDEX(HAL_FIXMAP_BASE, 1), early_fixmap
    table_entry early_level1, (INDEX(HAL_FIXMAP_BASE, 1) + 1), (early_fixmap + 0x1000)

    leal    (RVA(identity_level1) + EARLY_TABLE)(%ebp), %eax
    identity_entry identity_level2, 2, %eax
    movl    %ebp, %eax
    andl    $0xffe00000, %eax
    orl     $(EARLY_LEAF | PTE_LARGE), %eax
    identity_entry identity_level1, 1, %eax

    leal    RVA(early_image)(%ebp), %edi
    leal    EARLY_LEAF(%ebp), %eax
    leal    (RVA(__image_end) + EARLY_LEAF)(%ebp), %edx
1:  movl    %eax, (%edi)
    addl    $8, %edi
    addl    $0x1000, %eax
    cmpl    %edx, %eax
    jb      1b

    movl    $RVA(boot_guard), %edi          /* the boot stack's guard: 8 bytes of entry per 4 KiB */
    shrl    $9, %edi
    leal    RVA(early_image)(%edi, %ebp), %edi
    movl    $(HAL_STACK_SIZE >> 12 << 1), %ecx
    xorl    %eax, %eax
    rep stosl
    ret

    .org    _start + 0x200
    .code64
/* The Linux protocol's 64-bit entry, which is always here. The loader has mapped image and boot parameters. */
    cli
    movl    $BOOT_LINUX, %edi
    leaq    _start(%rip), %rbp

/* rbp: the image; rsi: what was handed over; edi: the protocol; all below 4 GiB. Paging is on, with image mapped
 * at its physical address. .bss lends a stack. */
leave_64bit:
    cld
    leaq    boot_stack_top(%rip), %rsp
    leaq    early_gdt(%rip), %rax
    pushq   %rax
    pushw   $(early_gdt_end - early_gdt - 1)
    lgdt    (%rsp)
    leaq    leave_32(%rip), %rax
    pushq   $GDT_CODE32
    pushq   %rax
    lretq

    .code32
leave_32:
    movl    $CR0_PE, %eax                   /* paging off ends long mode; the rest is set anew later */
    movl    %eax, %cr0
    movl    $MSR_EFER, %ecx
    xorl    %eax, %eax
    xorl    %edx, %edx
    wrmsr
    movl    $GDT_DATA, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    jmp     primary

    .code64
primary_low:
    movq    $primary_high, %rax
    jmp     *%rax

/* void early_enter_la57(uint64_t image): long mode must be left, which only 32-bit code can do, and that
 * keeps of all registers the lower halves of eight. */
    .globl early_enter_la57
early_enter_la57:
    pushq   %rbx
    pushq   %rbp
    pushq   %r12
    pushq   %r13
    pushq   %r14
    pushq   %r15
    movq    %rsp, la57_stack(%rip)
    leaq    RVA(early_root)(%rdi), %rax
    movq    %rax, %cr3
    leaq    RVA(early_gdt)(%rdi), %rax
    pushq   %rax
    pushw   $(early_gdt_end - early_gdt - 1)
    lgdt    (%rsp)
    leaq    RVA(la57_low)(%rdi), %rax
    movl    %edi, %ebp
    pushq   $GDT_CODE32
    pushq   %rax
    lretq

    .code32
la57_low:
    movl    %cr0, %eax
    andl    $~CR0_PG, %eax
    movl    %eax, %cr0
    movl    %cr4, %ecx
    orl     $CR4_LA57, %ecx
    movl    %ecx, %cr4
    leal    RVA(early_root5)(%ebp), %ecx
    movl    %ecx, %cr3
    orl     $CR0_PG, %eax
    movl    %eax, %cr0
    enter_64bit la57_back

    .code64
la57_back:
    movq    $la57_high, %rax
    jmp     *%rax
la57_high:
    movq    la57_stack(%rip), %rsp
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %rbp
    popq    %rbx
    ret

    .balign 8
early_gdt:
    flat_segments
early_gdt_end:
far_target:
    .long   0
    .word   GDT_CODE64
refusal:
    .asciz  "quire needs a 64-bit CPU with no-execute pages\r\n"
    .org    _start + 0x1000                 /* an error if the code leaves its page */

    .text
/* void efi_leave(struct efi_handoff *handoff, uint64_t image): the image may be a copy of this one. Up to here
 * in .text: as long as the firmware's tables are used, .head may not be executable. */
    .globl efi_leave
    .hidden efi_leave
efi_leave:
    cli
    movq    %rsi, %rbp
    movq    %rdi, %rsi
    movl    $BOOT_EFI, %edi
    leaq    RVA(leave_64bit)(%rbp), %rax
    jmp     *%rax

/* Clobbers rax, rcx, rdx. */
.macro write_gs_base from
    movl    $MSR_GS_BASE, %ecx
    movq    \from, %rax
    movq    \from, %rdx
    shrq    $32, %rdx
    wrmsr
.endm

/* ebp and esi, whose upper halves are undefined after the switch, as _start left them. */
primary_high:
    movl    $GDT_DATA, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    xorl    %eax, %eax
    movl    %eax, %fs
    movl    %eax, %gs
    movq    $percpu_boot, %rdi
    movq    %rdi, PERCPU_SELF(%rdi)
    write_gs_base %rdi
    movq    $boot_stack_top, %rsp
    movl    %esi, %r12d
    movl    %ebp, %r13d
    call    cpu_apic_id
    movl    %eax, %edi
    movq    %r12, %rsi
    movq    %r13, %rdx
    xorl    %ebp, %ebp                      /* the end of frame-pointer chains */
    call    kmain

/* ---- CPUs that the boot CPU starts -------------------------------------------------------------------- */

#define OFFSET(symbol) ((symbol) - secondary_trampoline)

/* A copy of this, below 1 MiB at a frame's start, is entered in real mode at its first byte. The rest of the
 * frame is its stack. Once paging is on it is read only: struct secondary_parameters names the tables. */
    .section .rodata
    .code16
    .globl secondary_trampoline, secondary_trampoline_end, secondary_parameters
    .balign 16
secondary_trampoline:
    cli
    cld
    movw    %cs, %ax
    movw    %ax, %ds
    movw    %ax, %ss
    movl    $0x1000, %esp
    movzwl  %ax, %ebx
    shll    $4, %ebx                        /* the frame's address */
    leal    OFFSET(trampoline_gdt)(%ebx), %eax
    pushl   %eax
    pushw   $(trampoline_gdt_end - trampoline_gdt - 1)
    lgdtl   (%esp)
    leal    OFFSET(trampoline_32)(%ebx), %eax
    pushl   $GDT_CODE32
    pushl   %eax
    movl    $(CR0_ON & ~CR0_PG), %eax
    movl    %eax, %cr0
    lretl

    .code32
trampoline_32:
    movl    $GDT_DATA, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    leal    0x1000(%ebx), %esp
    pushl   $GDT_CODE64
    leal    OFFSET(trampoline_64)(%ebx), %eax
    pushl   %eax
    movl    OFFSET(secondary_parameters + 4)(%ebx), %eax
    movl    %eax, %cr4
    movl    OFFSET(secondary_parameters)(%ebx), %eax
    movl    %eax, %cr3
    load_efer
    movl    $CR0_ON, %eax
    movl    %eax, %cr0
    lretl

    .code64
trampoline_64:
    movq    $secondary_high, %rax
    jmp     *%rax

    .balign 8
trampoline_gdt:
    flat_segments
trampoline_gdt_end:
secondary_parameters:
    .long   0, 0
secondary_trampoline_end:

    .text
/* The segments are good, their table is gone with the trampoline's root.
 * A CPU that comes so late that another is awaited now must not take that one's stack: it stays here. */
secondary_high:
    movq    mmu_root(%rip), %rax
    movq    %rax, %cr3
    apic_id
    movq    secondary_cpu(%rip), %rdi
    cmpq    %rax, PERCPU_HW_ID(%rdi)
    jne     1f
    write_gs_base %rdi
    movq    PERCPU_STACK_TOP(%rdi), %rsp
    xorl    %ebp, %ebp
    call    kmain_secondary
1:  cli
    hlt
    jmp     1b

/* uint32_t cpu_apic_id(void) */
    .globl cpu_apic_id
cpu_apic_id:
    pushq   %rbx
    apic_id
    popq    %rbx
    ret

    .data
    .balign 4
    .globl boot_protocol
boot_protocol:                              /* not in .bss, which is zeroed later */
    .long   0

    .bss
    .balign 8
la57_stack:
    .space  8
    .globl secondary_cpu
secondary_cpu:
    .space  8

/* The boot stack takes the upper half of a slot, as every stack does (HAL_STACK_SHIFT). The guard below it is
 * not mapped, so its frames serve as tables, which nobody reaches by a virtual address. */
    .section .bss.pages, "aw", @nobits
    .balign 2 * HAL_STACK_SIZE
    .globl boot_guard
boot_guard:
early_level2:       .space 0x1000
early_level1:       .space 0x1000
identity_level2:    .space 0x1000
identity_level1:    .space 0x1000
    .org    boot_guard + HAL_STACK_SIZE
    .globl boot_stack, boot_stack_top
boot_stack:         .space HAL_STACK_SIZE
boot_stack_top:
early_root:         .space 0x1000
early_root5:        .space 0x1000
early_image:        .space 0x1000 * IMAGE_TABLES
    .globl early_fixmap
early_fixmap:       .space 8 * HAL_FIXMAP_SLOTS

    .section .note.GNU-stack, "", @progbits
