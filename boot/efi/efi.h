/* SPDX-License-Identifier: MIT
 *
 * As much of UEFI (specification 2.10) as the stub calls: layouts, numbers, identifiers. Members that nobody
 * here uses are only room.
 *
 * <arch/efi.h> gives EFIAPI, the calling convention of firmware functions.
 */
#ifndef BOOT_EFI_EFI_H
#define BOOT_EFI_EFI_H

#include <arch/efi.h>
#include <mm/types.h>

typedef uint64_t efi_status_t;
typedef struct efi_object *efi_handle_t;

#define EFI_ERROR(code) (UINT64_C(1) << 63 | (code))
#define EFI_SUCCESS UINT64_C(0)
#define EFI_LOAD_ERROR EFI_ERROR(1)
#define EFI_INVALID_PARAMETER EFI_ERROR(2)
#define EFI_UNSUPPORTED EFI_ERROR(3)
#define EFI_BUFFER_TOO_SMALL EFI_ERROR(5)
#define EFI_OUT_OF_RESOURCES EFI_ERROR(9)
#define EFI_NOT_FOUND EFI_ERROR(14)

struct efi_guid {
    uint32_t a;
    uint16_t b, c;
    uint8_t d[8];
};
_Static_assert(sizeof(struct efi_guid) == 16, "EFI_GUID");

#define EFI_LOADED_IMAGE_GUID {0x5b1b31a1, 0x9562, 0x11d2, {0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}}
#define EFI_FILE_SYSTEM_GUID {0x964e5b22, 0x6459, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}}
#define EFI_FILE_INFO_GUID {0x09576e92, 0x6d3f, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}}
#define EFI_FDT_GUID {0xb1b621d5, 0xf19c, 0x41a5, {0x83, 0x0b, 0xd9, 0x15, 0x2c, 0x69, 0xaa, 0xe0}}
#define EFI_ACPI_20_GUID {0x8868e871, 0xe4f1, 0x11d3, {0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81}}
#define EFI_ACPI_10_GUID {0xeb9d2d30, 0x2d88, 0x11d3, {0x9a, 0x16, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d}}
#define EFI_RISCV_BOOT_GUID {0xccd15fec, 0x6f73, 0x4eec, {0x83, 0x95, 0x3e, 0x69, 0xe4, 0xb9, 0x40, 0xbf}}

struct efi_table_header {
    uint64_t signature;
    uint32_t revision, size, crc32, reserved;
};
_Static_assert(sizeof(struct efi_table_header) == 24, "EFI_TABLE_HEADER");

/* ---- Boot services (7) ---------------------------------------------------------------------------------- */

enum { EFI_ALLOCATE_MAX_ADDRESS = 1 };
enum { EFI_MEMORY_LOADER_CODE = 1, EFI_MEMORY_LOADER_DATA = 2 };

struct efi_boot_services {
    struct efi_table_header header;
    void *task_priority[2];
    efi_status_t(EFIAPI *allocate_pages)(uint32_t how, uint32_t type, uint64_t pages, uint64_t *address);
    efi_status_t(EFIAPI *free_pages)(uint64_t address, uint64_t pages);
    efi_status_t(EFIAPI *get_memory_map)(uint64_t *size, void *map, uint64_t *key, uint64_t *descriptor_size,
                                         uint32_t *descriptor_version);
    void *pool_events_and_protocols[11];
    efi_status_t(EFIAPI *handle_protocol)(efi_handle_t handle, const struct efi_guid *protocol, void **found);
    void *handles_and_images[9];
    efi_status_t(EFIAPI *exit_boot_services)(efi_handle_t image, uint64_t key);
    void *count_and_stall[2];
    efi_status_t(EFIAPI *set_watchdog_timer)(uint64_t seconds, uint64_t code, uint64_t size, const void *data);
    void *drivers_and_handles[7];
    efi_status_t(EFIAPI *locate_protocol)(const struct efi_guid *protocol, void *registration, void **found);
};
_Static_assert(offsetof(struct efi_boot_services, get_memory_map) == 56, "GetMemoryMap");
_Static_assert(offsetof(struct efi_boot_services, handle_protocol) == 152, "HandleProtocol");
_Static_assert(offsetof(struct efi_boot_services, exit_boot_services) == 232, "ExitBootServices");
_Static_assert(offsetof(struct efi_boot_services, set_watchdog_timer) == 256, "SetWatchdogTimer");
_Static_assert(offsetof(struct efi_boot_services, locate_protocol) == 320, "LocateProtocol");

/* ---- System table (4.3, 4.6) ---------------------------------------------------------------------------- */

struct efi_text_output {
    void *reset;
    efi_status_t(EFIAPI *output)(struct efi_text_output *self, const uint16_t *text);
};

struct efi_configuration_table {
    struct efi_guid guid;
    const void *table;
};
_Static_assert(sizeof(struct efi_configuration_table) == 24, "EFI_CONFIGURATION_TABLE");

#define EFI_TABLES_MAX 1024 /* configuration tables that are looked at; firmware has some ten */
#define EFI_SYSTEM_TABLE_SIGNATURE UINT64_C(0x5453595320494249)

struct efi_system_table {
    struct efi_table_header header;
    const uint16_t *vendor;
    uint32_t vendor_revision, padding;
    void *input[2];
    efi_handle_t output_handle;
    struct efi_text_output *output;
    void *error[2];
    void *runtime;
    struct efi_boot_services *boot;
    uint64_t table_count;
    const struct efi_configuration_table *table;
};
_Static_assert(offsetof(struct efi_system_table, output) == 64, "ConOut");
_Static_assert(offsetof(struct efi_system_table, boot) == 96, "BootServices");
_Static_assert(sizeof(struct efi_system_table) == 120, "EFI_SYSTEM_TABLE");

/* ---- Protocols ------------------------------------------------------------------------------------------ */

/* 9.1 */
struct efi_loaded_image {
    uint32_t revision;
    efi_handle_t parent;
    struct efi_system_table *system;
    efi_handle_t device;
    void *path, *reserved;
    uint32_t options_size; /* bytes */
    const void *options;
};
_Static_assert(offsetof(struct efi_loaded_image, options) == 56, "LoadOptions");

/* 13.4, 13.5 */
struct efi_file {
    uint64_t revision;
    efi_status_t(EFIAPI *open)(struct efi_file *self, struct efi_file **file, const uint16_t *name, uint64_t mode,
                               uint64_t attributes);
    efi_status_t(EFIAPI *close)(struct efi_file *self);
    void *remove;
    efi_status_t(EFIAPI *read)(struct efi_file *self, uint64_t *size, void *buffer);
    void *write_and_position[3];
    efi_status_t(EFIAPI *info)(struct efi_file *self, const struct efi_guid *kind, uint64_t *size, void *buffer);
};
_Static_assert(offsetof(struct efi_file, info) == 64, "GetInfo");
#define EFI_FILE_READ UINT64_C(1)

struct efi_file_info {
    uint64_t size, file_size, physical_size;
    uint64_t times[6], attributes;
    uint16_t name[88]; /* more than any here has */
};
_Static_assert(offsetof(struct efi_file_info, name) == 80, "EFI_FILE_INFO");

struct efi_file_system {
    uint64_t revision;
    efi_status_t(EFIAPI *open_volume)(struct efi_file_system *self, struct efi_file **root);
};

/* RISC-V UEFI protocol specification 1.0 */
struct efi_riscv_boot {
    uint64_t revision;
    efi_status_t(EFIAPI *boot_hart)(struct efi_riscv_boot *self, uint64_t *hart);
};

#endif
