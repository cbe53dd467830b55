/* SPDX-License-Identifier: MIT
 *
 * Trap and interrupt entry, and the jumps between stacks.
 *
 * A spent stack is noticed by the CPU: the fault's own frame cannot be pushed, which makes it a double fault,
 * and that one has a stack of its own. So one path serves all vectors: it completes struct hal_regs (trap.c)
 * below what the CPU pushed, which is 16-byte aligned.
 */
#define CONTROLS 32 /* cr0, cr2, cr3, cr4: filled in for exceptions only */

/* Exceptions that push an error code: 8, 10 – 14, 17, 21, 29, 30. */
#define WITH_CODE 0x60227d00

    .text
.macro stub vector, with_code
    .balign 16
    .ifeq   \with_code
    pushq   $0
    .endif
    pushq   $\vector
    jmp     trap_entry
.endm

/* 256 of them, each at 16 times its vector. */
    .balign 16
    .globl trap_stubs
trap_stubs:
    .set    i, 0
    .rept   32
    stub    i, ((WITH_CODE >> i) & 1)
    .set    i, i + 1
    .endr
    .rept   224
    stub    i, 0
    .set    i, i + 1
    .endr
    .balign 16

trap_entry:
    pushq   %r15
    pushq   %r14
    pushq   %r13
    pushq   %r12
    pushq   %r11
    pushq   %r10
    pushq   %r9
    pushq   %r8
    pushq   %rbp
    pushq   %rdi
    pushq   %rsi
    pushq   %rdx
    pushq   %rcx
    pushq   %rbx
    pushq   %rax
    subq    $CONTROLS, %rsp
    cld
    movq    %rsp, %rdi
    call    trap_dispatch
    addq    $CONTROLS, %rsp
    popq    %rax
    popq    %rbx
    popq    %rcx
    popq    %rdx
    popq    %rsi
    popq    %rdi
    popq    %rbp
    popq    %r8
    popq    %r9
    popq    %r10
    popq    %r11
    popq    %r12
    popq    %r13
    popq    %r14
    popq    %r15
    addq    $16, %rsp                       /* vector and error code */
    iretq

/* int hal_catch(struct hal_catch *): callee-saved registers, stack, return address, flags. */
    .globl hal_catch
hal_catch:
    movq    (%rsp), %rax
    leaq    8(%rsp), %rcx
    movq    %rbx, (%rdi)
    movq    %rbp, 8(%rdi)
    movq    %r12, 16(%rdi)
    movq    %r13, 24(%rdi)
    movq    %r14, 32(%rdi)
    movq    %r15, 40(%rdi)
    movq    %rcx, 48(%rdi)
    movq    %rax, 56(%rdi)
    pushfq
    popq    64(%rdi)
    xorl    %eax, %eax
    ret

    .globl hal_throw
hal_throw:
    movq    (%rdi), %rbx
    movq    8(%rdi), %rbp
    movq    16(%rdi), %r12
    movq    24(%rdi), %r13
    movq    32(%rdi), %r14
    movq    40(%rdi), %r15
    movq    48(%rdi), %rsp
    movq    56(%rdi), %rcx
    pushq   64(%rdi)
    popfq
    movl    $1, %eax
    jmp     *%rcx

/* void hal_call_on_stack(uint64_t top, void (*next)(void)): a new chain of frames begins. */
    .globl hal_call_on_stack
hal_call_on_stack:
    movq    %rdi, %rsp
    xorl    %ebp, %ebp
    call    *%rsi
    ud2

    .globl hal_overflow_stack
hal_overflow_stack:
    pushq   %rbp
    movq    %rsp, %rbp
    call    hal_overflow_stack

    .section .note.GNU-stack, "", @progbits
