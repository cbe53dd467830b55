/* SPDX-License-Identifier: MIT
 *
 * The readers of firmware tables on small tables made here. tests/test_inspect.py and the corpus have the
 * large ones; these run inside the kernel as well.
 */
#include "fdt_builder.h"
#include "machine_support.h"

#include <string.h>

#define MACHINE (&test_machine)

static uint64_t usable(void)
{
    return memmap_bytes(&MACHINE->map, MEM_USABLE, UINT64_MAX);
}

/* ---- Notes -------------------------------------------------------------------------------------------- */

TEST(readers, notes_are_kept_in_order_and_printable)
{
    machine_clear();
    note(&MACHINE->notes, "first %u", 1u);
    note(&MACHINE->notes, "tab\there");
    const char *line = note_next(&MACHINE->notes, NULL);
    CHECK(strcmp(line, "first 1") == 0);
    line = note_next(&MACHINE->notes, line);
    CHECK(strcmp(line, "tab?here") == 0);
    CHECK(note_next(&MACHINE->notes, line) == NULL);
}

TEST(readers, equal_notes_are_kept_once_and_none_is_cut)
{
    static char wide[3000];
    machine_clear();
    memset(wide, 'w', sizeof(wide) - 1);
    for (unsigned i = 0; i < 1000; i++)
        note(&MACHINE->notes, "node %u is left out", i % 2);
    CHECK_EQ(MACHINE->notes.count, 2);
    for (unsigned i = 0; i < 4; i++)
        note(&MACHINE->notes, "%u%s", i, wide);
    CHECK_EQ(MACHINE->notes.count, 4);
    CHECK_EQ(MACHINE->notes.dropped, 2);
    note(&MACHINE->notes, "short");
    note_final(&MACHINE->notes, "no usable memory");
    CHECK(machine_noted("short") && machine_noted("no usable memory"));
    CHECK_EQ(MACHINE->notes.used, 2 * 19 + 2 * 3001 + 6 + 17);
}

TEST(readers, notes_leave_room_for_the_last_word)
{
    machine_clear();
    for (unsigned i = 0; i < 1000; i++)
        note(&MACHINE->notes, "this is line %u of very many that a hostile table provokes", i);
    CHECK(MACHINE->notes.dropped > 0);
    CHECK_EQ(MACHINE->notes.count + MACHINE->notes.dropped, 1000);
    note_final(&MACHINE->notes, "the end");
    CHECK(machine_noted("the end"));
    /* Short lines until not even an empty one fits. */
    for (unsigned i = 0; i < NOTES_BYTES; i++) {
        note(&MACHINE->notes, "x");
        note_final(&MACHINE->notes, "%s", i % 2 == 0 ? "" : "y");
        CHECK(MACHINE->notes.used <= NOTES_BYTES);
    }
    CHECK_EQ(MACHINE->notes.text[MACHINE->notes.used - 1], 0);
    CHECK(MACHINE->notes.used >= NOTES_BYTES - 1);
}

/* ---- e820 --------------------------------------------------------------------------------------------- */

TEST(readers, e820_settles_overlaps_and_leaves_nonsense_out)
{
    static const struct e820_entry entries[] = {
        {0x100000, 0x700000, 1}, {0, 0x9fc00, 1}, {0x200000, 0x100000, 2}, {0x280000, 0x100000, 4},
        {0xb00000, 0x1000, 5},   {0x50000, 0, 1}, {~0xfffull, 0x2000, 1},  {0x900000, 0x1000, 99},
        {0xa00000, 0x1000, 7},   {0x900000, 0x2000, 0xefffffff},
    };
    struct machine_sources sources = {.e820 = entries, .e820_count = ARRAY_LEN(entries)};
    CHECK(machine_describe(MACHINE, &sources) == OK);
    CHECK_EQ(usable(), 0x9fc00 + 0x700000 - 0x180000);
    CHECK(memmap_find(&MACHINE->map, paddr(0x2fffff))->type == MEM_ACPI_NVS);
    CHECK(memmap_find(&MACHINE->map, paddr(0x900000))->type == MEM_RESERVED);
    CHECK(memmap_find(&MACHINE->map, paddr(0x901000))->type == MEM_SPECIFIC);
    CHECK(memmap_find(&MACHINE->map, paddr(0xa00000))->type == MEM_PERSISTENT);
    CHECK(memmap_find(&MACHINE->map, paddr(0xb00000))->type == MEM_BAD);
    CHECK(machine_noted("e820: entry 5 at 0x50000 is empty"));
    CHECK(machine_noted("e820: entry 0x6"));
    CHECK_EQ(MACHINE->notes.count, 2);
    CHECK_EQ(MACHINE->limits.dma_end, MIB(16));
    CHECK(machine_check() == NULL);
}

