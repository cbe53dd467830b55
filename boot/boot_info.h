/* SPDX-License-Identifier: MIT
 *
 * The hand-off: what a boot protocol told, before anybody interprets it. Every chain (PVH, Linux Image, UEFI,
 * U-Boot, GRUB) fills the same structure; nothing after boot/main.c looks at a protocol again.
 */
#ifndef BOOT_BOOT_INFO_H
#define BOOT_BOOT_INFO_H

#include <mm/types.h>

#define BOOT_INFO_VERSION 1
#define BOOT_CMDLINE_MAX 2048
#define BOOT_MODULES_MAX 8
#define BOOT_E820_MAX 512
#define BOOT_CPU_UNKNOWN UINT64_MAX

/* 20 bytes as PVH (padded to 24 there), multiboot and boot_params have it. */
struct e820_entry {
    uint64_t start, size;
    uint32_t type;
} __attribute__((packed));
_Static_assert(sizeof(struct e820_entry) == 20, "e820 entry");

struct boot_module {
    paddr_t start;
    uint64_t size;
};

struct boot_info {
    uint32_t version;            /* BOOT_INFO_VERSION */
    const char *protocol;        /* "PVH", "bzImage", "Image", "EFI", for people */
    uint64_t boot_cpu;           /* hardware id of the CPU that booted; BOOT_CPU_UNKNOWN until a table says it */

    paddr_t image;               /* first byte of the running image */
    uint64_t image_size;         /* .bss included */

    paddr_t fdt;                 /* 0: none */
    uint64_t fdt_size;           /* known after the header was read */
    paddr_t rsdp;                /* 0: none */

    uint32_t e820_count;
    struct e820_entry e820[BOOT_E820_MAX];

    paddr_t efi_map;             /* 0: none */
    uint64_t efi_map_size;
    uint32_t efi_desc_size;

    uint32_t module_count;
    struct boot_module module[BOOT_MODULES_MAX];

    bool qemu_exit;              /* option "qemu-exit": end with the emulator's exit device */
    char cmdline[BOOT_CMDLINE_MAX];
};

#endif
