/* SPDX-License-Identifier: MIT
 * What the linker script and start.S need to know of this ISA; see arch/address_map.h for the rest. */
#ifndef ARCH_LAYOUT_H
#define ARCH_LAYOUT_H

#include <arch/address_map.h>

#define HAL_LD_ARCH i386:x86-64

/* Where a PVH loader puts the image. It runs at any 4 KiB-aligned address below 4 GiB. */
#define HAL_LMA_OFFSET 0x200000

/* Boot headers and real-mode code before the image, in the file only: setup.S. */
#define HAL_SETUP_SIZE 0x1000

/* A frame record, in bytes from the frame pointer. */
#define HAL_FRAME_CALLER 0
#define HAL_FRAME_RETURN 8

#endif
