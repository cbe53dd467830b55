/* SPDX-License-Identifier: MIT
 *
 * What drivers of consoles need of a port, hosted.
 */
#ifndef ARCH_HAL_H
#define ARCH_HAL_H

#include <mm/types.h>

extern const bool hal_has_ports;
uint8_t hal_port_read8(uint16_t port);
void hal_port_write8(uint16_t port, uint8_t value);

static inline void hal_cpu_relax(void)
{
}

#endif
