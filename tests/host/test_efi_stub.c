/* SPDX-License-Identifier: MIT
 *
 * The EFI stub against a firmware made here (efi_firmware.h).
 */
#include "efi_firmware.h"
#include "quire_test.h"

#include <stdlib.h>
#include <string.h>

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
    release_firmware();
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
    release_firmware();
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
        release_firmware();
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
    release_firmware();
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
    release_firmware();
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
        release_firmware();
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
    release_firmware();
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

static bool archive_is(const char *content)
{
    return handoff->initrd_size == strlen(content) &&
           memcmp((void *)(uintptr_t)handoff->initrd, content, strlen(content)) == 0;
}

TEST(efi_stub, takes_the_loaders_archive_where_no_file_is)
{
    make_firmware();
    fw.offered = "from the loader";
    CHECK(run() == EFI_SUCCESS);
    CHECK(archive_is("from the loader") && !said("initrd"));
    make_firmware();
    fw.offered = "from the loader";
    fw.initrd = "from the disk";
    CHECK(run() == EFI_SUCCESS);
    CHECK(archive_is("from the disk"));
    make_firmware();
    fw.offered = "";
    CHECK(run() == EFI_SUCCESS);
    CHECK(handoff->initrd == 0 && handoff->initrd_size == 0 && !said("initrd"));
}

TEST(efi_stub, does_without_a_loaders_archive_that_it_cannot_load)
{
    static const struct {
        uint64_t claims;
        efi_status_t status;
        unsigned allocations;
    } cases[] = {
        {0, EFI_NOT_FOUND, UINT32_MAX}, /* no longer there */
        {4000, EFI_SUCCESS, UINT32_MAX}, /* larger when it was asked for */
        {UINT64_MAX, EFI_SUCCESS, UINT32_MAX}, /* no size */
        {0, EFI_SUCCESS, 1},            /* the hand-off takes the last memory */
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        make_firmware();
        fw.offered = "from the loader";
        fw.offered_claims = cases[i].claims;
        fw.offered_status = cases[i].status;
        fw.allocations_left = cases[i].allocations;
        fw.allocate_status = EFI_OUT_OF_RESOURCES;
        bool out_of_memory = cases[i].allocations == 1;
        CHECK((run() == EFI_SUCCESS) == !out_of_memory);
        CHECK(said("the loader's initrd cannot be read, or there is no memory for it; left out"));
        CHECK(out_of_memory ? fw.pages == 0 : handoff->initrd == 0 && handoff->initrd_size == 0);
    }
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
    release_firmware();
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
        release_firmware();
    }
}