TEST(readers, e820_with_too_many_ranges_loses_memory_but_no_reservation)
{
    static struct e820_entry entries[MEMMAP_MAX_CLAIMS + 1];
    const uint32_t usable_max = MEMMAP_MAX_CLAIMS - 64;
    struct machine_sources sources = {.e820 = entries, .e820_count = ARRAY_LEN(entries)};
    for (unsigned i = 0; i < ARRAY_LEN(entries); i++)
        entries[i] = (struct e820_entry){0x2000 * (uint64_t)i, 0x1000, 1};
    entries[ARRAY_LEN(entries) - 1] = (struct e820_entry){0, 0x1000, 2};
    CHECK(machine_describe(MACHINE, &sources) == OK);
    CHECK_EQ(MACHINE->map.claim_count, usable_max + 1);
    CHECK_EQ(usable(), (usable_max - 1) * 0x1000);
    CHECK(machine_noted("memory map: more than 960 ranges; further usable memory is left out"));
    CHECK_EQ(MACHINE->notes.count, 1);
    for (unsigned i = 0; i < ARRAY_LEN(entries); i++)
        entries[i].type = 2;
    CHECK(machine_describe(MACHINE, &sources) == ERR_FULL);
    CHECK(machine_noted("more than 1024 memory ranges"));
}

/* ---- EFI ---------------------------------------------------------------------------------------------- */

static void efi_entry(uint64_t *map, unsigned i, uint32_t type, uint64_t start, uint64_t pages,
                      uint64_t attributes)
{
    uint64_t *entry = map + 6 * i;
    entry[0] = type;
    entry[1] = start;
    entry[2] = 0;
    entry[3] = pages;
    entry[4] = attributes;
    entry[5] = 0;
}

TEST(readers, efi_frees_what_the_boot_services_held)
{
    static uint64_t map[6 * 8];
    efi_entry(map, 0, 7, 0x1000, 1, 0xf);
    efi_entry(map, 1, 4, 0x2000, 1, 0xf);      /* boot services: free, and one run with the first */
    efi_entry(map, 2, 6, 0x3000, 1, 0xf);      /* runtime services */
    efi_entry(map, 3, 7, 0x4000, 1, 0x1);      /* not cacheable */
    efi_entry(map, 4, 7, 0x5000, 1, 0x4000f);  /* specific purpose */
    efi_entry(map, 5, 7, 0x6000, 1ull << 52, 0xf);
    efi_entry(map, 6, 9, 0x7000, 1, 0xf);
    efi_entry(map, 7, 11, 0x8000, 1, 0x1);
    struct machine_sources sources = {.efi_map = map, .efi_map_size = sizeof(map), .efi_desc_size = 48};
    CHECK(machine_describe(MACHINE, &sources) == OK);
    CHECK_EQ(usable(), 0x2000);
    CHECK_EQ(MACHINE->map.claim_count, 6);
    CHECK(memmap_find(&MACHINE->map, paddr(0x3000))->type == MEM_FIRMWARE);
    CHECK(memmap_find(&MACHINE->map, paddr(0x4000))->type == MEM_RESERVED);
    CHECK(memmap_find(&MACHINE->map, paddr(0x5000))->type == MEM_SPECIFIC);
    CHECK(memmap_find(&MACHINE->map, paddr(0x7000))->type == MEM_ACPI_RECLAIM);
    CHECK(memmap_find(&MACHINE->map, paddr(0x8000))->type == MEM_MMIO);
    CHECK(machine_noted("efi: descriptor 5"));
}

