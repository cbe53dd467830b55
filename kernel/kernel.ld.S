/* SPDX-License-Identifier: MIT
 *
 * The image, for all ISAs: linked at KERNEL_BASE, loaded anywhere. Each part with rights of its own starts on a
 * frame border, so that 4 KiB entries can give it exactly those rights. The port's <arch/layout.h> gives
 * KERNEL_BASE, HAL_LMA_OFFSET (physical address of the image's first byte in the ELF's program headers) and
 * HAL_LD_ARCH; its start.S the sections .head (first in the image) and .note.
 */
#define LINKER_SCRIPT
#include <arch/layout.h>

OUTPUT_ARCH(HAL_LD_ARCH)
ENTRY(_start)

PHDRS
{
    text PT_LOAD FLAGS(5);
    rodata PT_LOAD FLAGS(4);
    data PT_LOAD FLAGS(6);
    note PT_NOTE FLAGS(4);
}

SECTIONS
{
    . = HAL_KERNEL_BASE;
    __image_start = .;

    .text : AT(ADDR(.text) - HAL_KERNEL_BASE + HAL_LMA_OFFSET) {
        __text_start = .;
        KEEP(*(.head))
        *(.text .text.*)
        . = ALIGN(0x1000);
        __text_end = .;
    } :text

    .rodata : AT(ADDR(.rodata) - HAL_KERNEL_BASE + HAL_LMA_OFFSET) {
        __rodata_start = .;
        *(.rodata .rodata.* .srodata .srodata.*)
        . = ALIGN(8);
        __start_quire_tests = .;
        KEEP(*(quire_tests))
        __stop_quire_tests = .;
    } :rodata

    .note : AT(ADDR(.note) - HAL_KERNEL_BASE + HAL_LMA_OFFSET) {
        KEEP(*(.note.Xen))
    } :rodata :note

    .rodata_end : AT(ADDR(.rodata_end) - HAL_KERNEL_BASE + HAL_LMA_OFFSET) {
        . = ALIGN(0x1000);
        __rodata_end = .;
    } :rodata

    .data : AT(ADDR(.data) - HAL_KERNEL_BASE + HAL_LMA_OFFSET) {
        __data_start = .;
        *(.data .data.* .sdata .sdata.*)
        . = ALIGN(0x1000);
        __data_end = .;
    } :data

    .bss : AT(ADDR(.bss) - HAL_KERNEL_BASE + HAL_LMA_OFFSET) {
        __bss_start = .;
        *(.bss.pages)
        *(.bss .bss.* .sbss .sbss.* COMMON)
        . = ALIGN(0x1000);
        __bss_end = .;
    } :data

    __image_end = .;
    ASSERT(__image_end - __image_start <= HAL_IMAGE_MAX, "image larger than the early page tables hold")

    /DISCARD/ : { *(.comment .note.gnu.* .eh_frame .eh_frame_hdr .riscv.attributes .interp .dynamic) }
}
