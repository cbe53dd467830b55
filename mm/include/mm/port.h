/* SPDX-License-Identifier: MIT
 *
 * Everything that mm/ asks of whoever embeds it. Quire's own kernel answers through arch/hal.h
 * (kernel/include/port_impl.h); the hosted tests answer with a fake (tests/host/port_impl.h); another kernel
 * writes its own port_impl.h and takes mm/ alone.
 *
 * The inline hooks are declared here first, so an implementation with another signature does not compile.
 * Besides these, mm/ needs memcpy, memmove, memset and memcmp, and, for mm/pt only, the page-table policy of
 * one ISA: <arch/pte.h>, which is pure C.
 */
#ifndef MM_PORT_H
#define MM_PORT_H

#include <mm/types.h>

/* Where a byte of directly mapped physical memory is in the address space, and back. Valid for the memory
 * that the embedder maps linearly; O(1). Any context. */
static inline void *port_phys_to_virt(paddr_t address);
static inline paddr_t port_virt_to_phys(const void *pointer);

/* Dense index of the running CPU, 0 … TOPO_MAX_CPUS-1. The caller must not migrate meanwhile. */
static inline unsigned port_cpu(void);

/* The per-CPU cache that the running code may use: port_cpu()'s own, or PORT_NO_CACHE where an interrupt handler runs,
 * which may have hit that CPU inside its cache. So caches need to mask no interrupts. O(1), in every call. */
#define PORT_NO_CACHE 1024 /* port_cpu() is less */
static inline unsigned port_cache(void);

/* Masks interrupts on this CPU and returns the earlier state; restore gives exactly that state back. The two
 * pair up, innermost first. */
static inline uint64_t port_irq_save(void);
static inline void port_irq_restore(uint64_t state);

/* A hint inside spin loops; answers port_fence_cpus() of other CPUs where interrupts may be masked. */
static inline void port_cpu_relax(void);

/* On return every other running CPU has executed a full memory fence since the call began (an interrupt that it
 * answers, membarrier(2), …). With this the per-CPU caches pay for no fence themselves. Any context: a CPU that
 * waits with interrupts masked answers from port_cpu_relax(). */
void port_fence_cpus(void);

/* A free-running counter that all CPUs share, as cheap to read as there is. For statistics only: one that stands still
 * will do. Any context. */
static inline uint64_t port_ticks(void);

/* Fills one frame of memory with zeroes, whether it is directly mapped or not. Any context. */
static inline void port_frame_zero(pfn_t frame);

/* Makes one frame accessible to this CPU for a moment, whether it is directly mapped or not; NULL: there is no way to.
 * Pairs nest; what lies between is short. Any context. */
static inline void *port_frame_map(pfn_t frame);
static inline void port_frame_unmap(void *page);

/* Inlined into a function that is not: where the function which called that one returns to; 0: not known. Used in
 * reports, so that the usual paths need not carry it along. */
static inline uintptr_t port_caller(void);

/* The function that holds an address of the code, and the offset into it, for reports; NULL: not known. Any context. */
const char *port_symbol(uintptr_t address, uint64_t *offset);

/* Makes earlier page-table stores of this CPU visible to page-table walkers, before a dependent access. */
static inline void port_pte_sync(void);

/* Removes the translations of [start, start + size) for the kernel's address space on every running CPU;
 * complete on return. start and size are frame aligned. Waits for the other CPUs, so the caller holds no spinlock
 * that one of them may be waiting for with interrupts masked. */
void port_tlb_flush(vaddr_t start, uint64_t size);

/* Reports a broken invariant and stops the machine. Any context. */
_Noreturn void port_panic(const char *format, ...) PRINTF(1, 2);

/* Reports misuse by a caller that was survived (a frame freed twice), with where it came from if that is known. Any
 * context. */
void port_report(const char *format, ...) PRINTF(1, 2);

#include <port_impl.h>

#ifdef NDEBUG
#define DEBUG_ASSERT(condition) ((void)sizeof(condition))
#else
#define DEBUG_ASSERT(condition) ASSERT(condition)
#endif

#define ASSERT(condition)                                                                                    \
    ((condition) ? (void)0 : port_panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #condition))

#endif
