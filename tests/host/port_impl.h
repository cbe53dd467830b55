/* SPDX-License-Identifier: MIT
 *
 * The fake of mm/port.h. It is stricter than a machine: an address outside the arena, or interrupt states
 * that are not restored innermost first, end the run.
 */
#ifndef PORT_IMPL_H
#define PORT_IMPL_H

#include <sched.h>
#include <string.h>
#include <time.h>

#include "host.h"

extern _Thread_local unsigned host_cpu;
extern _Thread_local unsigned host_irq_depth;

static inline void *port_phys_to_virt(paddr_t address)
{
    if (address.v < FRAME_SIZE && host_frame_0 != NULL)
        return host_frame_0 + address.v;
    if (address.v - HOST_PHYS_BASE >= HOST_PHYS_SIZE)
        port_panic("physical address %#llx is not mapped", (unsigned long long)address.v);
    return host_arena + (address.v - HOST_PHYS_BASE);
}

static inline paddr_t port_virt_to_phys(const void *pointer)
{
    return paddr(HOST_PHYS_BASE + (uint64_t)((const uint8_t *)pointer - host_arena));
}

static inline unsigned port_cpu(void)
{
    return host_cpu;
}

static inline unsigned port_cache(void)
{
    return host_cpu;
}

/* The state is the depth of nesting, so that restore can tell whether it is its turn. */
static inline uint64_t port_irq_save(void)
{
    return host_irq_depth++;
}

static inline void port_irq_restore(uint64_t state)
{
    if (host_irq_depth == 0 || state != host_irq_depth - 1)
        port_panic("interrupt state %u restored at depth %u", (unsigned)state, host_irq_depth);
    host_irq_depth--;
}

static inline void port_cpu_relax(void)
{
    sched_yield();
}

static inline uint64_t port_ticks(void)
{
    struct timespec now;

    if (host_tick_step != 0)
        return host_ticks += host_tick_step;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline void port_frame_zero(pfn_t frame)
{
    if (host_zero_observer != NULL)
        host_zero_observer(frame);
    else
        memset(port_phys_to_virt(paddr_of(frame)), 0, FRAME_SIZE);
}

/* Simulated machines have frames with nothing behind them. */
static inline void *port_frame_map(pfn_t frame)
{
    uint64_t address = paddr_of(frame).v;

    return address - HOST_PHYS_BASE < HOST_PHYS_SIZE ? host_arena + (address - HOST_PHYS_BASE) : NULL;
}

static inline void port_frame_unmap(void *page)
{
    (void)page;
}

/* The tests are compiled with frame pointers and without sibling calls. On both x86_64 and aarch64 a frame begins with
 * the caller's and the return address. */
static inline __attribute__((always_inline)) uintptr_t port_caller(void)
{
    const uintptr_t *const *frame = __builtin_frame_address(0);

    return frame[0][1];
}

static inline void port_pte_sync(void) {}

#endif
