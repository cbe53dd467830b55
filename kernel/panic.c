/* SPDX-License-Identifier: MIT
 *
 * When something is broken: say what, show how it came to it, stop everything, and never look like success.
 */
#include <arch/hal.h>
#include <kernel/address_space.h>
#include <kernel/console.h>
#include <kernel/cpus.h>
#include <kernel/panic.h>
#include <kernel/symbols.h>
#include <mm/port.h>
#include <mm/spinlock.h>
#include <stdio.h>
#include <string.h>

#define BACKTRACE_MAX 32    /* lines */
#define BACKTRACE_WALK 4096 /* frames: more than a stack holds */
#define REPORT_MAX 400      /* characters; the end of a longer report is lost */

/* A return address names the instruction after the call, which may belong to the next function: its caller is
 * the byte before. */
static void print_frame(vaddr_t pc, unsigned return_distance)
{
    uint64_t offset;
    const char *name = symbol_find(pc - return_distance, &offset);
    if (name != NULL)
        kprintf("    0x%016lx  %s+%#llx\n", pc, name, (unsigned long long)offset + return_distance);
    else
        kprintf("    0x%016lx\n", pc);
}

/* One step: from fp to the caller's fp and the return address. Frames lie higher and higher. A leaf function
 * on riscv64 saves its caller's fp in the place of the return address: *return_address is then 0. */
static bool unwind(vaddr_t *fp, vaddr_t *return_address)
{
    if (!stack_contains(*fp + HAL_FRAME_CALLER) || !stack_contains(*fp + HAL_FRAME_RETURN))
        return false;
    vaddr_t caller = *(const vaddr_t *)(*fp + HAL_FRAME_CALLER);
    *return_address = *(const vaddr_t *)(*fp + HAL_FRAME_RETURN);
    if (HAL_FRAME_CALLER < 0 && stack_contains(*return_address + HAL_FRAME_CALLER)) {
        caller = *return_address;
        *return_address = 0;
    } else if (*return_address == 0) {
        return false;
    }
    *fp = caller > *fp ? caller : 0;
    return true;
}

static void print_chain(vaddr_t fp)
{
    vaddr_t pc, last = 0;
    unsigned repeats = 0;
    for (unsigned printed = 0, walked = 0; printed < BACKTRACE_MAX && walked < BACKTRACE_WALK; walked++) {
        if (!unwind(&fp, &pc))
            break;
        if (pc == last || pc == 0) {
            repeats += pc != 0;
            continue;
        }
        if (repeats > 0)
            kprintf("    … %u more of the same\n", repeats);
        repeats = 0;
        last = pc;
        print_frame(pc, 1);
        printed++;
    }
}

/* A leaf function has no frame of its own: its caller is in the return-address register. Elsewhere that
 * register holds the return of an earlier call, which lies in the same function. */
static bool is_leaf(const struct trap_info *trap)
{
    uint64_t offset;
    const char *function = symbol_find(trap->pc, &offset);
    const char *caller = symbol_find(trap->ra - 1, &offset);
    return trap->ra != 0 && caller != NULL && caller != function;
}

static void backtrace(const struct trap_info *trap)
{
    kprintf("  backtrace:\n");
    print_frame(trap->pc, 0);
    if (is_leaf(trap))
        print_frame(trap->ra, 1);
    print_chain(trap->fp);
}

/* What is said now has to be seen, if that can be. */
static void need_console(void)
{
    struct console *console = console_current() == NULL ? hal_console_last() : NULL;
    if (console != NULL)
        console_use(console);
}

static _Noreturn void stop(void)
{
    cpus_stop_others();
    hal_exit(false);
}

