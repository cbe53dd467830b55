/* SPDX-License-Identifier: MIT */
#include <arch/hal.h>

#include "pit.h"

#define PORT_CHANNEL0 0x40
#define PORT_MODE 0x43

#define MODE_CHANNEL0_ONCE 0x30 /* two bytes, mode 0: counts down, then raises its output */
#define MODE_READ_BACK 0xc2     /* latches status and count of channel 0 */
#define STATUS_OUTPUT 0x80      /* as a missing part reads, too */
#define STATUS_NOT_LOADED 0x40

/* Counting begins after the second byte of the initial value. */
void pit_start(void)
{
    hal_port_write8(PORT_MODE, MODE_CHANNEL0_ONCE);
    hal_port_write8(PORT_CHANNEL0, PIT_TICKS_MAX & 0xff);
    hal_port_write8(PORT_CHANNEL0, PIT_TICKS_MAX >> 8);
}

uint32_t pit_ticks(void)
{
    hal_port_write8(PORT_MODE, MODE_READ_BACK);
    uint8_t status = hal_port_read8(PORT_CHANNEL0);
    uint32_t left = hal_port_read8(PORT_CHANNEL0);
    left |= (uint32_t)hal_port_read8(PORT_CHANNEL0) << 8;
    if (status & STATUS_OUTPUT)
        return PIT_OVERRUN;
    return status & STATUS_NOT_LOADED ? 0 : PIT_TICKS_MAX - left;
}
