/* SPDX-License-Identifier: MIT
 * EFI on this ISA: firmware functions are called as all others. */
#ifndef ARCH_EFI_H
#define ARCH_EFI_H

#define EFI_PE_MACHINE 0xaa64

/* The last address where the kernel's entry can be, and read what is handed to it. */
#define EFI_REACH UINT64_MAX

#define EFIAPI

#endif
