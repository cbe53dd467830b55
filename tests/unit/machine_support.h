/* SPDX-License-Identifier: MIT
 *
 * What the memory map, topology and reader tests share: one machine to fill, since it is too large for a
 * stack and the image has no room for several.
 */
#ifndef MACHINE_SUPPORT_H
#define MACHINE_SUPPORT_H

#include <machine.h>

#include "quire_test.h"

extern struct machine test_machine;

/* Empty map and topology, no notes. */
void machine_clear(void);

/* True if some note contains text. */
bool machine_noted(const char *text);

/* NULL, or which invariant of map or topology is broken. */
const char *machine_check(void);

#endif
