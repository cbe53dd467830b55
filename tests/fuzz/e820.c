/* SPDX-License-Identifier: MIT
 *
 * e820 maps: 20-byte entries; a rest is left out, as boot protocols count entries.
 */
#include "fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t count = size / sizeof(struct e820_entry);
    void *entries = fuzz_copy(data, count * sizeof(struct e820_entry));
    fuzz_describe(&(struct machine_sources){.e820 = entries, .e820_count = (uint32_t)count});
    free(entries);
    return 0;
}
