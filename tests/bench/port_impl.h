/* SPDX-License-Identifier: MIT
 *
 * mm/port.h for benchmarks: a thread plays the CPU that it says it is, interrupts are free of charge, and
 * frames are numbers only, so nothing is mapped.
 */
#ifndef PORT_IMPL_H
#define PORT_IMPL_H

#include <string.h>

extern _Thread_local unsigned bench_cpu;

static inline void *port_phys_to_virt(paddr_t address)
{
    port_panic("physical address %#llx: there is no memory behind frames here",
               (unsigned long long)address.v);
}

static inline paddr_t port_virt_to_phys(const void *pointer)
{
    port_panic("%p: there is no memory behind frames here", pointer);
}

static inline unsigned port_cpu(void)
{
    return bench_cpu;
}

static inline unsigned port_cache(void)
{
    return bench_cpu;
}

static inline uint64_t port_irq_save(void)
{
    return 0;
}

static inline void port_irq_restore(uint64_t state)
{
    (void)state;
}

static inline void port_cpu_relax(void)
{
    __builtin_ia32_pause();
}

static inline uint64_t port_ticks(void)
{
    return __builtin_ia32_rdtsc();
}

static inline void port_frame_zero(pfn_t frame)
{
    port_panic("frame %#llx: there is no memory behind frames here", (unsigned long long)frame.v);
}

static inline void *port_frame_map(pfn_t frame)
{
    (void)frame;
    return NULL;
}

static inline void port_frame_unmap(void *page)
{
    (void)page;
}

static inline uintptr_t port_caller(void)
{
    return 0;
}

static inline void port_pte_sync(void) {}

#endif
