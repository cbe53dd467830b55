/* SPDX-License-Identifier: MIT
 *
 * A boot loader for tests on x86_64: hands PVH's start info on with one word of its copy changed, or an address that is
 * none instead (HANDOFF). QEMU starts it, and has put the kernel's ELF file to its place already.
 */
    .section .note.Xen, "a", @note
    .balign 4
    .long   4, 8, 18                        /* "Xen", one address, XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz  "Xen"
    .quad   _start

    .text
    .code32
    .globl _start
_start:
    cld
    movl    %ebx, %esi
    movl    $copy, %edi
    movl    $14, %ecx
    rep movsl
#ifdef HANDOFF
    movl    $HANDOFF, %ebx
#else
    movl    $VALUE, copy + OFFSET
    movl    $copy, %ebx
#endif
    movl    $ENTRY, %eax
    jmp     *%eax

    .data
    .balign 8
copy:       .space 56
module:     .quad 0x1000000, 0x4000000000, 0, 0     /* 256 GiB */
    .section .note.GNU-stack, "", @progbits
