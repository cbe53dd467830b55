/* SPDX-License-Identifier: MIT
 * What the linker script and start.S need to know of this ISA; see arch/address_map.h for the rest. */
#ifndef ARCH_LAYOUT_H
#define ARCH_LAYOUT_H

#include <arch/address_map.h>

#define HAL_LD_ARCH riscv

/* Where OpenSBI expects its payload on `-M virt`. Only the ELF's program headers show it; the image runs at any
 * 4 KiB-aligned address. */
#define HAL_LMA_OFFSET 0x80200000

/* The file has nothing before the image. */
#define HAL_SETUP_SIZE 0

/* A frame record, in bytes from the frame pointer. */
#define HAL_FRAME_CALLER -16
#define HAL_FRAME_RETURN -8

#endif
