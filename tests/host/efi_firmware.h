/* SPDX-License-Identifier: MIT
 *
 * A firmware for the EFI stub's tests, which can be told to lack or to break most of what it offers. It keeps account of
 * pages, so that a stub which gives up gives everything back.
 */
#ifndef TESTS_EFI_FIRMWARE_H
#define TESTS_EFI_FIRMWARE_H

#include <boot/efi/stub.h>

#define OUTPUT_MAX 512
#define KEY 0x1234

struct firmware {
    /* What it is told to do. */
    unsigned changes;         /* so often the map changes between get and exit */
    unsigned grows;           /* and each time needs so many descriptors more */
    unsigned descriptors;
    uint64_t desc_size;
    efi_status_t map_status, exit_status, allocate_status;
    efi_status_t later_map_status; /* once ExitBootServices was called */
    unsigned allocations_left; /* before allocate_status counts */
    const char *file;          /* quire.cfg; NULL: no such file */
    const char *initrd;        /* quire.initrd, likewise */
    uint64_t initrd_claims;    /* its size, as GetInfo has it; 0: what it is */
    efi_status_t read_status, info_status;
    bool no_loaded_image, no_volume;
    uint64_t hart;             /* 0: there is no such protocol */
    const char *offered;       /* an initrd by LoadFile2; NULL: no such path */
    uint64_t offered_claims;   /* its size when asked for; 0: what it is */
    efi_status_t offered_status; /* of loading it */

    /* What was seen. */
    uint64_t key;
    unsigned exits, maps, watchdog_off, files_open, calls_after_exit;
    bool exiting;              /* ExitBootServices was called: only memory services are left */
    unsigned pages;
    char output[OUTPUT_MAX];

    struct efi_boot_services boot;
    struct efi_text_output text;
    struct efi_loaded_image loaded;
    struct efi_file_system volume;
    struct efi_file root, config, archive;
    struct efi_riscv_boot riscv;
    struct efi_load_file2 loader;
    struct efi_system_table system;
    uint16_t options[3000];
};

extern struct firmware fw;
extern char image[3 * FRAME_SIZE]; /* the kernel that is started, page aligned */

/* A firmware with nothing wrong, and no tables. */
void make_firmware(void);

/* Gives up what pages it still has handed out. */
void release_firmware(void);

#endif
