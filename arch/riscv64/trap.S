/* SPDX-License-Identifier: MIT
 *
 * The way in and out of trap.c, and the few routines that no compiler should touch.
 *
 * The kernel runs with tp at its percpu and sscratch 0; all traps come from the kernel. Entry makes room for struct
 * hal_regs and looks at one bit of the new stack pointer: it is 1 inside a stack and 0 in the guard below
 * (HAL_STACK_SHIFT). If it is 0, the stack is spent and the registers go to the CPU's emergency stack; before there
 * is one, to the top of the boot stack, whose contents are lost anyway. A stack pointer that is plain wrong ends
 * there as well: each fault of the entry itself moves it down by a frame until the bit is 0.
 */
#include <arch/layout.h>
#include <kernel/percpu.h>

#define REGS_SP 8
#define REGS_T0 32
#define REGS_SEPC 248
#define REGS_SSTATUS 256
#define REGS_STVAL 264
#define REGS_SCAUSE 272
#define REGS_SIZE 288

#define SSTATUS_SIE 2

/* All but sp (x2) and t0 (x5). */
.macro each_register instruction
    .irp    n, 1, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    \instruction x\n, 8 * (\n - 1)(sp)
    .endr
.endm

    .text
    .balign 4
    .globl trap_entry
trap_entry:
    sd      t0, PERCPU_SCRATCH(tp)
    sd      sp, PERCPU_SCRATCH + 8(tp)
    addi    sp, sp, -REGS_SIZE
    slli    t0, sp, 63 - HAL_STACK_SHIFT
    bltz    t0, 1f
    ld      sp, PERCPU_EMERGENCY_TOP(tp)
    addi    sp, sp, -REGS_SIZE
    bgtz    sp, 2f
1:  each_register sd
    ld      t0, PERCPU_SCRATCH + 8(tp)
    sd      t0, REGS_SP(sp)
    ld      t0, PERCPU_SCRATCH(tp)
    sd      t0, REGS_T0(sp)
    csrr    t0, sepc
    csrr    t1, sstatus
    csrr    t2, stval
    csrr    t3, scause
    sd      t0, REGS_SEPC(sp)
    sd      t1, REGS_SSTATUS(sp)
    sd      t2, REGS_STVAL(sp)
    sd      t3, REGS_SCAUSE(sp)
    mv      a0, sp
    call    trap_dispatch

    ld      t0, REGS_SEPC(sp)
    ld      t1, REGS_SSTATUS(sp)
    csrw    sepc, t0
    csrw    sstatus, t1
    each_register ld
    ld      t0, REGS_T0(sp)
    ld      sp, REGS_SP(sp)
    sret
