/* SPDX-License-Identifier: MIT */
#include "efi_firmware.h"

#include <string.h>
#include <sys/mman.h>

#define PAGES_MAX 64

struct firmware fw;

static struct {
    void *address;
    uint64_t pages;
} owned[PAGES_MAX];

char image[3 * FRAME_SIZE] __attribute__((aligned(4096)));

/* ---- Its services ---------------------------------------------------------------------------------------- */

static void not_after_exit(void)
{
    fw.calls_after_exit += fw.exiting;
}

static efi_status_t EFIAPI allocate_pages(uint32_t how, uint32_t type, uint64_t pages, uint64_t *address)
{
    unsigned i = 0;
    if (how != EFI_ALLOCATE_MAX_ADDRESS || *address != EFI_REACH || (type != 1 && type != 2))
        return EFI_INVALID_PARAMETER;
    if (fw.allocations_left == 0)
        return fw.allocate_status;
    fw.allocations_left--;
    while (i < PAGES_MAX && owned[i].address != NULL)
        i++;
    if (i == PAGES_MAX)
        return EFI_OUT_OF_RESOURCES;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (EFI_REACH <= UINT32_MAX ? MAP_32BIT : 0);
    void *memory = mmap(NULL, pages * FRAME_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED)
        return EFI_OUT_OF_RESOURCES;
    memset(memory, 0xa5, pages * FRAME_SIZE);
    owned[i].address = memory;
    owned[i].pages = pages;
    fw.pages += (unsigned)pages;
    *address = (uintptr_t)memory;
    return EFI_SUCCESS;
}

static efi_status_t EFIAPI free_pages(uint64_t address, uint64_t pages)
{
    for (unsigned i = 0; i < PAGES_MAX; i++) {
        if (owned[i].address != NULL && (uintptr_t)owned[i].address == address && owned[i].pages == pages) {
            munmap(owned[i].address, pages * FRAME_SIZE);
            owned[i].address = NULL;
            fw.pages -= (unsigned)pages;
            return EFI_SUCCESS;
        }
    }
    return EFI_INVALID_PARAMETER;
}

static efi_status_t EFIAPI get_memory_map(uint64_t *size, void *map, uint64_t *key, uint64_t *descriptor_size,
                                          uint32_t *descriptor_version)
{
    uint64_t needed = fw.descriptors * fw.desc_size;
    fw.maps++;
    if (fw.map_status != EFI_SUCCESS)
        return fw.map_status;
    if (fw.exiting && fw.later_map_status != EFI_SUCCESS)
        return fw.later_map_status;
    *descriptor_size = fw.desc_size;
    *descriptor_version = 1;
    if (*size < needed) {
        *size = needed;
        return EFI_BUFFER_TOO_SMALL;
    }
    *size = needed;
    if (map != NULL)
        memset(map, 0x11, needed);
    *key = fw.key;
    return EFI_SUCCESS;
}

static efi_status_t EFIAPI exit_boot_services(efi_handle_t handle, uint64_t key)
{
    fw.exits++;
    fw.exiting = true;
    if (fw.exit_status != EFI_SUCCESS)
        return fw.exit_status;
    if (fw.changes > 0) {
        fw.changes--;
        fw.key++;
        fw.descriptors += fw.grows;
    }
    return handle != NULL && key == fw.key ? EFI_SUCCESS : EFI_INVALID_PARAMETER;
}

static efi_status_t EFIAPI set_watchdog_timer(uint64_t seconds, uint64_t code, uint64_t size, const void *data)
{
    not_after_exit();
    fw.watchdog_off += seconds == 0 && code == 0 && size == 0 && data == NULL;
    return EFI_SUCCESS;
}

static efi_status_t EFIAPI handle_protocol(efi_handle_t handle, const struct efi_guid *protocol, void **found)
{
    static const struct efi_guid loaded = EFI_LOADED_IMAGE_GUID, volume = EFI_FILE_SYSTEM_GUID,
                                 load_file = EFI_LOAD_FILE2_GUID;
    not_after_exit();
    if (handle == (efi_handle_t)(void *)&fw && memcmp(protocol, &loaded, sizeof(loaded)) == 0 && !fw.no_loaded_image)
        *found = &fw.loaded;
    else if (handle == (efi_handle_t)(void *)&fw.volume && memcmp(protocol, &volume, sizeof(volume)) == 0 && !fw.no_volume)
        *found = &fw.volume;
    else if (handle == (efi_handle_t)(void *)&fw.loader && memcmp(protocol, &load_file, sizeof(load_file)) == 0)
        *found = &fw.loader;
    else
        return EFI_UNSUPPORTED;
    return EFI_SUCCESS;
}

static efi_status_t EFIAPI locate_device_path(const struct efi_guid *protocol, const void **path, efi_handle_t *handle)
{
    static const uint8_t medium[] = {4,    3,    20,   0,    0x27, 0xe4, 0x68, 0x55, 0xfc, 0x68, 0x3d, 0x4f,
                                     0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68, 0x7f, 0xff, 4,    0};
    static const struct efi_guid load_file = EFI_LOAD_FILE2_GUID;
    not_after_exit();
    if (fw.offered == NULL || memcmp(protocol, &load_file, sizeof(load_file)) != 0 ||
        memcmp(*path, medium, sizeof(medium)) != 0)
        return EFI_NOT_FOUND;
    *path = (const uint8_t *)*path + 20;
    *handle = (efi_handle_t)(void *)&fw.loader;
    return EFI_SUCCESS;
}