TEST(readers, efi_refuses_impossible_shapes)
{
    static uint64_t map[12];
    static const struct {
        uint64_t size;
        uint32_t desc_size;
    } shapes[] = {{96, 0}, {96, 8}, {96, 44}, {95, 48}};
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        struct machine_sources sources = {
            .efi_map = map, .efi_map_size = shapes[i].size, .efi_desc_size = shapes[i].desc_size};
        CHECK(machine_describe(MACHINE, &sources) == ERR_CORRUPT);
        CHECK(machine_noted("efi: "));
    }
}

/* ---- Device tree -------------------------------------------------------------------------------------- */

static struct fdt_builder tree;

static void begin_tree(void)
{
    memset(&tree, 0, sizeof(tree));
    fdt_begin(&tree, "");
    fdt_cells(&tree, "#address-cells", 2);
    fdt_cells(&tree, "#size-cells", 2);
}

static void add_memory(uint32_t start, uint32_t size, uint32_t node)
{
    fdt_begin(&tree, "memory");
    fdt_text(&tree, "device_type", "memory");
    fdt_cells(&tree, "reg", 0, start, 0, size);
    fdt_cells(&tree, "numa-node-id", node);
    fdt_end(&tree);
}

static status_t read_tree(void)
{
    fdt_end(&tree);
    uint32_t size = fdt_finish(&tree);
    return tree.full
               ? ERR_FULL
               : machine_describe(MACHINE, &(struct machine_sources){.fdt = tree.blob, .fdt_size = size});
}

TEST(readers, fdt_memory_minus_reservations)
{
    begin_tree();
    tree.reserve_start = 0x80000000;
    tree.reserve_size = 0x1000;
    add_memory(0x80000000, 0x1000000, 5);
    add_memory(0x90000000, 0x1000000, 2);
    fdt_begin(&tree, "reserved-memory");
    fdt_cells(&tree, "#address-cells", 2);
    fdt_cells(&tree, "#size-cells", 2);
    fdt_begin(&tree, "keep@80100000");
    fdt_cells(&tree, "reg", 0, 0x80100000, 0, 0x2000);
    fdt_text(&tree, "no-map", "");
    fdt_end(&tree);
    fdt_begin(&tree, "off@80200000");
    fdt_cells(&tree, "reg", 0, 0x80200000, 0, 0x2000);
    fdt_text(&tree, "status", "disabled");
    fdt_end(&tree);
    fdt_begin(&tree, "pool");
    fdt_cells(&tree, "size", 0, 0x4000);
    fdt_end(&tree);
    fdt_end(&tree);
    CHECK(read_tree() == OK);
    CHECK_EQ(usable(), 0x2000000 - 0x1000 - 0x2000);
    CHECK(memmap_find(&MACHINE->map, paddr(0x80100000))->type == MEM_NOMAP);
    CHECK_EQ(MACHINE->dynamic_count, 1);
    CHECK_EQ(MACHINE->dynamic[0].size, 0x4000);
    CHECK_EQ(MACHINE->topo.node[0].id, 2);
    CHECK_EQ(memmap_find(&MACHINE->map, paddr(0x80200000))->node, 1);
    CHECK_EQ(MACHINE->notes.count, 0);
    CHECK(machine_check() == NULL);
}

TEST(readers, fdt_names_the_boot_hart_or_does_not)
{
    for (unsigned said = 0; said < 2; said++) {
        begin_tree();
        fdt_begin(&tree, "chosen");
        if (said)
            fdt_cells(&tree, "boot-hartid", 3);
        fdt_end(&tree);
        CHECK(read_tree() == OK);
        CHECK_EQ(MACHINE->boot_cpu, said ? 3 : BOOT_CPU_UNKNOWN);
    }
}

