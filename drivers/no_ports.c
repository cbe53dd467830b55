/* SPDX-License-Identifier: MIT
 *
 * For ISAs without a space of I/O ports: drivers that know both kinds of registers find none.
 */
#include <arch/hal.h>

const bool hal_has_ports = false;

uint8_t hal_port_read8(uint16_t port)
{
    (void)port;
    return 0xff;
}

void hal_port_write8(uint16_t port, uint8_t value)
{
    (void)port;
    (void)value;
}
