/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_SYMBOLS_H
#define KERNEL_SYMBOLS_H

#include <mm/types.h>

/* The function that holds an address of the text, and the offset into it; NULL if none does. */
const char *symbol_find(vaddr_t address, uint64_t *offset);

#endif
