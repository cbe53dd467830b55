/* SPDX-License-Identifier: MIT
 *
 * Where things lie in the address space: 48-bit addresses with four levels of tables, 57-bit ones with five.
 *
 * Everything but user and direct map lies in the top 64 TiB, which are canonical in both modes and keep their
 * addresses. The direct map alone moves: with four levels 64 TiB fit, with five all of the 4 PiB that an
 * entry can name.
 *
 * Also read by the linker script and by assembly: plain numbers only, outside the last part.
 */
#ifndef ARCH_LAYOUT_H
#define ARCH_LAYOUT_H

#define HAL_LD_ARCH i386:x86-64

#define HAL_KERNEL_BASE 0xffffffff80000000
#define HAL_IMAGE_MAX 0x400000

/* Where a PVH loader puts the image. It runs at any 4 KiB-aligned address below 4 GiB. */
#define HAL_LMA_OFFSET 0x200000

/* Two level-0 tables at the end of the gigabyte that holds the image. */
#define HAL_FIXMAP_BASE 0xffffffffbfc00000
#define HAL_FIXMAP_SLOTS 1024
#define HAL_FIXMAP_SIZE (HAL_FIXMAP_SLOTS * 0x1000)

/* A stack is the upper half of a slot twice its size, and slots are aligned to their size: bit
 * HAL_STACK_SHIFT of an address is 1 in a stack and 0 in the guard below it. */
#define HAL_STACK_SHIFT 14
#define HAL_STACK_SIZE 0x4000

#define HAL_CACHE_LINE 64

#define HAL_USER_BASE 0x0
#define HAL_USER4_SIZE 0x0000800000000000
#define HAL_USER5_SIZE 0x0100000000000000
#define HAL_DIRECT4_BASE 0xffff800000000000
#define HAL_DIRECT4_SIZE 0x0000400000000000
#define HAL_DIRECT5_BASE 0xff00000000000000
#define HAL_DIRECT5_SIZE 0x0010000000000000
#define HAL_SLAB_BASE 0xffffc00000000000
#define HAL_SLAB_SIZE 0x0000100000000000
#define HAL_HEAP_BASE 0xffffd00000000000
#define HAL_HEAP_SIZE 0x0000100000000000
#define HAL_VMAP_BASE 0xffffe00000000000
#define HAL_VMAP_SIZE 0x0000010000000000

#if !defined(__ASSEMBLER__) && !defined(LINKER_SCRIPT)
_Static_assert(HAL_USER_BASE + HAL_USER4_SIZE <= HAL_DIRECT4_BASE, "user meets direct map");
_Static_assert(HAL_USER_BASE + HAL_USER5_SIZE <= HAL_DIRECT5_BASE, "user meets direct map");
_Static_assert(HAL_DIRECT4_BASE + HAL_DIRECT4_SIZE <= HAL_SLAB_BASE, "direct map meets slab window");
_Static_assert(HAL_DIRECT5_BASE + HAL_DIRECT5_SIZE <= HAL_SLAB_BASE, "direct map meets slab window");
_Static_assert(HAL_SLAB_BASE + HAL_SLAB_SIZE <= HAL_HEAP_BASE, "slab window meets kernel heap");
_Static_assert(HAL_HEAP_BASE + HAL_HEAP_SIZE <= HAL_VMAP_BASE, "kernel heap meets vmap");
_Static_assert(HAL_VMAP_BASE + HAL_VMAP_SIZE <= HAL_KERNEL_BASE, "vmap meets image");
_Static_assert(HAL_KERNEL_BASE + HAL_IMAGE_MAX <= HAL_FIXMAP_BASE, "image meets fixmap");
_Static_assert(HAL_KERNEL_BASE >> 30 == (HAL_FIXMAP_BASE + HAL_FIXMAP_SIZE - 1) >> 30, "one early level-1 table");
_Static_assert(HAL_IMAGE_MAX % 0x200000 == 0, "early tables hold whole level-0 tables");
_Static_assert(HAL_STACK_SIZE == 1 << HAL_STACK_SHIFT, "stack size and bit");
_Static_assert(HAL_VMAP_BASE % (2 * HAL_STACK_SIZE) == 0, "stack slots are aligned");
#endif

#endif
