/* SPDX-License-Identifier: MIT
 *
 * All pages are taken away before an operation; each fault gives one back and counts it.
 */
#include "touched.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <mm/port.h>

#include "layout.h"

static uint8_t *watched;
static uint64_t watched_size;
static volatile sig_atomic_t faults;

static void allow(uint8_t *start, uint64_t size, int protection)
{
    if (mprotect(start, size, protection) != 0)
        port_panic("mprotect failed");
}

/* Any other fault comes again, and then ends the program as always. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    uint64_t offset = (uint64_t)((uint8_t *)info->si_addr - watched);

    (void)context;
    if (offset >= watched_size) {
        signal(number, SIG_DFL);
        return;
    }
    faults++;
    allow(watched + align_down(offset, FRAME_SIZE), FRAME_SIZE, PROT_READ | PROT_WRITE);
}

unsigned touched_by(void (*body)(void *context), void *context)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO, .sa_sigaction = on_fault}, before;

    watched = layout_metadata(&watched_size);
    faults = 0;
    if (sigaction(SIGSEGV, &action, &before) != 0)
        port_panic("sigaction failed");
    allow(watched, watched_size, PROT_NONE);
    body(context);
    allow(watched, watched_size, PROT_READ | PROT_WRITE);
    sigaction(SIGSEGV, &before, NULL);
    return (unsigned)faults;
}

uint64_t touched_bytes(void)
{
    uint64_t size, pages = 0;
    uint8_t *start = layout_metadata(&size);
    uint8_t *present = malloc(size / FRAME_SIZE);

    if (present == NULL || mincore(start, size, present) != 0)
        port_panic("mincore failed");
    for (uint64_t i = 0; i < size / FRAME_SIZE; i++)
        pages += present[i] & 1;
    free(present);
    return pages * FRAME_SIZE;
}