TEST(readers, fdt_ranges_that_are_empty_or_too_wide)
{
    begin_tree();
    fdt_begin(&tree, "memory");
    fdt_text(&tree, "device_type", "memory");
    uint32_t cells[4 * 4] = {0};
    cells[4 * 3 + 1] = 0x80000000;
    cells[4 * 3 + 3] = 0x100000;
    fdt_cells_(&tree, "reg", cells, ARRAY_LEN(cells));
    fdt_end(&tree);
    fdt_begin(&tree, "reserved-memory");
    fdt_cells(&tree, "#address-cells", 1);
    fdt_cells(&tree, "#size-cells", 3);
    fdt_begin(&tree, "wide");
    fdt_cells(&tree, "reg", 0x80080000, 1, 0, 0, 0x80000000, 0, 0, 0x1000);
    fdt_end(&tree);
    fdt_begin(&tree, "pool");
    fdt_cells(&tree, "size", 0x4000);
    fdt_cells(&tree, "alloc-ranges", 0x80000000, 0, 0, 0x1000, 0x80040000, 0, 0, 0x1000);
    fdt_end(&tree);
    fdt_end(&tree);
    CHECK(read_tree() == OK);
    CHECK_EQ(MACHINE->map.claim_count, 3);
    CHECK_EQ(usable(), 0x80000 - 0x1000);
    CHECK(machine_noted("needs more than 64 bits; cut at the end"));
    CHECK(machine_noted("the first of 2 alloc-ranges counts"));
    CHECK_EQ(MACHINE->dynamic[0].range_end, 0x80001000);
}

TEST(readers, fdt_cpus_and_distances)
{
    begin_tree();
    add_memory(0x80000000, 0x1000000, 0);
    add_memory(0x90000000, 0x1000000, 1);
    fdt_begin(&tree, "cpus");
    fdt_cells(&tree, "#address-cells", 1);
    fdt_cells(&tree, "#size-cells", 0);
    fdt_cells(&tree, "timebase-frequency", 10000000);
    for (uint32_t i = 0; i < 3; i++) {
        fdt_begin(&tree, "cpu");
        fdt_text(&tree, "device_type", "cpu");
        fdt_text(&tree, "compatible", "riscv");
        fdt_text(&tree, "status", i == 0 ? "disabled" : "okay");
        fdt_cells(&tree, "reg", 7 * i);
        fdt_cells(&tree, "numa-node-id", i / 2);
        fdt_end(&tree);
    }
    fdt_end(&tree);
    fdt_begin(&tree, "distance-map");
    fdt_text(&tree, "compatible", "numa-distance-map-v1");
    fdt_cells(&tree, "distance-matrix", 0, 0, 10, 0, 1, 33);
    fdt_end(&tree);
    CHECK(read_tree() == OK);
    CHECK_EQ(MACHINE->topo.cpu_count, 3);
    CHECK(!MACHINE->topo.cpu[0].enabled && MACHINE->topo.cpu[2].enabled);
    CHECK_EQ(MACHINE->topo.cpu[2].hw_id, 14);
    CHECK_EQ(MACHINE->topo.cpu[2].node, 1);
    CHECK_EQ(MACHINE->topo.distance[0][1], 33);
    CHECK_EQ(MACHINE->topo.distance[1][0], 33);
    CHECK_EQ(MACHINE->platform.timebase_hz, 10000000);
    CHECK(MACHINE->platform.cpu_method == CPU_METHOD_SBI);
}

TEST(readers, fdt_distances_are_held_to_the_rules_of_a_slit)
{
    begin_tree();
    fdt_begin(&tree, "distance-map"); /* before the nodes it speaks of */
    fdt_text(&tree, "compatible", "numa-distance-map-v1");
    fdt_cells(&tree, "distance-matrix", 0, 0, 30, 0, 7, 20, 1, 0, 9, 0, 2, 44, 1, 1, 10);
    fdt_end(&tree);
    for (uint32_t i = 0; i < 3; i++)
        add_memory(0x80000000 + 0x10000000 * i, 0x1000000, i);
    CHECK(read_tree() == OK);
    CHECK_EQ(MACHINE->topo.node_count, 3);
    CHECK_EQ(MACHINE->topo.distance[0][0], DISTANCE_LOCAL);
    CHECK_EQ(MACHINE->topo.distance[1][0], DISTANCE_REMOTE);
    CHECK_EQ(MACHINE->topo.distance[2][0], 44);
    CHECK(machine_noted("distance-matrix: 3 of 5 entries, from entry 0 on"));
    CHECK_EQ(MACHINE->notes.count, 1);
}

