/* SPDX-License-Identifier: MIT
 *
 * The Linux boot protocol's boot parameters (Documentation/arch/x86/boot.rst and zero-page.rst), a page of which
 * few fields matter here. Also read by assembly.
 */
#ifndef ARCH_BOOT_PARAMS_H
#define ARCH_BOOT_PARAMS_H

/* Which protocol entered the image: boot_protocol. */
#define BOOT_PVH 1
#define BOOT_LINUX 2
#define BOOT_EFI 3

#define BOOT_PARAMS_ACPI_RSDP 0x070
#define BOOT_PARAMS_EFI_INFO 0x1c0
#define BOOT_PARAMS_SCRATCH 0x1e4
#define BOOT_PARAMS_E820_COUNT 0x1e8
#define BOOT_PARAMS_HEADER 0x1f1 /* the setup header, which the file has at the same offset */
#define BOOT_PARAMS_E820 0x2d0
#define BOOT_PARAMS_E820_MAX 128
#define BOOT_PARAMS_SIZE 0x1000

#ifndef __ASSEMBLER__
#include <boot/boot_info.h>

extern uint32_t boot_protocol;

struct boot_params {
    uint8_t screen[0x70];
    uint64_t acpi_rsdp;
    uint8_t other_firmware[0xc0 - 0x78];
    uint32_t ext_ramdisk_image, ext_ramdisk_size, ext_cmdline;
    uint8_t other_video[0x1c0 - 0xcc];
    struct {
        uint32_t signature, system_table, desc_size, desc_version, map, map_size, map_high, system_table_high;
    } efi;
    uint32_t alt_mem_kib, scratch;
    uint8_t e820_count, other_counts[0x202 - 0x1e9];
    uint32_t magic; /* "HdrS" */
    uint8_t header_before[0x218 - 0x206];
    uint32_t ramdisk_image, ramdisk_size;
    uint8_t header_between[0x228 - 0x220];
    uint32_t cmdline;
    uint8_t header_after[0x2d0 - 0x22c];
    struct e820_entry e820[BOOT_PARAMS_E820_MAX];
    uint8_t rest[BOOT_PARAMS_SIZE - 0xcd0];
} __attribute__((packed));
_Static_assert(offsetof(struct boot_params, acpi_rsdp) == BOOT_PARAMS_ACPI_RSDP, "acpi_rsdp_addr");
_Static_assert(offsetof(struct boot_params, efi) == BOOT_PARAMS_EFI_INFO, "efi_info");
_Static_assert(offsetof(struct boot_params, scratch) == BOOT_PARAMS_SCRATCH, "scratch");
_Static_assert(offsetof(struct boot_params, e820_count) == BOOT_PARAMS_E820_COUNT, "e820_entries");
_Static_assert(offsetof(struct boot_params, ramdisk_image) == 0x218, "ramdisk_image");
_Static_assert(offsetof(struct boot_params, cmdline) == 0x228, "cmd_line_ptr");
_Static_assert(offsetof(struct boot_params, e820) == BOOT_PARAMS_E820, "e820_table");
_Static_assert(sizeof(struct boot_params) == BOOT_PARAMS_SIZE, "boot_params");
#endif

#endif
