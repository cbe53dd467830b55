/* SPDX-License-Identifier: MIT
 *
 * The way in and out of trap.c, and the few routines that no compiler should touch.
 *
 * The kernel runs with tp at its percpu and sscratch 0; all traps come from the kernel. Entry makes room for
 * struct hal_regs and looks at one bit of the new stack pointer: it is 1 inside a stack and 0 in the guard
 * below (HAL_STACK_SHIFT). If it is 0, the stack is spent and the registers go to the CPU's emergency stack;
 * before there is one, to the top of the boot stack, whose contents are lost anyway. A stack pointer that is
 * plain wrong ends there as well: each fault of the entry itself moves it down by a frame until the bit is 0.
 */
#include <arch/layout.h>
#include <kernel/percpu.h>

#define STORE_PATIENCE 10000000 /* ticks of the time counter; a second at the usual 10 MHz */

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
    .irp    n, 1,3,4,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
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
    bnez    sp, 2f
    lla     sp, boot_stack_top
2:  addi    sp, sp, -REGS_SIZE
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

/* int hal_catch(struct hal_catch *): callee-saved registers, sp, return address, interrupt mask. */
    .globl hal_catch
hal_catch:
    sd      s0, 0(a0)
    sd      s1, 8(a0)
    sd      s2, 16(a0)
    sd      s3, 24(a0)
    sd      s4, 32(a0)
    sd      s5, 40(a0)
    sd      s6, 48(a0)
    sd      s7, 56(a0)
    sd      s8, 64(a0)
    sd      s9, 72(a0)
    sd      s10, 80(a0)
    sd      s11, 88(a0)
    sd      ra, 96(a0)
    sd      sp, 104(a0)
    csrr    t0, sstatus
    andi    t0, t0, SSTATUS_SIE
    sd      t0, 112(a0)
    li      a0, 0
    ret

    .globl hal_throw
hal_throw:
    ld      s0, 0(a0)
    ld      s1, 8(a0)
    ld      s2, 16(a0)
    ld      s3, 24(a0)
    ld      s4, 32(a0)
    ld      s5, 40(a0)
    ld      s6, 48(a0)
    ld      s7, 56(a0)
    ld      s8, 64(a0)
    ld      s9, 72(a0)
    ld      s10, 80(a0)
    ld      s11, 88(a0)
    ld      ra, 96(a0)
    ld      sp, 104(a0)
    ld      t0, 112(a0)
    csrci   sstatus, SSTATUS_SIE
    csrs    sstatus, t0
    li      a0, 1
    ret

/* void hal_call_on_stack(uint64_t top, void (*next)(void)): a new chain of frames begins. */
    .globl hal_call_on_stack
hal_call_on_stack:
    mv      sp, a0
    li      s0, 0
    li      ra, 0
    jr      a1

    .globl hal_overflow_stack
hal_overflow_stack:
    addi    sp, sp, -16
    sd      ra, 8(sp)
    sd      s0, 0(sp)
    addi    s0, sp, 16
    call    hal_overflow_stack

/* bool name(void): whether reading a counter is allowed. If it traps, the trap lands behind it. */
.macro probe_counter name, counter
    .globl \name
\name:
    lla     t0, 1f
    csrrw   t0, stvec, t0
    li      a0, 0
    csrr    t1, \counter
    li      a0, 1
    .balign 4
1:  csrw    stvec, t0
    ret
.endm

    probe_counter cpu_probe_cycle, cycle
    probe_counter cpu_probe_instret, instret

/* void cpu_store_untranslated(uint64_t address, uint32_t value, paddr_t entry): with translation off, the
 * fetch after the write to satp faults, as it does in start.S. If the machine is still there a good while
 * after the store, or the store faults, the address was a lie: SBI shuts down. */
    .globl cpu_store_untranslated
cpu_store_untranslated:
    csrw    stvec, a2
    csrw    satp, zero
    .balign 4
    .globl untranslated_store
untranslated_store:
    lla     t0, shut_down
    csrw    stvec, t0
    sw      a1, (a0)
    csrr    t0, time
    li      t1, STORE_PATIENCE
    add     t0, t0, t1
1:  csrr    t1, time
    bltu    t1, t0, 1b
    .balign 4
shut_down:
    li      a7, 0x53525354                  /* SRST: reset type shutdown, reason failure */
    li      a6, 0
    li      a0, 0
    li      a1, 1
    ecall
2:  wfi
    j       2b
