/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_TEXT_H
#define KERNEL_TEXT_H

#include <mm/types.h>

/* A size for people: "512 KiB", "1.5 GiB", in a buffer of the caller. Returns the buffer. */
struct size_text {
    char text[16];
};
const char *size_text(struct size_text *buffer, uint64_t bytes);

/* A number of the monitor's command line: decimal or 0x…, with K, M, G or T after it. False: not a number, or
 * not below 2^64 - 1. */
bool parse_size(const char *text, uint64_t *value);

#endif
