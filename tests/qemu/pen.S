/* SPDX-License-Identifier: MIT
 *
 * What a boot loader leaves on an aarch64 board: CPUs that all wait for one word, RELEASE (as U-Boot's spin table has it),
 * and with INTERRUPT a device's interrupt that is enabled and pending (BCM2837: channel 1 of the system timer).
 */
    .text
    mrs     x0, CurrentEL
    cmp     x0, #3 << 2
    b.ne    1f
    mov     x0, #0x5b1                      /* SCR_EL3: non-secure, HVC, AArch64 below */
    msr     scr_el3, x0
    msr     cptr_el3, xzr
    mov     x0, #0x3c9                      /* EL2h, interrupts masked */
    msr     spsr_el3, x0
    adr     x0, 1f
    msr     elr_el3, x0
    eret
1:
#ifdef INTERRUPT
    ldr     x1, =0x3f003000
    ldr     w2, [x1, #4]                    /* the counter's low word */
    add     w2, w2, #1 << 12                /* 4 ms from now: before the kernel takes interrupts, or soon after */
    str     w2, [x1, #0x10]
    ldr     x1, =0x3f00b210
    mov     w2, #2
    str     w2, [x1]
#endif
    mov     x1, #RELEASE
2:  wfe
    ldr     x0, [x1]
    cbz     x0, 2b
    br      x0
    .ltorg
    .section .note.GNU-stack, "", @progbits
