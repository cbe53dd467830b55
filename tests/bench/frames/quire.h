/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_H
#define QUIRE_H

#include "fa.h"

extern const struct fa fa_quire;

/* Of fa_quire's meta_bytes, what the allocator itself needs: without frame descriptors. */
uint64_t fa_quire_allocator_bytes(void);

#endif
