/* SPDX-License-Identifier: MIT
 *
 * Where things lie in the address space: one rule for every ISA and paging mode.
 *
 * A mode of n levels has two halves of 2^(9n + 11) bytes, the lower one for users. (aarch64 could use more of
 * each half; it keeps to what a sign extension gives, so the shared walker needs no rule for it.) The
 * kernel's half:
 *
 *   1/2 direct map · 1/8 slab window · 1/8 kernel heap · 1/8 vmap · the rest free, image and fixmap at its end
 *
 * which gives the direct map 128 GiB with three levels, 64 TiB with four and 32 PiB with five. Image and
 * fixmap have the same addresses in all modes, in one gigabyte, so that early tables of any depth are few.
 *
 * Also read by the linker script and by assembly: plain numbers only, outside the last part.
 */
#ifndef ARCH_ADDRESS_MAP_H
#define ARCH_ADDRESS_MAP_H

#define HAL_KERNEL_BASE 0xffffffff80000000
#define HAL_IMAGE_MAX 0x400000

/* Two level-0 tables at the end of the gigabyte that holds the image. */
#define HAL_FIXMAP_BASE 0xffffffffbfc00000
#define HAL_FIXMAP_SLOTS 1024
#define HAL_FIXMAP_SIZE (HAL_FIXMAP_SLOTS * 0x1000)

/* Temporary maps, in the same gigabyte: see kernel/temp_map.c. */
#define HAL_TEMP_BASE 0xffffffffa0000000
#define HAL_TEMP_SIZE 0x4000000

/* Stacks fill the upper half of slots of twice their size, aligned to those, so bit HAL_STACK_SHIFT of an
 * address is 1 in a stack and 0 in the guard below it. Trap entry tells overflow by that bit alone. */
#define HAL_STACK_SHIFT 14
#define HAL_STACK_SIZE 0x4000

#if !defined(__ASSEMBLER__) && !defined(LINKER_SCRIPT)
#include <mm/types.h>

#define HAL_HALF_SIZE(levels) (UINT64_C(1) << (9 * (levels) + 11))

#define HAL_DIRECT_SIZE(levels) (HAL_HALF_SIZE(levels) / 2)
#define HAL_SLAB_SIZE(levels) (HAL_HALF_SIZE(levels) / 8)
#define HAL_HEAP_SIZE(levels) (HAL_HALF_SIZE(levels) / 8)
#define HAL_VMAP_SIZE(levels) (HAL_HALF_SIZE(levels) / 8)

#define HAL_DIRECT_BASE(levels) (-HAL_HALF_SIZE(levels))
#define HAL_SLAB_BASE(levels) (HAL_DIRECT_BASE(levels) + HAL_DIRECT_SIZE(levels))
#define HAL_HEAP_BASE(levels) (HAL_SLAB_BASE(levels) + HAL_SLAB_SIZE(levels))
#define HAL_VMAP_BASE(levels) (HAL_HEAP_BASE(levels) + HAL_HEAP_SIZE(levels))

/* The rows adjoin; deeper modes only have more room between the last of them and the image. */
_Static_assert(HAL_VMAP_BASE(3) + HAL_VMAP_SIZE(3) <= HAL_KERNEL_BASE, "vmap meets image");
_Static_assert(HAL_VMAP_BASE(4) + HAL_VMAP_SIZE(4) <= HAL_KERNEL_BASE, "vmap meets image");
_Static_assert(HAL_VMAP_BASE(5) + HAL_VMAP_SIZE(5) <= HAL_KERNEL_BASE, "vmap meets image");
_Static_assert(HAL_DIRECT_SIZE(3) >= GIB(128) && HAL_DIRECT_SIZE(4) >= TIB(64), "direct map");
_Static_assert(HAL_KERNEL_BASE + HAL_IMAGE_MAX <= HAL_TEMP_BASE, "image meets temporary maps");
_Static_assert(HAL_TEMP_BASE + HAL_TEMP_SIZE <= HAL_FIXMAP_BASE, "temporary maps meet fixmap");
_Static_assert(HAL_KERNEL_BASE >> 30 == (HAL_FIXMAP_BASE + HAL_FIXMAP_SIZE - 1) >> 30,
               "one early level-1 table serves both");
_Static_assert(HAL_IMAGE_MAX % 0x200000 == 0, "early tables hold whole level-0 tables");
_Static_assert(HAL_STACK_SIZE == 1 << HAL_STACK_SHIFT, "stack size and bit");
_Static_assert(HAL_VMAP_BASE(3) % (2 * HAL_STACK_SIZE) == 0, "stack slots are aligned");
#endif

#endif
