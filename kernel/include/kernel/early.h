/* SPDX-License-Identifier: MIT
 *
 * The boot stage, before the kernel's own page tables: reading physical memory through the fixmap, and what
 * was learned about the machine.
 */
#ifndef KERNEL_EARLY_H
#define KERNEL_EARLY_H

#include <boot/boot_info.h>
#include <boot/machine.h>
#include <mm/pt.h>

extern struct boot_info boot_info;
extern struct machine machine;

/* Maps [address, address + size) into the fixmap, readable and writable, and returns a pointer to its first
 * byte. Room is taken one after the other; early_unmap_to(early_mark()) gives it back. NULL: the window
 * (HAL_FIXMAP_SLOTS frames) is full. Boot CPU, until vm_init. */
void *early_map(paddr_t address, uint64_t size, memtype_t type);
unsigned early_mark(void);
void early_unmap_to(unsigned mark);

/* Fixmap slots in use: the entry of slot i, for carrying it over into other page tables. */
pte_t early_slot(unsigned slot);

/* Puts what the EFI stub left at handoff into info; all but boot_cpu, which start.S has passed on. ERR_NOT_FOUND:
 * this is no hand-off of the stub. */
MUST_CHECK status_t early_efi(paddr_t handoff, struct boot_info *info);

/* Reads the machine's description: boot_info from the protocol, machine from the firmware's tables, with the
 * image, modules and device tree kept out of the free memory. Stops with a clear message when that is
 * impossible. */
void early_describe(paddr_t handoff);

/* Hands the memory that only the boot needed (the device tree) to the frame allocator. After vm_init, once. */
void early_reclaim(void);

#endif
