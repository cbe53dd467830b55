/* SPDX-License-Identifier: MIT
 *
 * The kernel's own address space: the image with exact rights, the direct map of exactly the RAM, guarded
 * stacks, device registers. arch/address_map.h says where.
 */
#ifndef KERNEL_ADDRESS_SPACE_H
#define KERNEL_ADDRESS_SPACE_H

#include <arch/layout.h>
#include <mm/pt.h>

extern struct pt kernel_pt;

/* Builds the final page tables, loads them, and takes the frame allocator into service: afterwards
 * frame_alloc and the direct map work. Needs early_describe. Follows options.paging_levels, directmap and
 * movable; what cannot be met is said and left out. Stops with a message if memory does not suffice. Boot CPU. */
void vm_init(void);

/* A guarded stack of HAL_STACK_SIZE bytes from the CPU's node; *top is one past its last byte.
 * slot: 2 × cpu index (+ 1 for the emergency stack). ERR_NO_MEMORY. */
MUST_CHECK status_t stack_create(unsigned slot, uint16_t node, uint64_t *top);

/* Takes a stack back that no CPU uses; nothing happens if the slot has none. Boot CPU, while no other waits
 * for the kernel's page tables. */
void stack_destroy(unsigned slot);

/* True if the 16 bytes at address lie in a mapped kernel stack (frame-pointer walks read no other). */
bool stack_contains(vaddr_t address);

/* The CPU whose stack's guard holds address, or -1. */
int stack_guard_owner(vaddr_t address);

/* Maps device registers [base, base + size), uncached, for good. NULL: no memory or no room. */
volatile void *mmio_map(paddr_t base, uint64_t size);

/* Makes the level-0 table for [va, va + 2 MiB) and hands out its entry for va; see pt_window. */
MUST_CHECK status_t vm_window(vaddr_t va, _Atomic pte_t **entry);

/* The rows of a paging mode (3 … 5 levels), by address; name NULL ends. */
struct layout_row {
    const char *name;
    vaddr_t start;
    uint64_t size;
};
const struct layout_row *layout_rows(unsigned levels);

/* Physical address of something inside the image. */
paddr_t image_phys(const volatile void *pointer);

/* Bytes in page tables. */
uint64_t vm_table_bytes(void);

/* Leaves that are writable and executable at once (must be 0), all leaves counted in *leaves. */
uint64_t vm_count_wx(uint64_t *leaves);

#endif
