/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "fiber.h"

/* NULL in a build without AddressSanitizer. */
#define IF_THERE __attribute__((weak))
void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t size) IF_THERE;
void __sanitizer_finish_switch_fiber(void *save, const void **bottom, size_t *size) IF_THERE;
void __asan_unpoison_memory_region(const volatile void *start, size_t size) IF_THERE;

void fiber_make(struct fiber *fiber, void *stack, size_t size, void (*entry)(void))
{
    /* Frames that were abandoned there have left their red zones behind. */
    if (__asan_unpoison_memory_region != NULL)
        __asan_unpoison_memory_region(stack, size);
    *fiber = (struct fiber){.stack = stack, .size = size};
    if (getcontext(&fiber->context) != 0)
        abort();
    fiber->context.uc_stack.ss_sp = stack;
    fiber->context.uc_stack.ss_size = size;
    makecontext(&fiber->context, entry, 0);
}

void fiber_entered(struct fiber *from)
{
    if (__sanitizer_finish_switch_fiber == NULL)
        return;
    if (from != NULL)
        __sanitizer_finish_switch_fiber(NULL, &from->stack, &from->size);
    else
        __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
}

void fiber_switch(struct fiber *from, struct fiber *to)
{
    if (__sanitizer_start_switch_fiber != NULL)
        __sanitizer_start_switch_fiber(&from->sanitizer, to->stack, to->size);
    if (swapcontext(&from->context, &to->context) != 0)
        abort();
    if (__sanitizer_finish_switch_fiber != NULL)
        __sanitizer_finish_switch_fiber(from->sanitizer, NULL, NULL);
}
