/* SPDX-License-Identifier: MIT
 *
 * Every atomic access of mm/ goes through these names, and no other header of mm/ knows <stdatomic.h>'s. Two
 * things follow: the memory order of each access is said in its name, and a test build can turn every access
 * into a scheduling point (tests/explore), so that the interleavings of the shipped code can be enumerated.
 *
 * Loads and stores are relaxed, acquire or release; read-modify-writes and the seq_cst load are sequentially
 * consistent, because what uses them argues with a single order of all of them (zone.h, "listings"). All of
 * them take a pointer to an _Atomic object and may be used in any context. Read-modify-writes need 32 or 64 bits:
 * riscv64 has no smaller ones.
 */
#ifndef MM_ATOMIC_H
#define MM_ATOMIC_H

#include <stdatomic.h>
#include <stdint.h>

#ifdef MM_EXPLORE
/* Defined by the explorer: another thread may run now. */
void explore_point(void);
#define ATOMIC_POINT() explore_point()

/* A value, with the point after all that it takes to know it: right before the access that it is an operand
 * of. */
#define ATOMIC_LAST(value)           ATOMIC_LAST_1(value, __COUNTER__)
#define ATOMIC_LAST_1(value, number) ATOMIC_LAST_2(value, number)
#define ATOMIC_LAST_2(value, number)                                                                         \
    __extension__({                                                                                          \
        __auto_type last_##number = (value);                                                                 \
        explore_point();                                                                                     \
        last_##number;                                                                                       \
    })
#else
#define ATOMIC_POINT()     ((void)0)
#define ATOMIC_LAST(value) (value)
#endif

#define load_relaxed(p) atomic_load_explicit(ATOMIC_LAST(p), memory_order_relaxed)
#define load_acquire(p) atomic_load_explicit(ATOMIC_LAST(p), memory_order_acquire)
#define load_seq_cst(p) atomic_load_explicit(ATOMIC_LAST(p), memory_order_seq_cst)

/* A volatile store, since GCC 12 makes an amoswap of a relaxed one on riscv64. The objects are aligned and of 8, 32 or
 * 64 bits, so it is one access. */
#ifdef __SANITIZE_THREAD__
#define store_relaxed(p, value) atomic_store_explicit((p), ATOMIC_LAST(value), memory_order_relaxed)
#else
#define store_relaxed(p, value)                                                                              \
    ((void)(*(volatile __typeof__(((void)0, *(p))) *)(uintptr_t)(p) = ATOMIC_LAST(value)))
#endif
#define store_release(p, value) atomic_store_explicit((p), ATOMIC_LAST(value), memory_order_release)

/* Relaxed, and no scheduling point: for statistics and the trace, on which no decision of the allocator rests. */
#define load_quiet(p)         atomic_load_explicit((p), memory_order_relaxed)
#define store_quiet(p, value) atomic_store_explicit((p), (value), memory_order_relaxed)

/* Each returns the value from before. */
#define fetch_add(p, value) atomic_fetch_add_explicit((p), ATOMIC_LAST(value), memory_order_seq_cst)
#define fetch_or(p, value)  atomic_fetch_or_explicit((p), ATOMIC_LAST(value), memory_order_seq_cst)
#define fetch_and(p, value) atomic_fetch_and_explicit((p), ATOMIC_LAST(value), memory_order_seq_cst)
#define exchange(p, value)  atomic_exchange_explicit((p), ATOMIC_LAST(value), memory_order_seq_cst)

/* Whether *p was *expected and now is `desired`; if not, *expected is what it was. Fails for no other reason. */
#define compare_exchange(p, expected, desired)                                                               \
    atomic_compare_exchange_strong_explicit((p), (expected), ATOMIC_LAST(desired), memory_order_seq_cst,     \
                                            memory_order_seq_cst)

/* Acquire towards CPUs that call port_fence_cpus() between their own access and what it protects: to the CPU that uses
 * it, it costs nothing. ThreadSanitizer does not know such fences and gets the real thing. */
#ifdef __SANITIZE_THREAD__
#define load_fenced(p) load_acquire(p)
#else
#define load_fenced(p) load_relaxed(p)
#endif

/* Keeps the compiler, but not the CPU, from moving accesses across: what an interrupt on this CPU, or a CPU that
 * has seen port_fence_cpus() return, must see in order. */
#define compiler_fence() (ATOMIC_POINT(), atomic_signal_fence(memory_order_seq_cst))

#endif
