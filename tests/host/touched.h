/* SPDX-License-Identifier: MIT
 *
 * Counts work without a clock: which pages of the simulated machine's metadata were touched, ever or by one
 * operation. One thread at a time.
 */
#ifndef TOUCHED_H
#define TOUCHED_H

#include <mm/types.h>

/* Bytes of metadata that take memory, in whole pages. */
uint64_t touched_bytes(void);

/* Pages of metadata that body(context) reads or writes, each counted once. */
unsigned touched_by(void (*body)(void *context), void *context);

#endif
