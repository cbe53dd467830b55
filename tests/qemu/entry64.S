/* SPDX-License-Identifier: MIT
 *
 * A boot loader for one test: enters a bzImage by the 64-bit entry of the Linux boot protocol, which other loaders on
 * QEMU leave alone. QEMU starts it by PVH, with the bzImage as its module and the kernel's command line as its own.
 * It makes boot parameters of the start info, maps the first 4 GiB at their own addresses, and goes.
 */
#define PAYLOAD 0x2000000                   /* where the image goes, less its first page */
#define SETUP 0x1000
#define ENTRY_64 0x200

    .section .note.Xen, "a", @note
    .balign 4
    .long   4, 8, 18                        /* "Xen", one address, XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz  "Xen"
    .quad   _start

    .text
    .code32
    .globl _start
_start:
    cli
    cld
    movl    $stack_top, %esp
    movl    16(%ebx), %edx                  /* the list of modules */
    movl    (%edx), %ebp                    /* the bzImage */
    movl    8(%edx), %ecx

    leal    SETUP(%ebp), %esi
    movl    $PAYLOAD, %edi
    subl    $SETUP, %ecx
    rep movsb

    leal    0x1f1(%ebp), %esi               /* its header */
    movl    $(parameters + 0x1f1), %edi
    movzbl  0x201(%ebp), %ecx
    addl    $(0x202 - 0x1f1), %ecx
    rep movsb

    movl    40(%ebx), %esi                  /* the memory map: 24 bytes become 20 */
    movl    48(%ebx), %edx
    movb    %dl, parameters + 0x1e8
    movl    $(parameters + 0x2d0), %edi
1:  movl    $5, %ecx
    rep movsl
    addl    $4, %esi
    decl    %edx
    jnz     1b
    movl    24(%ebx), %eax
    movl    %eax, parameters + 0x228        /* command line */
    movl    32(%ebx), %eax
    movl    %eax, parameters + 0x70         /* ACPI root pointer */

    movl    $(level2 + 3), level3
    xorl    %ecx, %ecx
2:  movl    %ecx, %eax
    shll    $30, %eax
    orl     $0x83, %eax                     /* a leaf of 1 GiB */
    movl    %eax, level2(, %ecx, 8)
    incl    %ecx
    cmpl    $4, %ecx
    jb      2b

    movl    $0x20, %eax                     /* PAE */
    movl    %eax, %cr4
    movl    $level3, %eax
    movl    %eax, %cr3
    movl    $0xc0000080, %ecx               /* EFER */
    rdmsr
    orl     $0x100, %eax                    /* LME */
    wrmsr
    movl    $0x80000001, %eax
    movl    %eax, %cr0
    lgdt    gdt_pointer
    ljmpl   $0x10, $go

    .code64
go: movl    $0x18, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    xorl    %esp, %esp                      /* the protocol promises no stack */
    movl    $parameters, %esi
    movl    $(PAYLOAD + ENTRY_64), %eax
    jmp     *%rax

    .data
    .balign 8
gdt:
    .quad   0, 0
    .quad   0x00af9b000000ffff
    .quad   0x00cf93000000ffff
gdt_pointer:
    .word   . - gdt - 1
    .long   gdt

    .bss
    .balign 4096
parameters: .space 4096
level3:     .space 4096
level2:     .space 4096
            .space 4096
stack_top:
    .section .note.GNU-stack, "", @progbits
