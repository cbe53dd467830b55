/* SPDX-License-Identifier: MIT
 * mm/port.h over arch/hal.h: how Quire's own kernel embeds mm/. */
#ifndef KERNEL_PORT_IMPL_H
#define KERNEL_PORT_IMPL_H

#include <arch/hal.h>
#include <kernel/percpu.h>
#include <kernel/temp_map.h>
#include <string.h>

/* Virtual minus physical address of the direct map. Changes during boot only (address_space.c). */
extern uint64_t direct_offset;

static inline void *port_phys_to_virt(paddr_t address)
{
    return (void *)(uintptr_t)(address.v + direct_offset);
}

static inline paddr_t port_virt_to_phys(const void *pointer)
{
    return paddr((uintptr_t)pointer - direct_offset);
}

static inline unsigned port_cpu(void)
{
    return hal_percpu()->index;
}

static inline unsigned port_cache(void)
{
    return hal_percpu()->cache;
}

static inline uint64_t port_irq_save(void)
{
    return hal_irq_save();
}

static inline void port_irq_restore(uint64_t state)
{
    hal_irq_restore(state);
}

static inline void port_cpu_relax(void)
{
    hal_cpu_relax();
    if (atomic_load_explicit(&hal_percpu()->ipi_pending, memory_order_relaxed) & IPI_FENCE)
        ipi_answer_fence();
}

static inline uint64_t port_ticks(void)
{
    return hal_ticks();
}

static inline void port_frame_zero(pfn_t frame)
{
    void *page = temp_map(frame);
    memset(page, 0, FRAME_SIZE);
    temp_unmap(page);
}

static inline void *port_frame_map(pfn_t frame)
{
    return temp_map(frame);
}

static inline void port_frame_unmap(void *page)
{
    temp_unmap(page);
}

/* The kernel is compiled with frame pointers and without sibling calls; a function that calls another has a frame. */
static inline __attribute__((always_inline)) uintptr_t port_caller(void)
{
    uintptr_t own = (uintptr_t)__builtin_frame_address(0);
    uintptr_t caller = *(const uintptr_t *)(own + HAL_FRAME_CALLER);
    return *(const uintptr_t *)(caller + HAL_FRAME_RETURN);
}

static inline void port_pte_sync(void)
{
    hal_pte_sync();
}

#endif
