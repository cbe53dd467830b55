/* SPDX-License-Identifier: MIT
 *
 * The EFI stub against a firmware made here, which can be told to lack or to break most of what it offers. It
 * keeps account of pages, so that a stub which gives up gives everything back.
 */
#include "quire_test.h"

#include <boot/efi/stub.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGES_MAX 64
#define OUTPUT_MAX 512
#define KEY 0x1234

static struct firmware {
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
    struct efi_system_table system;
    uint16_t options[3000];
} fw;

static struct {
    void *address;
    uint64_t pages;
} owned[PAGES_MAX];

static char image[3 * FRAME_SIZE] __attribute__((aligned(4096)));

/* ---- The firmware ---------------------------------------------------------------------------------------- */

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
    static const struct efi_guid loaded = EFI_LOADED_IMAGE_GUID, volume = EFI_FILE_SYSTEM_GUID;
    not_after_exit();
    if (handle == (efi_handle_t)(void *)&fw && memcmp(protocol, &loaded, sizeof(loaded)) == 0 && !fw.no_loaded_image)
        *found = &fw.loaded;
    else if (handle == (efi_handle_t)(void *)&fw.volume && memcmp(protocol, &volume, sizeof(volume)) == 0 && !fw.no_volume)
        *found = &fw.volume;
    else
        return EFI_UNSUPPORTED;
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

static void release(void)
{
    for (unsigned i = 0; i < PAGES_MAX; i++)
        if (owned[i].address != NULL)
            (void)free_pages((uintptr_t)owned[i].address, owned[i].pages);
}

/* A firmware with nothing wrong, and no tables. */
static void make_firmware(void)
{
    release();
    memset(&fw, 0, sizeof(fw));
    fw.descriptors = 20;
    fw.desc_size = 48;
    fw.allocations_left = UINT32_MAX;
    fw.key = KEY;
    fw.boot.allocate_pages = allocate_pages;
    fw.boot.free_pages = free_pages;
    fw.boot.get_memory_map = get_memory_map;
    fw.boot.handle_protocol = handle_protocol;
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

static void give_options(const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i <= length; i++)
        fw.options[i] = (uint8_t)text[i];
    fw.loaded.options = fw.options;
    fw.loaded.options_size = (uint32_t)(length + 1) * 2;
}

static struct efi_handoff *handoff;

static efi_status_t run(void)
{
    const struct efi_kernel kernel = {image, 2 * FRAME_SIZE, sizeof(image)};
    handoff = NULL;
    for (unsigned i = 0; i < sizeof(image); i++)
        image[i] = (char)(i * 7);
    return efi_stub((efi_handle_t)(void *)&fw, &fw.system, &kernel, &handoff);
}

static bool said(const char *text)
{
    return strstr(fw.output, text) != NULL;
}

/* ---- Tests ----------------------------------------------------------------------------------------------- */

TEST(efi_stub, hands_over_what_the_firmware_has)
{
    static const struct efi_configuration_table tables[] = {
        {EFI_ACPI_20_GUID, image + 0x20}, {EFI_LOADED_IMAGE_GUID, image},
        {EFI_ACPI_10_GUID, image + 0x10}, {EFI_FDT_GUID, image + 0x30}};
    make_firmware();
    fw.system.table = tables;
    fw.system.table_count = ARRAY_LEN(tables);
    fw.hart = 3;
    give_options("paging=sv39 -- map");
    CHECK_EQ(run(), EFI_SUCCESS);
    CHECK_EQ(handoff->magic, EFI_HANDOFF_MAGIC);
    CHECK_EQ(handoff->rsdp, (uintptr_t)image + 0x20);
    CHECK_EQ(handoff->fdt, (uintptr_t)image + 0x30);
    CHECK_EQ(handoff->boot_cpu, 3);
    CHECK_EQ(handoff->map_size, 20 * 48);
    CHECK_EQ(handoff->desc_size, 48);
    CHECK_EQ(*(uint8_t *)(uintptr_t)(handoff->map + 20 * 48 - 1), 0x11);
    CHECK(strcmp(handoff->cmdline, "paging=sv39 -- map") == 0);
    CHECK(fw.watchdog_off == 1 && fw.exits == 1 && fw.calls_after_exit == 0 && fw.files_open == 0);
    CHECK(fw.output[0] == '\0');
    release();
}

TEST(efi_stub, an_image_out_of_reach_is_copied)
{
    make_firmware();
    CHECK_EQ(run(), EFI_SUCCESS);
    if ((uintptr_t)image + sizeof(image) - 1 <= EFI_REACH) {
        CHECK_EQ(handoff->image, (uintptr_t)image);
    } else {
        CHECK(handoff->image + sizeof(image) - 1 <= EFI_REACH);
        CHECK(memcmp((void *)(uintptr_t)handoff->image, image, 2 * FRAME_SIZE) == 0);
    }
    CHECK((uintptr_t)handoff <= EFI_REACH - sizeof(*handoff));
    release();
}

