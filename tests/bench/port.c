/* SPDX-License-Identifier: MIT */
#include <linux/membarrier.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mm/port.h>

_Thread_local unsigned bench_cpu;

void port_tlb_flush(vaddr_t start, uint64_t size)
{
    port_panic("flush of %#llx bytes at %#llx: there are no page tables here", (unsigned long long)size,
               (unsigned long long)start);
}

/* The kernel's own way to do this to all threads of a process: an interrupt each. */
void port_fence_cpus(void)
{
    static _Atomic bool registered;

    if (!registered && syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0)
        port_panic("this host has no membarrier(2)");
    registered = true;
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0)
        port_panic("membarrier(2) failed");
}

void port_panic(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

const char *port_symbol(uintptr_t address, uint64_t *offset)
{
    (void)address;
    (void)offset;
    return NULL;
}

/* The workloads make no mistakes, so any that is reported is the allocator's. */
void port_report(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}
