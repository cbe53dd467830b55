/* SPDX-License-Identifier: MIT
 *
 * What drivers learn from small device trees: consoles, how CPUs start and which can run this kernel,
 * interrupts. In the suite of the other readers (test_readers.c).
 */
#include "fdt_builder.h"
#include "machine_support.h"

#include <string.h>

#define MACHINE (&test_machine)
#define PLATFORM (&test_machine.platform)

static struct fdt_builder tree;

static void begin_tree(void)
{
    memset(&tree, 0, sizeof(tree));
    fdt_begin(&tree, "");
    fdt_cells(&tree, "#address-cells", 1);
    fdt_cells(&tree, "#size-cells", 1);
}

static status_t read_tree(void)
{
    fdt_end(&tree);
    uint32_t size = fdt_finish(&tree);
    struct machine_sources sources = {.fdt = tree.blob, .fdt_size = size};
    return tree.full ? ERR_FULL : machine_describe(MACHINE, &sources);
}

static void add_uart(const char *name, const char *compatible, uint32_t base, bool available)
{
    fdt_begin(&tree, name);
    fdt_text(&tree, "compatible", compatible);
    fdt_cells(&tree, "reg", base, 0x1000);
    if (!available)
        fdt_text(&tree, "status", "disabled");
    fdt_end(&tree);
}

static void name_console(const char *path)
{
    fdt_begin(&tree, "chosen");
    fdt_text(&tree, "stdout-path", path);
    fdt_end(&tree);
}

TEST(readers, fdt_knows_the_uarts_that_have_drivers)
{
    static const struct {
        const char *compatible;
        enum console_kind kind;
        uint32_t shift, width;
    } cases[] = {
        {"arm,pl011", CONSOLE_PL011, 0, 4},         {"brcm,bcm2835-aux-uart", CONSOLE_BCM2835_AUX, 2, 4},
        {"snps,dw-apb-uart", CONSOLE_DW_APB, 0, 1}, {"ns16550a", CONSOLE_NS16550, 0, 1},
        {"sifive,uart0", CONSOLE_SIFIVE, 0, 4},     {"cdns,uart-r1p12", CONSOLE_CADENCE, 0, 4},
        {"xlnx,xuartps", CONSOLE_CADENCE, 0, 4},    {"vendor,uart", CONSOLE_NONE, 0, 0},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        begin_tree();
        name_console("/uart@1000");
        add_uart("uart@1000", cases[i].compatible, 0x1000, true);
        CHECK(read_tree() == OK);
        CHECK_EQ(PLATFORM->console.kind, cases[i].kind);
        CHECK_EQ(PLATFORM->console.reg_shift, cases[i].shift);
        CHECK_EQ(PLATFORM->console.reg_width, cases[i].width);
        CHECK(!PLATFORM->console.guessed);
    }
}

TEST(readers, fdt_console_without_stdout_path)
{
    for (unsigned alias = 0; alias < 2; alias++) {
        begin_tree();
        if (alias) {
            fdt_begin(&tree, "aliases");
            fdt_text(&tree, "serial0", "/uart@4000");
            fdt_end(&tree);
        }
        add_uart("uart@1000", "sifive,uart0", 0x1000, false);
        add_uart("uart@2000", "vendor,uart", 0x2000, true);
        add_uart("uart@3000", "ns16550a", 0x3000, true);
        add_uart("uart@4000", "arm,pl011", 0x4000, true);
        CHECK(read_tree() == OK);
        CHECK_EQ(PLATFORM->console.base, alias ? 0x4000 : 0x3000);
        CHECK_EQ(PLATFORM->other_console.base, alias ? 0x3000 : 0); /* in case it does not answer */
        CHECK_EQ(PLATFORM->other_console.guessed, alias);
        CHECK_EQ(PLATFORM->console.guessed, !alias);
    }
}

