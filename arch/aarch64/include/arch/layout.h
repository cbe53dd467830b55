/* SPDX-License-Identifier: MIT
 *
 * Where things lie in the address space: 4 KiB granule, 48-bit addresses, four levels of tables.
 *
 * TTBR0 translates addresses whose top 16 bits are zero and TTBR1 those whose top bits are one. Of each half
 * only the part that a sign extension of bit 47 would give is used, so that one 512-entry root could hold
 * both and the shared walker needs no rule of its own for this ISA.
 *
 * Also read by the linker script and by assembly: plain numbers only, outside the last part.
 */
#ifndef ARCH_LAYOUT_H
#define ARCH_LAYOUT_H

#define HAL_LD_ARCH aarch64

#define HAL_KERNEL_BASE 0xffffffff80000000
#define HAL_IMAGE_MAX 0x400000

/* Where `-M virt` puts an Image: 2 MiB into its RAM. Only the ELF's program headers show it; the image
 * runs at any 4 KiB-aligned address. */
#define HAL_LMA_OFFSET 0x40200000

/* Two level-0 tables at the end of the gigabyte that holds the image. */
#define HAL_FIXMAP_BASE 0xffffffffbfc00000
#define HAL_FIXMAP_SLOTS 1024

/* A stack is the upper half of a slot twice its size, and slots are aligned to their size: bit
 * HAL_STACK_SHIFT of an address is 1 in a stack and 0 in the guard below it. Trap entry tells overflow by
 * that bit alone. */
#define HAL_STACK_SHIFT 14
#define HAL_STACK_SIZE 0x4000

#define HAL_CACHE_LINE 64

#define HAL_USER_BASE 0x0
#define HAL_USER_SIZE 0x0000800000000000
#define HAL_DIRECT_BASE 0xffff800000000000
#define HAL_DIRECT_SIZE 0x0000400000000000
#define HAL_SLAB_BASE 0xffffc00000000000
#define HAL_SLAB_SIZE 0x0000100000000000
#define HAL_HEAP_BASE 0xffffd00000000000
#define HAL_HEAP_SIZE 0x0000100000000000
#define HAL_VMAP_BASE 0xffffe00000000000
#define HAL_VMAP_SIZE 0x0000010000000000
#define HAL_FIXMAP_SIZE (HAL_FIXMAP_SLOTS * 0x1000)

#if !defined(__ASSEMBLER__) && !defined(LINKER_SCRIPT)
_Static_assert(HAL_USER_BASE + HAL_USER_SIZE <= HAL_DIRECT_BASE, "user meets direct map");
_Static_assert(HAL_DIRECT_BASE + HAL_DIRECT_SIZE <= HAL_SLAB_BASE, "direct map meets slab window");
_Static_assert(HAL_SLAB_BASE + HAL_SLAB_SIZE <= HAL_HEAP_BASE, "slab window meets kernel heap");
_Static_assert(HAL_HEAP_BASE + HAL_HEAP_SIZE <= HAL_VMAP_BASE, "kernel heap meets vmap");
_Static_assert(HAL_VMAP_BASE + HAL_VMAP_SIZE <= HAL_KERNEL_BASE, "vmap meets image");
_Static_assert(HAL_KERNEL_BASE + HAL_IMAGE_MAX <= HAL_FIXMAP_BASE, "image meets fixmap");
_Static_assert(HAL_KERNEL_BASE >> 30 == (HAL_FIXMAP_BASE + HAL_FIXMAP_SIZE - 1) >> 30,
               "one early level-1 table serves both");
_Static_assert(HAL_IMAGE_MAX % 0x200000 == 0, "early tables hold whole level-0 tables");
_Static_assert(HAL_STACK_SIZE == 1 << HAL_STACK_SHIFT, "stack size and bit");
_Static_assert(HAL_VMAP_BASE % (2 * HAL_STACK_SIZE) == 0, "stack slots are aligned");
#endif

#endif
