/* SPDX-License-Identifier: MIT
 *
 * In the place of device registers: calls into a simulated part (tests/host/test_consoles.c).
 */
#ifndef DRIVERS_MMIO_H
#define DRIVERS_MMIO_H

#include <mm/types.h>

uint32_t part_read(const volatile void *base, uint64_t offset, unsigned width);
void part_write(volatile void *base, uint64_t offset, unsigned width, uint32_t value);

static inline uint32_t mmio_read32(const volatile void *base, uint64_t offset)
{
    return part_read(base, offset, 4);
}

static inline void mmio_write32(volatile void *base, uint64_t offset, uint32_t value)
{
    part_write(base, offset, 4, value);
}

static inline uint16_t mmio_read16(const volatile void *base, uint64_t offset)
{
    return (uint16_t)part_read(base, offset, 2);
}

static inline void mmio_write16(volatile void *base, uint64_t offset, uint16_t value)
{
    part_write(base, offset, 2, value);
}

static inline uint8_t mmio_read8(const volatile void *base, uint64_t offset)
{
    return (uint8_t)part_read(base, offset, 1);
}

static inline void mmio_write8(volatile void *base, uint64_t offset, uint8_t value)
{
    part_write(base, offset, 1, value);
}

#endif
