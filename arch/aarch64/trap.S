/* SPDX-License-Identifier: MIT
 *
 * Exception vectors, the way in and out of trap.c, and the few routines that no compiler should touch.
 *
 * Every vector first makes room for struct hal_regs and looks at one bit of the new stack pointer: it is 1
 * inside a stack and 0 in the guard below (HAL_STACK_SHIFT). If it is 0, the stack is spent and the registers
 * go to the CPU's emergency stack; before there is one, to the top of the boot stack, whose contents are lost
 * anyway.
 */
#include <arch/layout.h>
#include <kernel/percpu.h>

#define REGS_SP 248
#define REGS_PC 256
#define REGS_ESR 272
#define REGS_SIZE 288

/* 15 of 32 instructions. The bit is tested without a free register: sp and x0 are swapped by sums. */
.macro vector number
    .balign 128
    sub     sp, sp, #REGS_SIZE
    add     sp, sp, x0
    sub     x0, sp, x0
    tbz     x0, #HAL_STACK_SHIFT, 1f
    sub     x0, sp, x0
    sub     sp, sp, x0
    stp     x0, x1, [sp]
    add     x0, sp, #REGS_SIZE
    mov     x1, #\number
    b       trap
1:  sub     x0, sp, x0
    sub     sp, sp, x0
    msr     tpidrro_el0, x0
    mov     x0, #\number
    b       overflow
.endm

    .text
    .balign 2048
    .globl vectors
vectors:
    .set    number, 0
    .rept   16
    vector  number
    .set    number, number + 1
    .endr

/* sp: struct hal_regs with x0 and x1 stored; x0 the interrupted sp, x1 the vector. */
trap:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    stp     x30, x0, [sp, #240]
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x2, x3, [sp, #REGS_PC]
    mrs     x2, esr_el1
    mrs     x3, far_el1
    stp     x2, x3, [sp, #REGS_ESR]
    mov     x0, sp
    bl      trap_dispatch

    ldp     x2, x3, [sp, #REGS_PC]
    msr     elr_el1, x2
    msr     spsr_el1, x3
    ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldr     x30, [sp, #240]
    add     sp, sp, #REGS_SIZE
    eret

/* sp: REGS_SIZE below where the spent stack was; x0 the vector; the interrupted x0 is in tpidrro_el0.
 * Joins trap with bit 4 of the vector set. */
overflow:
    msr     tpidr_el0, x1
    mrs     x1, tpidr_el1
    str     x2, [x1, #PERCPU_SCRATCH]
    add     x2, sp, #REGS_SIZE
    str     x2, [x1, #PERCPU_SCRATCH + 8]
    ldr     x2, [x1, #PERCPU_EMERGENCY_TOP]
    cbnz    x2, 1f
    adrp    x2, boot_stack_top
1:  sub     sp, x2, #REGS_SIZE
    ldr     x2, [x1, #PERCPU_SCRATCH + 8]
    str     x2, [sp, #REGS_SP]
    ldr     x2, [x1, #PERCPU_SCRATCH]
    orr     x0, x0, #16
    mrs     x1, tpidrro_el0
    str     x1, [sp]
    mrs     x1, tpidr_el0
    str     x1, [sp, #8]
    mov     x1, x0
    ldr     x0, [sp, #REGS_SP]
    b       trap

/* int hal_catch(struct hal_catch *): callee-saved registers, sp, return address, interrupt mask. */
    .globl hal_catch
hal_catch:
    stp     x19, x20, [x0]
    stp     x21, x22, [x0, #16]
    stp     x23, x24, [x0, #32]
    stp     x25, x26, [x0, #48]
    stp     x27, x28, [x0, #64]
    stp     x29, x30, [x0, #80]
    mov     x1, sp
    mrs     x2, daif
    stp     x1, x2, [x0, #96]
    mov     w0, #0
    ret

    .globl hal_throw
hal_throw:
    ldp     x19, x20, [x0]
    ldp     x21, x22, [x0, #16]
    ldp     x23, x24, [x0, #32]
    ldp     x25, x26, [x0, #48]
    ldp     x27, x28, [x0, #64]
    ldp     x29, x30, [x0, #80]
    ldp     x1, x2, [x0, #96]
    mov     sp, x1
    msr     daif, x2
    mov     w0, #1
    ret

/* void hal_call_on_stack(uint64_t top, void (*next)(void)): a new chain of frames begins. */
    .globl hal_call_on_stack
hal_call_on_stack:
    mov     sp, x0
    mov     x29, #0
    mov     x30, #0
    br      x1

    .globl hal_overflow_stack
hal_overflow_stack:
    stp     x29, x30, [sp, #-16]!
    mov     x29, sp
    bl      hal_overflow_stack
