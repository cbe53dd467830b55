/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_PANIC_H
#define KERNEL_PANIC_H

#include <arch/hal.h>

/* Runs body(context) and catches a trap that it provokes: true, with the trap in *caught; false if body
 * returned. Interrupts are enabled afterwards if they were before. Not nested. */
bool trap_catch(void (*body)(void *context), void *context, struct trap_info *caught);

/* How often port_report was called, and what it said last. Not while another CPU reports. */
unsigned reports_made(void);
const char *report_last(void);

const char *trap_kind_name(trap_kind_t kind);

#endif
