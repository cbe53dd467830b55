/* SPDX-License-Identifier: MIT
 *
 * The reader of ACPI tables on small tables made here, in the suite of the other readers (test_readers.c).
 */
#include "machine_support.h"

#include <string.h>

#define MACHINE (&test_machine)

static void finish_table(uint8_t *table, const char *signature, uint32_t length, uint8_t revision)
{
    uint8_t sum = 0;
    memcpy(table, signature, 4);
    for (unsigned i = 0; i < 4; i++)
        table[4 + i] = (uint8_t)(length >> 8 * i);
    table[8] = revision;
    table[9] = 0;
    for (uint32_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + table[i]);
    table[9] = (uint8_t)-sum;
}

static void put_le(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

/* Two CPUs, ids 0 and 4. */
static uint32_t make_madt(uint8_t *table)
{
    memset(table, 0, 64);
    put_le(table + 36, 0xfee00000, 4);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *cpu = table + 44 + 8 * i;
        cpu[1] = 8;
        cpu[2] = (uint8_t)i;
        cpu[3] = (uint8_t)(4 * i);
        cpu[4] = 1;
    }
    finish_table(table, "APIC", 60, 5);
    return 60;
}

/* CPU 4 and [1 MiB, 2 MiB) in domain 0x101; in revision 1 that means domain 1. */
static uint32_t make_srat(uint8_t *table, uint8_t revision)
{
    memset(table, 0, 128);
    table[49] = 16;
    table[50] = 1;
    table[51] = 4;
    table[52] = 1;
    table[57] = 1;
    table[64] = 1;
    table[65] = 40;
    put_le(table + 66, 0x101, 4);
    put_le(table + 72, MIB(1), 8);
    put_le(table + 80, MIB(1), 8);
    table[92] = 1;
    finish_table(table, "SRAT", 104, revision);
    return 104;
}

static status_t read_tables(const uint8_t *a, uint64_t a_size, const uint8_t *b, uint64_t b_size)
{
    return machine_describe(MACHINE, &(struct machine_sources){.acpi_table_count = b != NULL ? 2 : 1,
                                                               .acpi_table = {a, b},
                                                               .acpi_table_size = {a_size, b_size}});
}

TEST(readers, acpi_joins_cpus_with_their_domains)
{
    static uint8_t madt[64], srat[128];
    for (uint8_t revision = 1; revision <= 3; revision++) {
        uint32_t madt_size = make_madt(madt), srat_size = make_srat(srat, revision);
        CHECK(read_tables(madt, madt_size, srat, srat_size) == OK);
        CHECK_EQ(MACHINE->topo.cpu_count, 2);
        CHECK_EQ(MACHINE->topo.node_count, 1);
        CHECK_EQ(MACHINE->topo.node[0].id, revision <= 1 ? 1 : 0x101);
        CHECK_EQ(MACHINE->topo.node[0].bytes, MIB(1));
        CHECK(MACHINE->platform.cpu_method == CPU_METHOD_APIC);
        CHECK_EQ(MACHINE->platform.lapic, 0xfee00000);
    }
}

TEST(readers, acpi_says_how_psci_is_called_and_which_interrupt_the_timer_has)
{
    static uint8_t fadt[276], gtdt[96];
    static const struct {
        uint16_t flags;
        enum cpu_method method;
    } cases[] = {{0, CPU_METHOD_NONE}, {2, CPU_METHOD_NONE}, {1, CPU_METHOD_PSCI_SMC}, {3, CPU_METHOD_PSCI_HVC}};
    memset(fadt, 0, sizeof(fadt));
    memset(gtdt, 0, sizeof(gtdt));
    put_le(gtdt + 56, 30, 4);
    put_le(gtdt + 64, 27, 4);
    put_le(gtdt + 72, 26, 4);
    finish_table(gtdt, "GTDT", sizeof(gtdt), 2);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        put_le(fadt + 129, cases[i].flags, 2);
        finish_table(fadt, "FACP", sizeof(fadt), 6);
        CHECK(read_tables(fadt, sizeof(fadt), gtdt, sizeof(gtdt)) == OK);
        CHECK_EQ(MACHINE->platform.cpu_method, cases[i].method);
        CHECK_EQ(MACHINE->platform.timer_irq, 27);
    }
    finish_table(gtdt, "GTDT", 67, 2);
    CHECK(read_tables(fadt, sizeof(fadt), gtdt, 67) == OK);
    CHECK_EQ(MACHINE->platform.timer_irq, 0);
    CHECK(machine_noted("acpi: GTDT: at 0x43: the table ends too early"));
}

TEST(readers, acpi_refuses_a_bad_table_and_reads_the_rest)
{
    static uint8_t madt[64], srat[128];
    uint32_t madt_size = make_madt(madt), srat_size = make_srat(srat, 3);
    srat[65] = 0; /* a structure without length: would never end */
    finish_table(srat, "SRAT", srat_size, 3);
    CHECK(read_tables(madt, madt_size, srat, srat_size) == OK);
    CHECK(machine_noted("acpi: SRAT: at 0x40"));
    CHECK_EQ(MACHINE->topo.range_count, 0);
    CHECK_EQ(MACHINE->topo.cpu_count, 2);
    CHECK_EQ(MACHINE->topo.node[0].id, 0x101); /* from the structure before it */
    madt[20] ^= 1;
    CHECK(read_tables(madt, madt_size, NULL, 0) == ERR_CORRUPT);
    CHECK(machine_noted("checksum"));
    madt[20] ^= 1;
    CHECK(read_tables(madt, madt_size - 1, NULL, 0) == ERR_CORRUPT);
    CHECK(machine_noted("length"));
}