/* What is named but cannot be used gives way to what can. */
TEST(readers, fdt_console_that_no_driver_knows_or_is_disabled)
{
    for (unsigned known = 0; known < 2; known++) {
        begin_tree();
        name_console("/uart@1000");
        add_uart("uart@1000", known ? "ns16550a" : "vendor,uart", 0x1000, !known);
        add_uart("uart@2000", "arm,pl011", 0x2000, true);
        CHECK(read_tree() == OK);
        CHECK_EQ(PLATFORM->console.base, 0x2000);
        CHECK(PLATFORM->console.guessed);
    }
}

static void begin_cpu(uint32_t id, const char *compatible)
{
    fdt_begin(&tree, "cpu");
    fdt_text(&tree, "device_type", "cpu");
    fdt_text(&tree, "compatible", compatible);
    fdt_cells(&tree, "reg", id);
}

static void begin_cpus(void)
{
    begin_tree();
    fdt_begin(&tree, "cpus");
    fdt_cells(&tree, "#address-cells", 1);
    fdt_cells(&tree, "#size-cells", 0);
}

TEST(readers, fdt_each_cpu_has_its_own_way_to_start)
{
    begin_cpus();
    for (uint32_t i = 0; i < 4; i++) {
        begin_cpu(i, "arm,cortex-a53");
        fdt_text(&tree, "enable-method", i == 3 ? "psci" : "spin-table");
        if (i != 2)
            fdt_cells(&tree, "cpu-release-addr", i, 0xd8 + 8 * i);
        fdt_end(&tree);
    }
    fdt_end(&tree);
    CHECK(read_tree() == OK);
    CHECK_EQ(PLATFORM->release[0], 0xd8);
    CHECK_EQ(PLATFORM->release[1], 0x1000000e0);
    CHECK_EQ(PLATFORM->release[2], 0); /* without an address: by whatever else there is */
    CHECK_EQ(PLATFORM->release[3], 0);
}

/* What is said once in /cpus holds for each that does not say other; the words are the firmware's. */
TEST(readers, fdt_cpus_with_properties_in_common)
{
    begin_cpus();
    fdt_text(&tree, "enable-method", "spin-table");
    fdt_cells(&tree, "cpu-release-addr", 0, 0x40001008);
    for (uint32_t i = 0; i < 3; i++) {
        begin_cpu(i, "arm,cortex-a53");
        if (i == 1)
            fdt_cells(&tree, "cpu-release-addr", 0, 0x40003ff8);
        if (i == 2)
            fdt_text(&tree, "enable-method", "psci");
        fdt_end(&tree);
    }
    fdt_end(&tree);
    CHECK(read_tree() == OK);
    CHECK_EQ(PLATFORM->release[0], 0x40001008);
    CHECK_EQ(PLATFORM->release[1], 0x40003ff8);
    CHECK_EQ(PLATFORM->release[2], 0);
    CHECK_EQ(MACHINE->map.claim_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const struct mem_region *region = memmap_find(&MACHINE->map, paddr(PLATFORM->release[i]));
        CHECK(region != NULL && region->type == MEM_RESERVED);
    }
}

/* A disabled CPU waits for its enable-method, a broken one for nobody; RISC-V's belong to others. */
TEST(readers, fdt_disabled_cpus_are_started_by_their_method)
{
    static const struct {
        const char *compatible, *status, *method, *all_status;
        bool enabled;
    } cases[] = {
        {"arm,cortex-a53", "disabled", "psci", NULL, true},
        {"arm,cortex-a53", "disabled", NULL, NULL, false},
        {"arm,cortex-a53", "fail", "psci", NULL, false},
        {"arm,cortex-a53", "okay", NULL, NULL, true},
        {"arm,cortex-a53", "disabled", "psci", "disabled", false},
        {"riscv", "disabled", "psci", NULL, false},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        begin_cpus();
        if (cases[i].all_status != NULL)
            fdt_text(&tree, "status", cases[i].all_status);
        begin_cpu(0, cases[i].compatible);
        fdt_text(&tree, "status", cases[i].status);
        if (cases[i].method != NULL)
            fdt_text(&tree, "enable-method", cases[i].method);
        fdt_end(&tree);
        fdt_end(&tree);
        CHECK(read_tree() == OK);
        CHECK_EQ(MACHINE->topo.cpu[0].enabled, cases[i].enabled);
    }
}

