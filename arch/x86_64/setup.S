/* SPDX-License-Identifier: MIT
 *
 * The first page of the bzImage, before the image proper (start.S): the header of the Linux boot protocol 2.15
 * (Documentation/arch/x86/boot.rst), which makes BIOS loaders take the file; the PE header, which makes EFI take
 * it; and the protocol's real-mode code.
 *
 * That code asks the BIOS for the memory map, which nobody can do later, and enters the image in 32-bit mode.
 * The header is where the boot parameters have it too, so this page becomes the boot parameters: all before the
 * header is cleared, the PE header with it, which nobody needs any more, and the table of e820 entries goes
 * where it belongs, over nothing but zeroes.
 */
#include <arch/boot_params.h>
#include <arch/efi.h>
#include <arch/layout.h>
#include <boot/efi/pe.inc>

#define SETUP_SECTORS (HAL_SETUP_SIZE / 512 - 1)
#define E820_MAGIC 0x534d4150 /* "SMAP" */
#define A20_TRIES 255

    .section .setup, "awx", @progbits
    .code16
    .globl setup_start
setup_start:
    .ascii  "MZ"
    .org    setup_start + 0x3c
    .long   1f - setup_start
1:  pe_header setup_start, EFI_PE_MACHINE

    .org    setup_start + BOOT_PARAMS_EFI_INFO /* an error if the PE header is longer */
    .org    setup_start + BOOT_PARAMS_HEADER
    .byte   SETUP_SECTORS
    .word   1                               /* root is read only; means nothing here */
    .long   __image_paragraphs
    .word   0, 0xffff, 0                    /* RAM size, video mode: as it is, root device */
    .word   0xaa55
    .byte   0xeb, header_end - 2f           /* jmp; where loaders enter, at 0x200. Its length is the header's */
2:  .ascii  "HdrS"
    .word   0x020f                          /* version 2.15 */
    .long   0                               /* hook */
    .word   0, 0                            /* start segment, version string: none */
    .byte   0                               /* type of loader: it writes its own */
    .byte   0x01                            /* the image goes above 1 MiB */
    .word   0
    .long   0x100000                        /* where, and the 32-bit entry: may be changed by the loader */
    .long   0, 0                            /* initrd */
    .long   0
    .word   0, 0                            /* no heap */
    .long   0                               /* command line */
    .long   0x7fffffff                      /* last byte that an initrd may have */
    .long   0x200000                        /* alignment that is preferred */
    .byte   1                               /* relocatable */
    .byte   12                              /* alignment that is needed, log2 */
    .word   1                               /* has a 64-bit entry; all of it lies below 4 GiB */
    .long   2047                            /* command line, without its end */
    .long   0
    .quad   0
    .long   0, 0                            /* no payload to be unpacked */
    .quad   0
    .quad   HAL_LMA_OFFSET                  /* address that is preferred */
    .long   __image_bytes                   /* with .bss */
    .long   0, 0                            /* no EFI handover, which is deprecated; no kernel info */
header_end:
    jmp     real_mode

    .org    setup_start + BOOT_PARAMS_E820 + 20 * BOOT_PARAMS_E820_MAX

/* cs is this page's segment + 0x20; the loader has set up a stack. */
real_mode:
    cli
    cld
    movw    %cs, %ax
    subw    $0x20, %ax
    movw    %ax, %ds
    movw    %ax, %es
    xorw    %ax, %ax
    xorw    %di, %di
    movw    $BOOT_PARAMS_HEADER, %cx
    rep stosb
    sti
    call    read_e820
    cli
    call    enable_a20
    jmp     enter_protected

/* One entry of 20 bytes a call, until ebx comes back as 0; as many as there is room for. */
read_e820:
    movw    $BOOT_PARAMS_E820, %di
    xorl    %ebx, %ebx
1:  movl    $0xe820, %eax
    movl    $20, %ecx
    movl    $E820_MAGIC, %edx
    int     $0x15
    jc      2f
    cmpl    $E820_MAGIC, %eax
    jne     2f
    addw    $20, %di
    incb    BOOT_PARAMS_E820_COUNT
    cmpb    $BOOT_PARAMS_E820_MAX, BOOT_PARAMS_E820_COUNT
    je      2f
    testl   %ebx, %ebx
    jnz     1b
2:  ret

/* By the BIOS, then by the fast gate; where it is on already neither does harm. */
enable_a20:
    call    a20_is_on
    jnz     1f
    movw    $0x2401, %ax
    int     $0x15
    call    a20_is_on
    jnz     1f
    inb     $0x92, %al
    orb     $2, %al
    andb    $0xfe, %al
    outb    %al, $0x92
    movw    $A20_TRIES, %cx
2:  call    a20_is_on
    loopz   2b
1:  ret

/* Clears Z if 0x500 and 1 MiB beyond it are two places. Keeps what is there. Clobbers ax, fs, gs. */
a20_is_on:
    pushw   %cx
    xorw    %ax, %ax
    movw    %ax, %fs
    notw    %ax
    movw    %ax, %gs
    movw    %fs:0x500, %cx
    movw    %cx, %ax
    notw    %ax
    movw    %ax, %fs:0x500
    outb    %al, $0x80                      /* takes a microsecond */
    cmpw    %gs:0x510, %ax
    movw    %cx, %fs:0x500
    popw    %cx
    ret

enter_protected:
    xorl    %esi, %esi
    movw    %ds, %si
    shll    $4, %esi                        /* the boot parameters */
    leal    (gdt - setup_start)(%esi), %eax
    movl    %eax, gdt_pointer - setup_start + 2
    lgdtl   gdt_pointer - setup_start
    movl    BOOT_PARAMS_HEADER + 0x23, %edx /* code32_start */
    movb    $0xff, %al                      /* the BIOS may be in the middle of an interrupt */
    outb    %al, $0x21
    outb    %al, $0xa1
    movl    %cr0, %eax
    orb     $1, %al
    movl    %eax, %cr0
    leal    (protected - setup_start)(%esi), %eax
    movl    %eax, far_target - setup_start
    ljmpl   *far_target - setup_start

    .code32
protected:
    movl    $0x18, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %fs
    movl    %eax, %gs
    movl    %eax, %ss
    xorl    %ebx, %ebx
    xorl    %ebp, %ebp
    xorl    %edi, %edi
    jmp     *%edx

    .balign 8
gdt:
    .quad   0, 0
    .quad   0x00cf9b000000ffff              /* 0x10, as the protocol has it: flat code */
    .quad   0x00cf93000000ffff              /* 0x18: flat data */
gdt_end:
gdt_pointer:
    .word   gdt_end - gdt - 1
    .long   0
far_target:
    .long   0
    .word   0x10
    .org    setup_start + HAL_SETUP_SIZE    /* an error if it does not fit */
    .section .note.GNU-stack, "", @progbits
