/* SPDX-License-Identifier: MIT
 *
 * The EFI stub (UEFI 2.10). It asks while there is somebody to ask: for the command line, the boot hart and the
 * tables; then it takes the memory map and leaves the boot services, back to back, because any event in between
 * changes the map and voids its key.
 *
 * It runs at whatever address the loader chose, so it is compiled position independent, holds no pointer in
 * static data, and writes to none of the image's variables: .bss is zeroed later, and a loader may have made
 * the rest read-only. Its state is on the firmware's stack and in one structure that it allocates.
 *
 * Nothing that the firmware says is trusted to be there: counts are bounded, pointers that may be absent are
 * looked at first, and whatever is not needed for going on is done without.
 */
#include "stub.h"

#include <string.h>

#define EXIT_TRIES 8
#define MAP_SPARE 4096  /* bytes: allocating the map itself adds descriptors, and so may others */
#define DESC_MIN 40
#define INITRD_MAX GIB(64) /* what is larger is no size */

struct stub {
    efi_handle_t image;
    struct efi_system_table *system;
    struct efi_boot_services *boot;
    struct efi_handoff *handoff;
    uint64_t map_pages, initrd_pages;
};

static uint64_t pages_of(uint64_t size)
{
    return (size + FRAME_SIZE - 1) / FRAME_SIZE;
}

/* A line on the firmware's console. Not after ExitBootServices was called. */
static void say(const struct stub *stub, const char *text)
{
    uint16_t line[128];
    unsigned length = 0;
    struct efi_text_output *output = stub->system->output;
    if (output == NULL)
        return;
    for (; text[length] != '\0' && length < ARRAY_LEN(line) - 3; length++)
        line[length] = (uint8_t)text[length];
    line[length++] = '\r';
    line[length++] = '\n';
    line[length] = 0;
    output->output(output, line);
}

static bool allocate(const struct stub *stub, uint32_t type, uint64_t pages, uint64_t *address)
{
    *address = EFI_REACH;
    return stub->boot->allocate_pages(EFI_ALLOCATE_MAX_ADDRESS, type, pages, address) == EFI_SUCCESS;
}

static void *pointer(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

/* ---- Command line --------------------------------------------------------------------------------------- */

/* Whether `count` UTF-16 units are the text of a command line. Firmware also puts data of its own there. */
static bool is_text(const uint8_t *options, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t unit = options[2 * i] | (uint32_t)options[2 * i + 1] << 8;
        if (unit == 0)
            return i > 0;
        if (unit < ' ' || unit > '~')
            return false;
    }
    return count > 0;
}

/* Returns the length of the command line so far. */
static uint32_t take_options(const struct stub *stub, const struct efi_loaded_image *loaded)
{
    const uint8_t *options = loaded->options;
    uint32_t count = loaded->options_size / 2, length = 0;
    char *line = stub->handoff->cmdline;
    if (options == NULL || !is_text(options, count))
        return 0;
    for (; length < count && options[2 * length] != 0; length++) {
        if (length == BOOT_CMDLINE_MAX - 1) {
            say(stub, "quire: the command line is too long; it is cut to 2047 characters");
            break;
        }
        line[length] = (char)options[2 * length];
    }
    line[length] = '\0';
    return length;
}

/* What there is of a file becomes one line, behind the `length` characters that are there. */
static void take_file(const struct stub *stub, struct efi_file *file, uint32_t length)
{
    char *line = stub->handoff->cmdline + length;
    uint64_t room = BOOT_CMDLINE_MAX - length, size = room;
    if (file->read(file, &size, line) != EFI_SUCCESS || size > room) {
        say(stub, "quire: quire.cfg cannot be read");
        size = 0;
    } else if (size == room) {
        say(stub, "quire: the command line is too long with quire.cfg; it is cut to 2047 characters");
        size--;
    }
    for (uint64_t i = 0; i < size; i++)
        if (line[i] < ' ' || line[i] > '~')
            line[i] = ' ';
    line[size] = '\0';
}

/* After " -- " come commands up to the end of the line. */
static bool holds_commands(const char *line, uint32_t length)
{
    for (uint32_t i = 0; i + 2 <= length; i++)
        if (line[i] == '-' && line[i + 1] == '-' && (i == 0 || line[i - 1] == ' ') &&
            (i + 2 == length || line[i + 2] == ' '))
            return true;
    return false;
}

/* Behind what the loader gave, unless that holds commands already. */
static void add_config(const struct stub *stub, struct efi_file *root, uint32_t length)
{
    char *line = stub->handoff->cmdline;
    struct efi_file *file = NULL;
    if (holds_commands(line, length) ||
        root->open(root, &file, u"\\quire.cfg", EFI_FILE_READ, 0) != EFI_SUCCESS || file == NULL)
        return;
    if (length > 0 && length < BOOT_CMDLINE_MAX - 1)
        line[length++] = ' ';
    take_file(stub, file, length);
    file->close(file);
}

