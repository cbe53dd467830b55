/* SPDX-License-Identifier: MIT
 * The compiler's own <limits.h> would include the C library's. */
#ifndef KERNEL_LIMITS_H
#define KERNEL_LIMITS_H

#define INT_MAX __INT_MAX__

#endif