static efi_status_t EFIAPI load_offered(struct efi_load_file2 *self, const void *path, uint8_t boot_policy,
                                        uint64_t *size, void *buffer)
{
    uint64_t length = strlen(fw.offered), given = *size;
    not_after_exit();
    if (self != &fw.loader || boot_policy || *(const uint8_t *)path != 0x7f)
        return EFI_INVALID_PARAMETER;
    *size = fw.offered_claims != 0 ? fw.offered_claims : length;
    if (buffer == NULL || given < length)
        return EFI_BUFFER_TOO_SMALL;
    if (fw.offered_status != EFI_SUCCESS)
        return fw.offered_status;
    memcpy(buffer, fw.offered, length);
    *size = length;
    return EFI_SUCCESS;
}

static efi_status_t EFIAPI boot_hart(struct efi_riscv_boot *self, uint64_t *hart)
{
    *hart = fw.hart;
    return self == &fw.riscv ? EFI_SUCCESS : EFI_INVALID_PARAMETER;
}

static efi_status_t EFIAPI locate_protocol(const struct efi_guid *protocol, void *registration, void **found)
{
    static const struct efi_guid riscv = EFI_RISCV_BOOT_GUID;
    not_after_exit();
    if (fw.hart == 0 || registration != NULL || memcmp(protocol, &riscv, sizeof(riscv)) != 0)
        return EFI_NOT_FOUND;
    *found = &fw.riscv;
    return EFI_SUCCESS;
}

static efi_status_t EFIAPI output(struct efi_text_output *self, const uint16_t *text)
{
    size_t length = strlen(fw.output);
    not_after_exit();
    for (; self == &fw.text && *text != 0 && length < OUTPUT_MAX - 1; text++)
        fw.output[length++] = (char)*text;
    return EFI_SUCCESS;
}

static efi_status_t EFIAPI open_volume(struct efi_file_system *self, struct efi_file **root)
{
    *root = &fw.root;
    fw.files_open++;
    return self == &fw.volume ? EFI_SUCCESS : EFI_INVALID_PARAMETER;
}

static bool is_named(const uint16_t *name, const char *wanted)
{
    while (*wanted != '\0' && *name == (uint8_t)*wanted)
        name++, wanted++;
    return *name == (uint8_t)*wanted;
}

static efi_status_t EFIAPI open_file(struct efi_file *self, struct efi_file **file, const uint16_t *name,
                                     uint64_t mode, uint64_t attributes)
{
    if (self != &fw.root || mode != EFI_FILE_READ || attributes != 0)
        return EFI_INVALID_PARAMETER;
    if (is_named(name, "\\quire.cfg") && fw.file != NULL)
        *file = &fw.config;
    else if (is_named(name, "\\quire.initrd") && fw.initrd != NULL)
        *file = &fw.archive;
    else
        return EFI_NOT_FOUND;
    fw.files_open++;
    return EFI_SUCCESS;
}

static efi_status_t EFIAPI file_info(struct efi_file *self, const struct efi_guid *kind, uint64_t *size, void *buffer)
{
    static const struct efi_guid guid = EFI_FILE_INFO_GUID;
    struct efi_file_info *info = buffer;
    if (self != &fw.archive || memcmp(kind, &guid, sizeof(guid)) != 0 || *size < 80 + 26 || fw.info_status != EFI_SUCCESS)
        return fw.info_status != EFI_SUCCESS ? fw.info_status : EFI_INVALID_PARAMETER;
    info->file_size = fw.initrd_claims != 0 ? fw.initrd_claims : strlen(fw.initrd);
    *size = 80 + 26;
    return EFI_SUCCESS;
}

static efi_status_t EFIAPI close_file(struct efi_file *self)
{
    (void)self;
    fw.files_open--;
    return EFI_SUCCESS;
}

static efi_status_t EFIAPI read_file(struct efi_file *self, uint64_t *size, void *buffer)
{
    const char *content = self == &fw.config ? fw.file : fw.initrd;
    size_t length = strlen(content);
    if (fw.read_status != EFI_SUCCESS)
        return fw.read_status;
    if (length < *size)
        *size = length;
    memcpy(buffer, content, *size);
    return EFI_SUCCESS;
}

/* ---- Around it ------------------------------------------------------------------------------------------- */

void release_firmware(void)
{
    for (unsigned i = 0; i < PAGES_MAX; i++)
        if (owned[i].address != NULL)
            (void)free_pages((uintptr_t)owned[i].address, owned[i].pages);
}

void make_firmware(void)
{
    release_firmware();
    memset(&fw, 0, sizeof(fw));
    fw.descriptors = 20;
    fw.desc_size = 48;
    fw.allocations_left = UINT32_MAX;
    fw.key = KEY;
    fw.boot.allocate_pages = allocate_pages;
    fw.boot.free_pages = free_pages;
    fw.boot.get_memory_map = get_memory_map;
    fw.boot.handle_protocol = handle_protocol;
    fw.boot.locate_device_path = locate_device_path;
    fw.loader.load = load_offered;
    fw.boot.exit_boot_services = exit_boot_services;
    fw.boot.set_watchdog_timer = set_watchdog_timer;
    fw.boot.locate_protocol = locate_protocol;
    fw.text.output = output;
    fw.volume.open_volume = open_volume;
    fw.root.open = open_file;
    fw.root.close = fw.config.close = fw.archive.close = close_file;
    fw.config.read = fw.archive.read = read_file;
    fw.archive.info = file_info;
    fw.riscv.boot_hart = boot_hart;
    fw.loaded.device = (efi_handle_t)(void *)&fw.volume;
    fw.system.header.signature = EFI_SYSTEM_TABLE_SIGNATURE;
    fw.system.output = &fw.text;
    fw.system.boot = &fw.boot;
}
