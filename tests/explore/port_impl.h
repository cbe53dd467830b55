/* SPDX-License-Identifier: MIT
 *
 * mm/port.h inside the explorer: a CPU is a logical thread, interrupts are the scenario's, waiting is a
 * switch. There is no memory behind the frames, unless the machine was started with some (machine.h).
 */
#ifndef PORT_IMPL_H
#define PORT_IMPL_H

#include <string.h>

/* explore.c */
unsigned explore_cpu(void);
bool explore_in_interrupt(void);
uint64_t explore_irq_save(void);
void explore_irq_restore(uint64_t state);
void explore_wait(void);

/* machine.c: the memory from MACHINE_START on, or NULL: there is none. */
#define MACHINE_START (UINT64_C(10) << 20)
extern uint8_t *machine_memory;

static inline void *port_phys_to_virt(paddr_t address)
{
    if (machine_memory == NULL)
        port_panic("the memory at %#llx is looked at", (unsigned long long)address.v);
    return machine_memory + (address.v - MACHINE_START);
}

static inline paddr_t port_virt_to_phys(const void *pointer)
{
    if (machine_memory == NULL)
        port_panic("the physical address of %p is asked for", pointer);
    return paddr(MACHINE_START + (uint64_t)((const uint8_t *)pointer - machine_memory));
}

static inline unsigned port_cpu(void)
{
    return explore_cpu();
}

static inline unsigned port_cache(void)
{
    return explore_in_interrupt() ? PORT_NO_CACHE : explore_cpu();
}

static inline uint64_t port_irq_save(void)
{
    return explore_irq_save();
}

static inline void port_irq_restore(uint64_t state)
{
    explore_irq_restore(state);
}

static inline void port_cpu_relax(void)
{
    explore_wait();
}

/* Nothing takes time here. */
static inline uint64_t port_ticks(void)
{
    return 0;
}

static inline void port_frame_zero(pfn_t frame)
{
    memset(port_phys_to_virt(paddr_of(frame)), 0, FRAME_SIZE);
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
