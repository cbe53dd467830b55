/* SPDX-License-Identifier: MIT
 *
 * What of the fake port is not inline, and what tests/unit asks of the place it runs in.
 */
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mm/port.h>

#include "quire_test.h"

uint8_t *host_arena;
uint8_t *host_frame_0;
_Thread_local unsigned host_cpu;
_Thread_local unsigned host_irq_depth;
void (*host_tlb_observer)(vaddr_t start, uint64_t size);
void (*host_zero_observer)(pfn_t frame);

void host_memory_init(void)
{
    host_arena = mmap(NULL, HOST_PHYS_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (host_arena == MAP_FAILED)
        port_panic("no memory for the arena");
}

void host_set_cpu(unsigned cpu)
{
    host_cpu = cpu;
}

void port_tlb_flush(vaddr_t start, uint64_t size)
{
    if (!is_aligned(start | size, FRAME_SIZE) || size == 0)
        port_panic("flush of %#llx bytes at %#llx", (unsigned long long)size, (unsigned long long)start);
    if (host_tlb_observer != NULL)
        host_tlb_observer(start, size);
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

static pthread_mutex_t report_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned reports;
static char last_report[400];
uint64_t host_tick_step, host_ticks;

void port_report(const char *format, ...)
{
    va_list args;

    pthread_mutex_lock(&report_lock);
    reports++;
    va_start(args, format);
    vsnprintf(last_report, sizeof(last_report), format, args);
    va_end(args);
    pthread_mutex_unlock(&report_lock);
}

unsigned test_reports(void)
{
    return reports;
}

const char *test_last_report(void)
{
    return last_report;
}

const char *port_symbol(uintptr_t address, uint64_t *offset)
{
    (void)address;
    (void)offset;
    return NULL;
}

unsigned test_cpus(void)
{
    return HOST_CPUS;
}

struct worker {
    pthread_t thread;
    unsigned index;
    void (*body)(void *context, unsigned index);
    void *context;
};

static void *work(void *argument)
{
    struct worker *worker = argument;

    host_set_cpu(worker->index);
    worker->body(worker->context, worker->index);
    ASSERT(host_irq_depth == 0);
    return NULL;
}

void test_parallel(unsigned n, void (*body)(void *context, unsigned index), void *context)
{
    struct worker worker[HOST_CPUS];

    for (unsigned i = 0; i < n; i++) {
        worker[i] = (struct worker){.index = i, .body = body, .context = context};
        if (pthread_create(&worker[i].thread, NULL, work, &worker[i]) != 0)
            port_panic("no thread");
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(worker[i].thread, NULL);
}
