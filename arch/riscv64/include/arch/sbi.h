/* SPDX-License-Identifier: MIT
 *
 * Calls into the Supervisor Binary Interface: the firmware below, as the kernel's only sight of machine mode.
 */
#ifndef ARCH_SBI_H
#define ARCH_SBI_H

#include <mm/types.h>

/* Extensions, and the functions of each that are used. */
enum {
    SBI_LEGACY_PUTCHAR = 0x01, /* legacy calls are extensions of their own; the result is in error */
    SBI_LEGACY_GETCHAR = 0x02,
    SBI_LEGACY_SHUTDOWN = 0x08,

    SBI_BASE = 0x10,
    SBI_BASE_PROBE = 3,

    SBI_TIME = 0x54494d45,
    SBI_TIME_SET = 0,

    SBI_IPI = 0x735049,
    SBI_IPI_SEND = 0,

    SBI_HSM = 0x48534d,
    SBI_HSM_START = 0,

    SBI_RESET = 0x53525354,
    SBI_RESET_SYSTEM = 0,
    SBI_RESET_TYPE_SHUTDOWN = 0,
    SBI_RESET_REASON_NONE = 0,
    SBI_RESET_REASON_FAILURE = 1,

    SBI_CONSOLE = 0x4442434e,
    SBI_CONSOLE_READ = 1,
    SBI_CONSOLE_WRITE_BYTE = 2,
};

#define SBI_NOT_SUPPORTED (-2)

struct sbi_result {
    int64_t error; /* 0: done */
    uint64_t value;
};

static inline struct sbi_result sbi_call(uint64_t extension, uint64_t function, uint64_t first,
                                         uint64_t second, uint64_t third)
{
    register uint64_t a0 __asm__("a0") = first;
    register uint64_t a1 __asm__("a1") = second;
    register uint64_t a2 __asm__("a2") = third;
    register uint64_t a6 __asm__("a6") = function;
    register uint64_t a7 __asm__("a7") = extension;
    __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
    return (struct sbi_result){(int64_t)a0, a1};
}

static inline bool sbi_has(uint64_t extension)
{
    struct sbi_result result = sbi_call(SBI_BASE, SBI_BASE_PROBE, extension, 0, 0);
    return result.error == 0 && result.value != 0;
}

#endif