TEST(readers, acpi_passes_over_a_structure_too_short_for_its_type)
{
    static uint8_t madt[72];
    make_madt(madt);
    memmove(madt + 48, madt + 44, 16);
    madt[44] = 9; /* x2APIC, of 4 bytes instead of 16 */
    madt[45] = 4;
    finish_table(madt, "APIC", 64, 5);
    CHECK(read_tables(madt, 64, NULL, 0) == OK);
    CHECK(machine_noted("acpi: APIC: at 0x2c: structure of type 9 has length 4; it is left out"));
    CHECK_EQ(MACHINE->topo.cpu_count, 2);
    madt[57] = 9; /* the last CPU ends behind the table */
    finish_table(madt, "APIC", 64, 5);
    CHECK(read_tables(madt, 64, NULL, 0) == OK);
    CHECK(machine_noted("acpi: APIC: at 0x38: structure of type 0 has length 9; the rest is left out"));
    CHECK_EQ(MACHINE->topo.cpu_count, 1);
    finish_table(madt, "APIC", 43, 5);
    CHECK(read_tables(madt, 43, NULL, 0) == ERR_CORRUPT);
    CHECK(machine_noted("the table ends inside its header"));
}

TEST(readers, acpi_slit_gives_distances_or_is_refused)
{
    static const uint8_t good[] = {10, 21, 31, 10}, low[] = {10, 9, 31, 10}, diagonal[] = {10, 21, 31, 11};
    static uint8_t slit[48];
    memset(slit, 0, sizeof(slit));
    slit[36] = 2;
    memcpy(slit + 44, good, 4);
    finish_table(slit, "SLIT", 48, 1);
    CHECK(read_tables(slit, 48, NULL, 0) == OK);
    CHECK_EQ(MACHINE->topo.node_count, 2);
    CHECK_EQ(MACHINE->topo.distance[0][1], 21);
    CHECK_EQ(MACHINE->topo.distance[1][0], 31);
    memcpy(slit + 44, low, 4);
    finish_table(slit, "SLIT", 48, 1);
    CHECK(read_tables(slit, 48, NULL, 0) == ERR_CORRUPT);
    memcpy(slit + 44, diagonal, 4);
    finish_table(slit, "SLIT", 48, 1);
    CHECK(read_tables(slit, 48, NULL, 0) == ERR_CORRUPT);
    memcpy(slit + 44, good, 4);
    put_le(slit + 36, 0x8000000000000001, 8); /* squared, this is 1 modulo 2^64 */
    finish_table(slit, "SLIT", 48, 1);
    CHECK(read_tables(slit, 48, NULL, 0) == ERR_CORRUPT);
    CHECK(machine_noted("acpi: SLIT: at 0x24"));
}

/* Physical memory from 0x1000 on: RSDP, XSDT, MADT. */
static uint8_t memory[512];

static const void *map_memory(void *context, uint64_t address, uint64_t size)
{
    (void)context;
    uint64_t offset = address - 0x1000;
    return address >= 0x1000 && offset <= sizeof(memory) && size <= sizeof(memory) - offset ? memory + offset
                                                                                            : NULL;
}

static void sum_rsdp(void)
{
    uint8_t sum = 0;
    memory[8] = memory[32] = 0;
    for (unsigned i = 0; i < 20; i++)
        sum = (uint8_t)(sum + memory[i]);
    memory[8] = (uint8_t)-sum;
    sum = 0;
    for (unsigned i = 0; i < 36; i++)
        sum = (uint8_t)(sum + memory[i]);
    memory[32] = (uint8_t)-sum;
}

static status_t read_memory(void)
{
    struct machine_sources sources = {.rsdp = 0x1000, .phys = {map_memory, NULL}};
    return machine_describe(MACHINE, &sources);
}

static void fill_memory(void)
{
    memset(memory, 0, sizeof(memory));
    memcpy(memory, "RSD PTR ", 8);
    memory[15] = 2;
    put_le(memory + 20, 36, 4);
    put_le(memory + 24, 0x1040, 8);
    put_le(memory + 0x40 + 36, 0x1040, 8); /* the XSDT itself */
    put_le(memory + 0x40 + 44, 0x9000, 8); /* nothing there */
    put_le(memory + 0x40 + 52, 0x1100, 8);
    finish_table(memory + 0x40, "XSDT", 60, 1);
    make_madt(memory + 0x100);
    sum_rsdp();
}

TEST(readers, acpi_from_the_root_pointer)
{
    fill_memory();
    CHECK(read_memory() == OK);
    CHECK_EQ(MACHINE->topo.cpu_count, 2);
    CHECK(machine_noted("names itself"));
    CHECK(machine_noted("no table can be read at 0x9000"));
    memory[10]++;
    CHECK(read_memory() == ERR_CORRUPT);
    CHECK(machine_noted("acpi: RSDP at 0x1000: the checksum"));
    fill_memory();
    put_le(memory + 24, 0xffffffffffffff00, 8);
    sum_rsdp();
    CHECK(read_memory() == ERR_CORRUPT);
    CHECK(machine_noted("acpi: XSDT at 0xffffffffffffff00: cannot be read"));
}