TEST(efi_stub, a_map_that_changes_is_taken_again)
{
    static const struct {
        unsigned changes, grows, desc_size;
    } cases[] = {{1, 0, 48}, {1, 3, 40}, {3, 200, 48}, {7, 1, 56}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        make_firmware();
        fw.changes = cases[i].changes;
        fw.grows = cases[i].grows;
        fw.desc_size = cases[i].desc_size;
        CHECK_EQ(run(), EFI_SUCCESS);
        CHECK_EQ(fw.exits, cases[i].changes + 1);
        CHECK_EQ(handoff->map_size, (20 + cases[i].changes * cases[i].grows) * cases[i].desc_size);
        CHECK_EQ(handoff->desc_size, cases[i].desc_size);
        CHECK_EQ(fw.calls_after_exit, 0);
        release();
    }
}

TEST(efi_stub, gives_up_on_a_map_that_never_holds_still)
{
    make_firmware();
    fw.changes = UINT32_MAX;
    fw.grows = 1;
    CHECK_EQ(run(), EFI_INVALID_PARAMETER);
    CHECK(fw.exits > 1 && fw.exits < 100);
    CHECK(handoff == NULL && fw.pages == 0 && fw.calls_after_exit == 0);
}

TEST(efi_stub, gives_up_on_a_map_that_makes_no_sense)
{
    for (unsigned i = 0; i < 4; i++) {
        make_firmware();
        fw.descriptors = i == 0 ? 0 : 20;
        fw.desc_size = i == 1 ? 32 : 48;
        fw.map_status = i == 2 ? EFI_UNSUPPORTED : i == 3 ? EFI_BUFFER_TOO_SMALL : EFI_SUCCESS;
        CHECK(run() != EFI_SUCCESS);
        CHECK(said("quire: the firmware gives no memory map that makes sense\r\n"));
        CHECK(fw.exits == 0 && fw.pages == 0 && fw.maps < 100);
    }
}

TEST(efi_stub, gives_up_where_boot_services_do_not_end)
{
    make_firmware();
    fw.exit_status = EFI_UNSUPPORTED;
    CHECK_EQ(run(), EFI_UNSUPPORTED);
    CHECK(fw.exits == 1 && fw.pages == 0 && fw.calls_after_exit == 0);
    make_firmware();
    fw.changes = 1;
    fw.later_map_status = EFI_LOAD_ERROR;
    CHECK_EQ(run(), EFI_LOAD_ERROR);
    CHECK(fw.exits == 1 && fw.pages == 0 && fw.calls_after_exit == 0);
}

/* At each allocation in turn, until there is one more than it needs. */
TEST(efi_stub, gives_everything_back_without_memory)
{
    efi_status_t status = EFI_OUT_OF_RESOURCES;
    unsigned i;
    for (i = 0; i < 10 && status != EFI_SUCCESS; i++) {
        make_firmware();
        fw.initrd = "archive";
        fw.allocations_left = i;
        fw.allocate_status = EFI_OUT_OF_RESOURCES;
        status = run();
        CHECK(status == EFI_SUCCESS || (fw.pages == 0 && fw.exits == 0 && said("quire: ")));
    }
    CHECK(status == EFI_SUCCESS && i > 2);
    release();
}

TEST(efi_stub, does_without_what_it_need_not_have)
{
    make_firmware();
    fw.no_loaded_image = true;
    CHECK_EQ(run(), EFI_SUCCESS);
    CHECK(said("there is no command line") && said("neither ACPI tables nor a device tree"));
    CHECK(handoff->cmdline[0] == '\0' && handoff->boot_cpu == BOOT_CPU_UNKNOWN);
    CHECK(handoff->fdt == 0 && handoff->rsdp == 0);
    make_firmware();
    fw.no_loaded_image = true;
    fw.system.output = NULL;
    fw.system.table_count = 5; /* but no table */
    CHECK_EQ(run(), EFI_SUCCESS);
    fw.system.boot = NULL;
    CHECK_EQ(run(), EFI_UNSUPPORTED);
    make_firmware();
    fw.system.header.signature++;
    CHECK_EQ(run(), EFI_UNSUPPORTED);
    CHECK_EQ(efi_stub(NULL, NULL, NULL, &handoff), EFI_UNSUPPORTED);
    release();
}

TEST(efi_stub, config_file_follows_the_options)
{
    static const struct {
        const char *options, *file, *line;
    } cases[] = {
        {NULL, NULL, ""},
        {NULL, "qemu-exit\ncpus=2\r\n", "qemu-exit cpus=2  "},
        {"", "cpus=2", "cpus=2"},
        {"ro", "cpus=2 -- map", "ro cpus=2 -- map"},
        {"ro", NULL, "ro"},
        {"-- map", "cpus=2", "-- map"},
        {"ro --", "cpus=2", "ro --"},
        {"a--b --c d--", "cpus=2", "a--b --c d-- cpus=2"},
        {"caf\xe9", "\t\x80x", "  x"}, /* options that are no text */
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        make_firmware();
        if (cases[i].options != NULL)
            give_options(cases[i].options);
        fw.file = cases[i].file;
        CHECK_EQ(run(), EFI_SUCCESS);
        if (strcmp(handoff->cmdline, cases[i].line) != 0)
            test_fail(test_result_, __FILE__, __LINE__, "case %u: \"%s\"", i, handoff->cmdline);
        CHECK_EQ(fw.files_open, 0);
        release();
    }
}

