/* SPDX-License-Identifier: MIT
 *
 * The EFI stub: the kernel's image as an EFI application, from its entry until the firmware has let go of the
 * machine; and what it leaves for the kernel.
 */
#ifndef BOOT_EFI_STUB_H
#define BOOT_EFI_STUB_H

#include "../boot_info.h"
#include "efi.h"

#define EFI_HANDOFF_MAGIC UINT64_C(0x315f494645525551) /* "QUREFI_1" */

/* In memory of its own, of type EfiLoaderData: the map calls it usable, so it is read before any memory is
 * handed out. Addresses are physical. */
struct efi_handoff {
    uint64_t magic;
    uint64_t boot_cpu;          /* BOOT_CPU_UNKNOWN where the firmware does not say (and the CPU knows itself) */
    uint64_t image;             /* where the kernel is to go on: first byte of its image */
    uint64_t fdt, rsdp;         /* 0: none */
    uint64_t initrd, initrd_size; /* 0: none */
    uint64_t map, map_size;
    uint32_t desc_size, desc_version;
    char cmdline[BOOT_CMDLINE_MAX];
};
_Static_assert(offsetof(struct efi_handoff, boot_cpu) == 8, "start.S reads it");

/* The running image. */
struct efi_kernel {
    const void *start;
    uint64_t bytes; /* of code and data */
    uint64_t size;  /* .bss included */
};

/* Everything up to and including ExitBootServices. On EFI_SUCCESS the boot services are gone, and *handoff has
 * the image below EFI_REACH, as well as itself. Any other status: a reason was shown on the firmware's
 * console where that was still allowed, nothing was kept, and the caller may return the status to the firmware.
 *
 * The command line is what the loader gave (LoadOptions, as far as that is printable ASCII), then what the file
 * quire.cfg says in the root of the volume that the image came from; not that if the loader's options hold
 * commands (after "--") already. Line ends and whatever else is not printable count as spaces in the file. The
 * file quire.initrd beside it, if there is one, is loaded. */
MUST_CHECK efi_status_t efi_stub(efi_handle_t image, struct efi_system_table *system,
                                 const struct efi_kernel *kernel, struct efi_handoff **handoff);

#endif