/* Only where some hart says what MMU it has does silence mean none. */
TEST(readers, fdt_harts_without_an_mmu_stay_off)
{
    static const char *const types[] = {NULL, "riscv,sv39", "riscv,none"};
    for (unsigned said = 0; said < 2; said++) {
        begin_cpus();
        for (uint32_t i = 0; i < 3; i++) {
            begin_cpu(i, "riscv");
            if (said && types[i] != NULL)
                fdt_text(&tree, "mmu-type", types[i]);
            fdt_end(&tree);
        }
        fdt_end(&tree);
        CHECK(read_tree() == OK);
        CHECK_EQ(MACHINE->topo.cpu_count, 3);
        for (uint32_t i = 0; i < 3; i++)
            CHECK_EQ(MACHINE->topo.cpu[i].enabled, !said || i == 1);
    }
}

static void add_controller(const char *compatible, uint32_t interrupt_cells)
{
    fdt_begin(&tree, "controller");
    fdt_text(&tree, "compatible", compatible);
    fdt_cells(&tree, "#interrupt-cells", interrupt_cells);
    fdt_cells(&tree, "reg", 0x40000000, 0x100, 0x50000000, 0x100);
    fdt_end(&tree);
}

/* A BCM2711 has both; the GIC counts then, whichever comes first. */
TEST(readers, fdt_timer_of_a_gic_and_of_a_bcm2836)
{
    static const char *const names[] = {"brcm,bcm2836-l1-intc", "arm,gic-400"};
    static const struct {
        int first, second; /* index of names, or -1 */
    } cases[] = {{0, -1}, {1, -1}, {0, 1}, {1, 0}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        bool gic = i > 0;
        begin_tree();
        fdt_begin(&tree, "timer");
        fdt_text(&tree, "compatible", gic ? "arm,armv8-timer" : "arm,armv7-timer");
        if (gic)
            fdt_cells(&tree, "interrupts", 1, 13, 4, 1, 14, 4, 1, 11, 4);
        else
            fdt_cells(&tree, "interrupts", 0, 4, 1, 4, 3, 4, 2, 4);
        fdt_end(&tree);
        add_controller(names[cases[i].first], cases[i].first == 1 ? 3 : 2);
        if (cases[i].second >= 0)
            add_controller(names[cases[i].second], cases[i].second == 1 ? 3 : 2);
        CHECK(read_tree() == OK);
        CHECK_EQ(PLATFORM->timer_irq, gic ? 27 : 19);
        CHECK_EQ(PLATFORM->gic_version, gic ? 2 : 0);
        CHECK_EQ(PLATFORM->bcm2836, i == 1 ? 0 : 0x40000000);
    }
}

TEST(readers, fdt_the_older_controller_beside_a_bcm2836)
{
    begin_tree();
    add_controller("brcm,bcm2836-armctrl-ic", 2);
    CHECK(read_tree() == OK);
    CHECK(PLATFORM->bcm2836_devices == 0x40000000 && PLATFORM->bcm2836 == 0 && PLATFORM->gic_version == 0);
}

/* A number that does not fit is none, not its lower half. */
TEST(readers, fdt_uart_with_numbers_beyond_32_bits)
{
    begin_tree();
    name_console("/uart@1000");
    fdt_begin(&tree, "uart@1000");
    fdt_text(&tree, "compatible", "ns16550a");
    fdt_cells(&tree, "reg", 0x1000, 0x1000);
    fdt_cells(&tree, "current-speed", 1, 115200);
    fdt_cells(&tree, "clock-frequency", 0, 24000000);
    fdt_end(&tree);
    CHECK(read_tree() == OK);
    CHECK_EQ(PLATFORM->console.baud, 0);
    CHECK_EQ(PLATFORM->console.clock, 24000000);
}
