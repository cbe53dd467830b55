/* SPDX-License-Identifier: MIT
 *
 * Stacks to switch between inside one thread of the host. AddressSanitizer is told, where it is in the build.
 */
#ifndef FIBER_H
#define FIBER_H

#include <stddef.h>
#include <ucontext.h>

struct fiber {
    ucontext_t context;
    void *sanitizer; /* its own notion of the stack, while another fiber runs */
    const void *stack;
    size_t size;
};

/* A fiber that begins with entry() once it is switched to. entry never returns; its first act is
 * fiber_entered(). */
void fiber_make(struct fiber *fiber, void *stack, size_t size, void (*entry)(void));

/* from: the one that first switched to this one, if it runs on a stack that no fiber_make gave it; or NULL.
 */
void fiber_entered(struct fiber *from);

/* Leaves `from`, which is running, for `to`; returns when something switches back. */
void fiber_switch(struct fiber *from, struct fiber *to);

#endif
