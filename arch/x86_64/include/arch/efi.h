/* SPDX-License-Identifier: MIT
 * EFI on this ISA: firmware functions have Microsoft's calling convention. */
#ifndef ARCH_EFI_H
#define ARCH_EFI_H

#define EFI_PE_MACHINE 0x8664

/* The last address where the kernel's entry can be, and read what is handed to it. */
#define EFI_REACH UINT64_C(0xffffffff) /* start.S begins with 32-bit code */

#define EFIAPI __attribute__((ms_abi))

#endif
