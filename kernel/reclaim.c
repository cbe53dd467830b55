/* SPDX-License-Identifier: MIT */
#include <kernel/reclaim.h>
#include <mm/frame_pressure.h>
#include <mm/port.h>
#include <mm/slab.h>

/* Slabs have no node: all that is free goes. */
static uint64_t reclaim(void *context, uint16_t node, frame_pressure_t pressure, uint64_t wanted)
{
    (void)context, (void)node, (void)pressure, (void)wanted;
    return slab_shrink_all();
}

void reclaim_enable(bool on)
{
    if (frame_reclaim_register(on ? reclaim : NULL, NULL) != OK)
        port_panic("there is another reclaimer");
}

void reclaim_rest(void)
{
    (void)frame_reclaim_background();
    slab_rest();
}
