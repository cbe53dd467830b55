/* SPDX-License-Identifier: MIT
 *
 * Where firmware enters the image as an EFI application. Position independent, as stub.c.
 */
#include "stub.h"

/* Hidden: so that they are reached relative to the program counter, not through a table of linked addresses. */
#pragma GCC visibility push(hidden)
extern char __image_start[], __data_end[], __image_end[];

efi_status_t EFIAPI efi_entry(efi_handle_t image, struct efi_system_table *system);

/* start.S: gives up the state that EFI left the CPU in and goes on at handoff->image as after a plain boot. */
_Noreturn void efi_leave(struct efi_handoff *handoff, uint64_t image);
#pragma GCC visibility pop

efi_status_t EFIAPI efi_entry(efi_handle_t image, struct efi_system_table *system)
{
    const struct efi_kernel kernel = {.start = __image_start,
                                      .bytes = (uint64_t)(__data_end - __image_start),
                                      .size = (uint64_t)(__image_end - __image_start)};
    struct efi_handoff *handoff;
    efi_status_t status = efi_stub(image, system, &kernel, &handoff);
    if (status != EFI_SUCCESS)
        return status;
    efi_leave(handoff, handoff->image);
}