/* ---- Files beside the image ----------------------------------------------------------------------------- */

static bool load_file(struct stub *stub, struct efi_file *file)
{
    static const struct efi_guid guid = EFI_FILE_INFO_GUID;
    struct efi_handoff *handoff = stub->handoff;
    struct efi_file_info info;
    uint64_t size = sizeof(info);
    if (file->info(file, &guid, &size, &info) != EFI_SUCCESS || info.file_size > INITRD_MAX)
        return false;
    if (info.file_size == 0)
        return true;
    uint64_t pages = pages_of(info.file_size);
    if (!allocate(stub, EFI_MEMORY_LOADER_DATA, pages, &handoff->initrd))
        return false;
    stub->initrd_pages = pages;
    handoff->initrd_size = size = info.file_size;
    return file->read(file, &size, pointer(handoff->initrd)) == EFI_SUCCESS && size == info.file_size;
}

static void free_initrd(struct stub *stub)
{
    if (stub->initrd_pages > 0)
        stub->boot->free_pages(stub->handoff->initrd, stub->initrd_pages);
    stub->initrd_pages = 0;
    stub->handoff->initrd = stub->handoff->initrd_size = 0;
}

static void find_initrd(struct stub *stub, struct efi_file *root)
{
    struct efi_file *file = NULL;
    if (root->open(root, &file, u"\\quire.initrd", EFI_FILE_READ, 0) != EFI_SUCCESS || file == NULL)
        return;
    if (!load_file(stub, file)) {
        say(stub, "quire: quire.initrd cannot be read, or there is no memory for it; left out");
        free_initrd(stub);
    }
    file->close(file);
}

/* What lies in the root of the volume that the image was loaded from, if it came from one. */
static void find_files(struct stub *stub, const struct efi_loaded_image *loaded, uint32_t length)
{
    static const struct efi_guid guid = EFI_FILE_SYSTEM_GUID;
    struct efi_file_system *volume = NULL;
    struct efi_file *root = NULL;
    if (loaded->device == NULL ||
        stub->boot->handle_protocol(loaded->device, &guid, (void **)&volume) != EFI_SUCCESS || volume == NULL ||
        volume->open_volume(volume, &root) != EFI_SUCCESS || root == NULL)
        return;
    add_config(stub, root, length);
    find_initrd(stub, root);
    root->close(root);
}

static void ask_loader(struct stub *stub)
{
    static const struct efi_guid guid = EFI_LOADED_IMAGE_GUID;
    struct efi_loaded_image *loaded = NULL;
    if (stub->boot->handle_protocol(stub->image, &guid, (void **)&loaded) != EFI_SUCCESS || loaded == NULL)
        say(stub, "quire: the firmware does not know how it loaded this image; there is no command line");
    else
        find_files(stub, loaded, take_options(stub, loaded));
}

/* ---- Tables and boot hart ------------------------------------------------------------------------------- */

static void find_tables(const struct stub *stub)
{
    static const struct efi_guid fdt = EFI_FDT_GUID, acpi_20 = EFI_ACPI_20_GUID, acpi_10 = EFI_ACPI_10_GUID;
    const struct efi_system_table *system = stub->system;
    struct efi_handoff *handoff = stub->handoff;
    bool have_20 = false;
    for (uint64_t i = 0; system->table != NULL && i < system->table_count && i < EFI_TABLES_MAX; i++) {
        const struct efi_configuration_table *entry = &system->table[i];
        uint64_t address = (uintptr_t)entry->table;
        if (memcmp(&entry->guid, &fdt, sizeof(fdt)) == 0) {
            handoff->fdt = address;
        } else if (memcmp(&entry->guid, &acpi_20, sizeof(acpi_20)) == 0) {
            handoff->rsdp = address;
            have_20 = true;
        } else if (memcmp(&entry->guid, &acpi_10, sizeof(acpi_10)) == 0 && !have_20) {
            handoff->rsdp = address;
        }
    }
    if (handoff->fdt == 0 && handoff->rsdp == 0)
        say(stub, "quire: the firmware has neither ACPI tables nor a device tree");
}

static void find_boot_cpu(const struct stub *stub)
{
    static const struct efi_guid guid = EFI_RISCV_BOOT_GUID;
    struct efi_riscv_boot *protocol = NULL;
    if (stub->boot->locate_protocol(&guid, NULL, (void **)&protocol) != EFI_SUCCESS || protocol == NULL ||
        protocol->boot_hart(protocol, &stub->handoff->boot_cpu) != EFI_SUCCESS)
        stub->handoff->boot_cpu = BOOT_CPU_UNKNOWN;
}

/* ---- Memory --------------------------------------------------------------------------------------------- */

