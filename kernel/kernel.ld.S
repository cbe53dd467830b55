/* SPDX-License-Identifier: MIT
 *
 * The image, for all ISAs: linked at KERNEL_BASE, loaded anywhere. Each part with rights of its own starts on a
 * frame border, so that 4 KiB entries can give it exactly those rights. The port's <arch/layout.h> gives
 * KERNEL_BASE, HAL_LMA_OFFSET (physical address of the image's first byte in the ELF's program headers),
 * HAL_SETUP_SIZE (what the file has before the image) and HAL_LD_ARCH; its assembly the sections .head (first in
 * the image), .setup and .note.
 */
#define LINKER_SCRIPT
#include <arch/layout.h>

OUTPUT_ARCH(HAL_LD_ARCH)
ENTRY(_start)

PHDRS
{
#if HAL_SETUP_SIZE > 0
    setup PT_LOAD FLAGS(4);
#endif
    text PT_LOAD FLAGS(5);
    rodata PT_LOAD FLAGS(4);
    data PT_LOAD FLAGS(6);
    note PT_NOTE FLAGS(4);
}

SECTIONS
{
#if HAL_SETUP_SIZE > 0
    .setup HAL_KERNEL_BASE - HAL_SETUP_SIZE : AT(HAL_LMA_OFFSET - HAL_SETUP_SIZE) {
        KEEP(*(.setup))
    } :setup
#endif

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
    __data_bytes = __data_end - __data_start;
    __data_and_bss_bytes = __image_end - __data_start;
    __image_bytes = __image_end - __image_start;
    __image_paragraphs = (__data_end - __image_start) / 16;
    ASSERT(__image_end - __image_start <= HAL_IMAGE_MAX, "image larger than the early page tables hold")

    /DISCARD/ : { *(.comment .note.gnu.* .eh_frame .eh_frame_hdr .riscv.attributes .interp .dynamic) }
}