static void print_headline(const struct trap_info *trap, const struct percpu *cpu)
{
    int owner = stack_guard_owner(trap->address);
    kprintf("\n*** %s on CPU %u: %s\n", trap_kind_name(trap->kind), cpu->index, trap->cause);
    if (trap->kind == TRAP_PAGE_FAULT || trap->kind == TRAP_STACK_OVERFLOW)
        kprintf("  address 0x%016lx%s%s%s", trap->address, trap->access & TRAP_WRITE ? ", write" : "",
                trap->access & TRAP_EXEC ? ", fetch" : "", owner >= 0 ? ", in a stack's guard" : "");
    if (owner >= 0)
        kprintf(" (CPU %d)", owner);
    kprintf("\n  pc 0x%016lx  sp 0x%016lx  code %#llx\n", trap->pc, trap->sp, (unsigned long long)trap->code);
}

static void print_registers(const struct hal_regs *regs)
{
    const uint64_t *value = (const uint64_t *)regs;
    for (unsigned i = 0; hal_reg_names[i] != NULL; i++)
        kprintf("%s%8s %016llx", i % 4 == 0 ? "\n" : "", hal_reg_names[i], (unsigned long long)value[i]);
    kprintf("\n");
}

void kernel_trap(const struct trap_info *trap, const struct hal_regs *regs)
{
    struct percpu *cpu = hal_percpu();
    if (cpu->catch_point != NULL) {
        struct hal_catch *where = cpu->catch_point;
        cpu->catch_point = NULL;
        cpu->caught = *trap;
        hal_throw(where);
    }
    if (trap->kind == TRAP_BREAKPOINT) {
        kprintf("breakpoint at %#lx on CPU %u\n", trap->pc, cpu->index);
        return;
    }
    console_break_lock();
    need_console();
    if (cpu->trap_depth++ > 0) {
        kprintf("\n*** %s while reporting a trap, at %#lx\n", trap->cause, trap->pc);
        stop();
    }
    print_headline(trap, cpu);
    print_registers(regs);
    backtrace(trap);
    stop();
}

bool trap_catch(void (*body)(void *context), void *context, struct trap_info *caught)
{
    struct hal_catch here;
    struct percpu *cpu = hal_percpu();
    const volatile uint64_t irq = hal_irq_save(); /* volatile: it outlasts the jump back */
    hal_irq_restore(irq);
    if (hal_catch(&here) == 0) {
        cpu->catch_point = &here;
        body(context);
        cpu->catch_point = NULL;
        return false;
    }
    hal_irq_restore(irq);
    *caught = hal_percpu()->caught;
    return true;
}

const char *trap_kind_name(trap_kind_t kind)
{
    static const char *const names[] = {
        [TRAP_PAGE_FAULT] = "page fault",
        [TRAP_STACK_OVERFLOW] = "stack overflow",
        [TRAP_ILLEGAL] = "illegal instruction",
        [TRAP_BREAKPOINT] = "breakpoint",
        [TRAP_ALIGNMENT] = "alignment fault",
        [TRAP_ACCESS] = "access fault",
        [TRAP_OTHER] = "trap",
    };
    return names[kind];
}

static spinlock_t report_lock;
static char report_text[REPORT_MAX];
static unsigned report_count;

unsigned reports_made(void)
{
    return report_count;
}

const char *report_last(void)
{
    return report_text;
}

void port_report(const char *format, ...)
{
    char text[REPORT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    uint64_t irq = spin_lock(&report_lock);
    memcpy(report_text, text, sizeof(text));
    report_count++;
    spin_unlock(&report_lock, irq);
    kprintf("warning: %s\n  backtrace:\n", text);
    print_chain((vaddr_t)__builtin_frame_address(0));
}

void port_panic(const char *format, ...)
{
    va_list args;
    (void)hal_irq_save();
    console_break_lock();
    need_console();
    kprintf("\n*** quire stops: ");
    va_start(args, format);
    kvprintf(format, args);
    va_end(args);
    kprintf("\n");
    if (hal_percpu()->trap_depth++ == 0) {
        kprintf("  backtrace:\n");
        print_chain((vaddr_t)__builtin_frame_address(0));
    }
    stop();
}