TEST(readers, fdt_console_through_an_alias_and_a_bus)
{
    begin_tree();
    fdt_begin(&tree, "aliases");
    fdt_text(&tree, "serial0", "/soc/uart@100");
    fdt_end(&tree);
    fdt_begin(&tree, "chosen");
    fdt_text(&tree, "stdout-path", "serial0:115200n8");
    fdt_text(&tree, "bootargs", "cpus=1");
    fdt_end(&tree);
    fdt_begin(&tree, "soc");
    fdt_cells(&tree, "#address-cells", 1);
    fdt_cells(&tree, "#size-cells", 1);
    fdt_cells(&tree, "ranges", 0x0, 0x1, 0x10000000, 0x1000);
    fdt_cells(&tree, "dma-ranges", 0x0, 0x0, 0x0, 0x40000000);
    fdt_begin(&tree, "uart@100");
    fdt_text(&tree, "compatible", "arm,pl011");
    fdt_cells(&tree, "reg", 0x100, 0x100);
    fdt_end(&tree);
    fdt_end(&tree);
    CHECK(read_tree() == OK);
    CHECK(MACHINE->platform.console.kind == CONSOLE_PL011);
    CHECK_EQ(MACHINE->platform.console.base, 0x110000100);
    CHECK(strcmp(MACHINE->bootargs, "cpus=1") == 0);
    CHECK_EQ(MACHINE->limits.dma_end, GIB(1));
}

TEST(readers, fdt_alias_that_names_itself_ends)
{
    begin_tree();
    fdt_begin(&tree, "aliases");
    fdt_text(&tree, "serial0", "serial0");
    fdt_end(&tree);
    fdt_begin(&tree, "chosen");
    fdt_text(&tree, "stdout-path", "serial0");
    fdt_end(&tree);
    CHECK(read_tree() == OK);
    CHECK(MACHINE->platform.console.kind == CONSOLE_NONE);
}

TEST(readers, fdt_cut_anywhere_is_refused_or_read)
{
    begin_tree();
    add_memory(0x80000000, 0x1000000, 0);
    CHECK(read_tree() == OK);
    uint64_t whole = usable();
    uint32_t size = fdt_finish(&tree);
    for (uint32_t cut = 0; cut < size; cut++) {
        struct machine_sources sources = {.fdt = tree.blob, .fdt_size = cut};
        CHECK(machine_describe(MACHINE, &sources) == ERR_CORRUPT);
    }
    /* With one word after the other made huge: refused, or no more memory than before. */
    for (uint32_t at = 0; at + 4 <= size; at += 4) {
        uint8_t saved[4];
        memcpy(saved, tree.blob + at, 4);
        memset(tree.blob + at, 0xff, 4);
        struct machine_sources sources = {.fdt = tree.blob, .fdt_size = size};
        if (machine_describe(MACHINE, &sources) == OK)
            CHECK(machine_check() == NULL && usable() <= (whole | 0xffffffff00000000));
        memcpy(tree.blob + at, saved, 4);
    }
}

/* ---- Order of trust ------------------------------------------------------------------------------------ */

TEST(readers, what_stands_in_for_a_source_that_cannot_be_read)
{
    static const struct e820_entry entry = {0x100000, 0x100000, 1};
    static uint64_t junk[8];
    struct machine_sources sources = {.fdt = junk, .fdt_size = sizeof(junk), .e820 = &entry, .e820_count = 1};
    CHECK(machine_describe(MACHINE, &sources) == OK);
    CHECK(machine_noted("fdt: at 0x0: no device tree magic"));
    sources.e820 = NULL;
    CHECK(machine_describe(MACHINE, &sources) == ERR_CORRUPT);
    sources.fdt = NULL;
    CHECK(machine_describe(MACHINE, &sources) == OK);
    CHECK_EQ(usable(), 0);
    sources.efi_map = junk;
    sources.efi_map_size = 1;
    sources.efi_desc_size = 48;
    CHECK(machine_describe(MACHINE, &sources) == ERR_CORRUPT);
    sources.e820 = &entry;
    CHECK(machine_describe(MACHINE, &sources) == OK);
    CHECK_EQ(usable(), 0x100000);
}
