/* SPDX-License-Identifier: MIT
 *
 * EFI memory maps. The input's first byte gives the descriptor size: 48 for 0, else itself.
 */
#include "fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint32_t desc_size = data[0] == 0 ? 48 : data[0];
    void *map = fuzz_copy(data + 1, size - 1);
    fuzz_describe(
        &(struct machine_sources){.efi_map = map, .efi_map_size = size - 1, .efi_desc_size = desc_size});
    free(map);
    return 0;
}
