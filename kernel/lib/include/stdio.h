/* SPDX-License-Identifier: MIT
 * Formatting into memory; output is kernel/console.h. */
#ifndef KERNEL_STDIO_H
#define KERNEL_STDIO_H

#include <stdarg.h>
#include <stddef.h>

int snprintf(char *to, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
int vsnprintf(char *to, size_t size, const char *format, va_list args);

/* What both rest on: calls put for each character. Returns their number. */
int format_text(void (*put)(void *context, char c), void *context, const char *format, va_list args);

#endif
