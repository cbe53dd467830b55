/* SPDX-License-Identifier: MIT
 *
 * Fuzzing the readers of firmware tables. One target per format turns any bytes into sources; fuzz_describe
 * reads them as the kernel would and checks what must hold whatever they were. With -Dfuzz=true libFuzzer
 * drives the targets; otherwise replay.c does, over files and seeded mutations of them.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Describes a machine; aborts with a message if an invariant is broken. */
void fuzz_describe(const struct machine_sources *sources);

/* The bytes on a heap block of exactly that size, so that any step outside is seen. Freed by the caller. */
void *fuzz_copy(const uint8_t *data, size_t size);

#endif
