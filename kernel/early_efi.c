/* SPDX-License-Identifier: MIT
 *
 * The hand-off of the EFI stub, the same on every ISA. It is this kernel's own structure, but it passed through
 * registers and assembly, so it is looked at like any other.
 */
#include <boot/efi/stub.h>
#include <kernel/console.h>
#include <kernel/early.h>
#include <string.h>

status_t early_efi(paddr_t at, struct boot_info *info)
{
    if (at.v == 0 || !is_aligned(at.v, FRAME_SIZE))
        return ERR_NOT_FOUND;
    unsigned mark = early_mark();
    const struct efi_handoff *handoff = early_map(at, sizeof(*handoff), MEMTYPE_NORMAL);
    if (handoff == NULL || handoff->magic != EFI_HANDOFF_MAGIC) {
        early_unmap_to(mark);
        return ERR_NOT_FOUND;
    }
    info->protocol = "EFI";
    info->fdt = paddr(handoff->fdt);
    info->rsdp = paddr(handoff->rsdp);
    info->efi_map = paddr(handoff->map);
    info->efi_map_size = handoff->map_size;
    info->efi_desc_size = handoff->desc_size;
    if (handoff->initrd_size > 0)
        info->module[info->module_count++] = (struct boot_module){paddr(handoff->initrd), handoff->initrd_size};
    memcpy(info->cmdline, handoff->cmdline, sizeof(info->cmdline));
    info->cmdline[sizeof(info->cmdline) - 1] = '\0';
    early_unmap_to(mark);
    return OK;
}