TEST(efi_stub, loads_the_boot_archive)
{
    make_firmware();
    fw.initrd = "seven, eight";
    give_options("-- map");
    CHECK_EQ(run(), EFI_SUCCESS);
    CHECK_EQ(handoff->initrd_size, 12);
    CHECK(memcmp((void *)(uintptr_t)handoff->initrd, "seven, eight", 12) == 0);
    CHECK(fw.files_open == 0 && !said("initrd"));
    make_firmware();
    fw.initrd = "";
    CHECK_EQ(run(), EFI_SUCCESS);
    CHECK(handoff->initrd == 0 && handoff->initrd_size == 0 && !said("initrd"));
    release();
}

TEST(efi_stub, does_without_an_archive_that_it_cannot_load)
{
    static const struct {
        uint64_t claims;
        efi_status_t read, info;
    } cases[] = {{UINT64_MAX, EFI_SUCCESS, EFI_SUCCESS}, {GIB(65), EFI_SUCCESS, EFI_SUCCESS},
                 {13, EFI_SUCCESS, EFI_SUCCESS},         {0, EFI_LOAD_ERROR, EFI_SUCCESS},
                 {0, EFI_SUCCESS, EFI_BUFFER_TOO_SMALL}};
    make_firmware();
    CHECK_EQ(run(), EFI_SUCCESS);
    unsigned pages = fw.pages;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        make_firmware();
        fw.initrd = "seven, eight";
        fw.initrd_claims = cases[i].claims;
        fw.read_status = cases[i].read;
        fw.info_status = cases[i].info;
        CHECK_EQ(run(), EFI_SUCCESS);
        CHECK(said("quire.initrd cannot be read, or there is no memory for it; left out"));
        CHECK(handoff->initrd == 0 && handoff->initrd_size == 0 && fw.files_open == 0);
        CHECK_EQ(fw.pages, pages);
    }
    make_firmware();
    fw.initrd = "archive";
    fw.exit_status = EFI_UNSUPPORTED;
    CHECK_EQ(run(), EFI_UNSUPPORTED);
    CHECK_EQ(fw.pages, 0);
}

TEST(efi_stub, long_lines_are_cut_and_said_to_be)
{
    static char wide[2600];
    memset(wide, 'w', sizeof(wide) - 1);
    make_firmware();
    give_options(wide);
    fw.file = wide;
    CHECK_EQ(run(), EFI_SUCCESS);
    CHECK_EQ(strlen(handoff->cmdline), BOOT_CMDLINE_MAX - 1);
    CHECK(said("it is cut to 2047 characters"));
    for (unsigned length = BOOT_CMDLINE_MAX - 4; length < BOOT_CMDLINE_MAX; length++) {
        make_firmware();
        wide[length] = '\0';
        give_options(wide);
        wide[length] = 'w';
        fw.file = "12345";
        CHECK_EQ(run(), EFI_SUCCESS);
        CHECK_EQ(strlen(handoff->cmdline), BOOT_CMDLINE_MAX - 1);
        CHECK(said("too long with quire.cfg"));
    }
    make_firmware();
    fw.file = "x";
    fw.read_status = EFI_LOAD_ERROR;
    CHECK_EQ(run(), EFI_SUCCESS);
    CHECK(said("quire.cfg cannot be read") && handoff->cmdline[0] == '\0' && fw.files_open == 0);
    make_firmware();
    fw.file = "x";
    fw.no_volume = true;
    CHECK_EQ(run(), EFI_SUCCESS);
    CHECK(handoff->cmdline[0] == '\0');
    release();
}

/* LoadOptions may be anything: no end, an odd size, none where there is a pointer. */
TEST(efi_stub, options_without_an_end)
{
    for (uint32_t size = 0; size < 12; size++) {
        make_firmware();
        uint8_t *exact = malloc(size + 1);
        CHECK(exact != NULL);
        uint8_t *end = exact + 1; /* misaligned, and read past at most into what ASan guards */
        for (uint32_t i = 0; i < size; i++)
            end[i] = i % 2 == 0 ? 'a' : 0;
        fw.loaded.options = end;
        fw.loaded.options_size = size;
        efi_status_t status = run();
        free(exact);
        CHECK_EQ(status, EFI_SUCCESS);
        CHECK(strncmp(handoff->cmdline, "aaaaaa", size / 2) == 0);
        release();
    }
}
