/* SPDX-License-Identifier: MIT
 * strtoul is all that libfdt wants of it. */
#ifndef KERNEL_STDLIB_H
#define KERNEL_STDLIB_H

#include <stddef.h>

unsigned long strtoul(const char *text, char **end, int base);
unsigned long long strtoull(const char *text, char **end, int base);

#endif
