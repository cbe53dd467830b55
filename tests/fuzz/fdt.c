/* SPDX-License-Identifier: MIT
 *
 * Device trees. The input is a blob; the block behind it ends where the input ends, whatever its header says.
 */
#include "fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *blob = fuzz_copy(data, size);
    fuzz_describe(&(struct machine_sources){.fdt = blob, .fdt_size = size});
    free(blob);
    return 0;
}
