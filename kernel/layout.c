/* SPDX-License-Identifier: MIT
 *
 * The rows of arch/address_map.h as a table, for people, tests and the direct map's bounds.
 */
#include <kernel/address_space.h>

#define ROWS(levels)                                                                                         \
    {                                                                                                        \
        {"user", 0, HAL_HALF_SIZE(levels)},                                                                  \
            {"direct map", HAL_DIRECT_BASE(levels), HAL_DIRECT_SIZE(levels)},                                \
            {"slab window", HAL_SLAB_BASE(levels), HAL_SLAB_SIZE(levels)},                                   \
            {"kernel heap", HAL_HEAP_BASE(levels), HAL_HEAP_SIZE(levels)},                                   \
            {"vmap", HAL_VMAP_BASE(levels), HAL_VMAP_SIZE(levels)},                                          \
            {"kernel image", HAL_KERNEL_BASE, HAL_IMAGE_MAX},                                                \
            {"temporary maps", HAL_TEMP_BASE, HAL_TEMP_SIZE}, {"scratch", HAL_FIXMAP_BASE, HAL_FIXMAP_SIZE}, \
            {NULL, 0, 0},                                                                                    \
    }

const struct layout_row *layout_rows(unsigned levels)
{
    static const struct layout_row rows[][9] = {ROWS(3), ROWS(4), ROWS(5)};
    return rows[levels - 3];
}
