/* SPDX-License-Identifier: MIT
 *
 * What firmware does for the CPUs that do not boot, on an aarch64 machine without any: from EL3 to EL2, then wait for an
 * entry point (Devicetree Specification, "spin-table"). Runs from where it was loaded; boards.py knows RELEASE, where the
 * words begin, one for each CPU in the order of their affinities (eight to a cluster).
 */
#define RELEASE 0x800

    .text
    mov     x0, #0x5b1                      /* SCR_EL3: non-secure, HVC, AArch64 below */
    msr     scr_el3, x0
    msr     cptr_el3, xzr
    msr     mdcr_el3, xzr
    mov     x0, #0xf                        /* GICv3's system registers, for the levels below as well */
    msr     s3_6_c12_c12_5, x0              /* ICC_SRE_EL3 */
    ldr     x0, =0x30c50830                 /* SCTLR_EL2: the bits that are 1; MMU and caches off */
    msr     sctlr_el2, x0
    mov     x0, #0x3c9                      /* EL2h, interrupts masked */
    msr     spsr_el3, x0
    adr     x0, wait
    msr     elr_el3, x0
    isb
    eret

wait:
    mrs     x0, mpidr_el1
    ubfx    x1, x0, #8, #8
    and     x0, x0, #0xff
    add     x0, x0, x1, lsl #3
    adr     x1, release
    add     x1, x1, x0, lsl #3
    mov     x0, #0
1:  wfe
    ldr     x2, [x1]
    cbz     x2, 1b
    br      x2

    .ltorg
    .org    RELEASE
release:
    .space  0x1000 - RELEASE