/* The image itself if the kernel's first instructions can run there, else a copy within their reach. */
static bool place_image(const struct stub *stub, const struct efi_kernel *kernel)
{
    uint64_t start = (uintptr_t)kernel->start, end;
    stub->handoff->image = start;
    if (!__builtin_add_overflow(start, kernel->size - 1, &end) && end <= EFI_REACH)
        return true;
    if (!allocate(stub, EFI_MEMORY_LOADER_CODE, pages_of(kernel->size), &stub->handoff->image))
        return false;
    memcpy(pointer(stub->handoff->image), kernel->start, kernel->bytes);
    return true;
}

static void free_map(struct stub *stub)
{
    if (stub->map_pages > 0)
        stub->boot->free_pages(stub->handoff->map, stub->map_pages);
    stub->map_pages = 0;
}

static bool allocate_map(struct stub *stub, uint64_t size)
{
    free_map(stub);
    uint64_t pages = pages_of(size + MAP_SPARE);
    if (size > UINT32_MAX || !allocate(stub, EFI_MEMORY_LOADER_DATA, pages, &stub->handoff->map))
        return false;
    stub->map_pages = pages;
    return true;
}

/* The map into its buffer, as large as that may have to be. After a failed ExitBootServices only this and
 * allocation are allowed, so nothing is said. */
static efi_status_t take_map(struct stub *stub, uint64_t *key)
{
    struct efi_handoff *handoff = stub->handoff;
    for (unsigned i = 0; i < EXIT_TRIES; i++) {
        uint64_t size = stub->map_pages * FRAME_SIZE, desc_size = 0;
        uint32_t desc_version = 0;
        efi_status_t status = stub->boot->get_memory_map(&size, size > 0 ? pointer(handoff->map) : NULL, key,
                                                         &desc_size, &desc_version);
        if (status == EFI_BUFFER_TOO_SMALL) {
            if (!allocate_map(stub, size))
                return EFI_OUT_OF_RESOURCES;
            continue;
        }
        if (status != EFI_SUCCESS)
            return status;
        if (size == 0 || desc_size < DESC_MIN || desc_size > size)
            return EFI_LOAD_ERROR;
        handoff->map_size = size;
        handoff->desc_size = (uint32_t)desc_size;
        handoff->desc_version = desc_version;
        return EFI_SUCCESS;
    }
    return EFI_BUFFER_TOO_SMALL;
}

/* EFI_INVALID_PARAMETER: the map has changed since, and is to be taken again. */
static efi_status_t leave(struct stub *stub)
{
    efi_status_t status = EFI_INVALID_PARAMETER;
    for (unsigned i = 0; i < EXIT_TRIES && status == EFI_INVALID_PARAMETER; i++) {
        uint64_t key = 0;
        status = take_map(stub, &key);
        if (status != EFI_SUCCESS) {
            if (i == 0)
                say(stub, "quire: the firmware gives no memory map that makes sense");
            return status;
        }
        status = stub->boot->exit_boot_services(stub->image, key);
    }
    return status;
}

/* ---- All of it ------------------------------------------------------------------------------------------ */

static efi_status_t prepare_and_leave(struct stub *stub, const struct efi_kernel *kernel)
{
    memset(stub->handoff, 0, sizeof(*stub->handoff));
    stub->handoff->magic = EFI_HANDOFF_MAGIC;
    stub->boot->set_watchdog_timer(0, 0, 0, NULL);
    ask_loader(stub);
    find_tables(stub);
    find_boot_cpu(stub);
    efi_status_t status = EFI_OUT_OF_RESOURCES;
    if (place_image(stub, kernel)) {
        status = leave(stub);
        if (status == EFI_SUCCESS)
            return status;
        free_map(stub);
        if (stub->handoff->image != (uintptr_t)kernel->start)
            stub->boot->free_pages(stub->handoff->image, pages_of(kernel->size));
    } else {
        say(stub, "quire: there is no memory for the kernel below 4 GiB");
    }
    free_initrd(stub);
    return status;
}

efi_status_t efi_stub(efi_handle_t image, struct efi_system_table *system, const struct efi_kernel *kernel,
                      struct efi_handoff **handoff)
{
    if (system == NULL || system->header.signature != EFI_SYSTEM_TABLE_SIGNATURE || system->boot == NULL)
        return EFI_UNSUPPORTED;
    struct stub stub = {.image = image, .system = system, .boot = system->boot};
    uint64_t address, pages = pages_of(sizeof(struct efi_handoff));
    if (!allocate(&stub, EFI_MEMORY_LOADER_DATA, pages, &address)) {
        say(&stub, "quire: there is no memory for the hand-off");
        return EFI_OUT_OF_RESOURCES;
    }
    stub.handoff = pointer(address);
    efi_status_t status = prepare_and_leave(&stub, kernel);
    if (status == EFI_SUCCESS)
        *handoff = stub.handoff;
    else
        stub.boot->free_pages(address, pages);
    return status;
}
