/* SPDX-License-Identifier: MIT
 *
 * What drivers want from the device tree: the console that /chosen names, the interrupt controller, the
 * timer, how CPUs are started, the emulator's exit device, and how far the narrowest DMA master reaches.
 * Registers are given as their bus sees them and translated through every bus above.
 */
#include "reader.h"

#include <mm/bits.h>
#include <string.h>

/* ---- /chosen ------------------------------------------------------------------------------------------ */

/* stdout-path is a path or an alias, then optionally ":" and options. */
static int find_console(const void *fdt, int chosen)
{
    const char *path = fdt_prop_text(fdt, chosen, "stdout-path");
    if (path == NULL)
        path = fdt_prop_text(fdt, chosen, "linux,stdout-path");
    if (path == NULL)
        return -1;
    const char *options = strchr(path, ':');
    int length = (int)(options != NULL ? (size_t)(options - path) : strlen(path));
    if (path[0] != '/') {
        int aliases = fdt_subnode_offset(fdt, 0, "aliases"), size;
        if (aliases < 0)
            return -1;
        path = fdt_getprop_namelen(fdt, aliases, path, length, &size);
        if (path == NULL || size < 2 || path[size - 1] != '\0' || path[0] != '/')
            return -1;
        length = (int)strlen(path);
    }
    return fdt_path_offset_namelen(fdt, path, length);
}

void fdt_chosen(struct fdt_walk *walk, int chosen)
{
    struct machine *machine = walk->machine;
    const char *bootargs = fdt_prop_text(walk->fdt, chosen, "bootargs");
    if (bootargs != NULL) {
        size_t kept = strnlen(bootargs, sizeof(machine->bootargs) - 1);
        memcpy(machine->bootargs, bootargs, kept);
        if (bootargs[kept] != '\0')
            note(&machine->notes, "fdt: at 0x%x: bootargs are cut to %u bytes",
                 fdt_offset_in_blob(walk->fdt, chosen), (unsigned)kept);
    }
    uint64_t start, end, hart;
    if (fdt_prop_number(walk->fdt, chosen, "boot-hartid", &hart))
        machine->boot_cpu = hart;
    if (fdt_prop_number(walk->fdt, chosen, "linux,initrd-start", &start) &&
        fdt_prop_number(walk->fdt, chosen, "linux,initrd-end", &end) && start < end) {
        machine->initrd_start = start;
        machine->initrd_end = end;
    }
    walk->console = find_console(walk->fdt, chosen);
}

/* ---- Devices ------------------------------------------------------------------------------------------ */

/* Registers `index` of the node looked at, as the CPU addresses them. */
static bool registers(const struct fdt_walk *walk, int index, uint64_t *base, uint64_t *size)
{
    struct fdt_ranges reg = fdt_ranges(walk, "reg");
    return index < reg.count && fdt_range(&reg, index, base, size) &&
           fdt_translate(walk, walk->depth - 1, "ranges", base);
}

static uint32_t option(const struct fdt_walk *walk, const char *name, uint32_t unsaid)
{
    uint64_t number;
    return fdt_prop_number(walk->fdt, fdt_here(walk)->node, name, &number) ? (uint32_t)number : unsaid;
}

static void read_console(struct fdt_walk *walk)
{
    static const char *const pl011[] = {"arm,pl011", "arm,sbsa-uart", NULL};
    static const char *const ns16550[] = {"ns16550a", "ns16550", "snps,dw-apb-uart", "ns16750", NULL};
    int node = fdt_here(walk)->node;
    struct console_desc console = {
        .reg_shift = option(walk, "reg-shift", 0),
        .reg_width = option(walk, "reg-io-width", 1),
        .clock = option(walk, "clock-frequency", 0),
        .baud = option(walk, "current-speed", 0),
    };
    if (fdt_is_compatible(walk->fdt, node, pl011)) {
        console.kind = CONSOLE_PL011;
        console.reg_width = 4;
    } else if (fdt_is_compatible(walk->fdt, node, ns16550)) {
        console.kind = CONSOLE_NS16550;
    } else {
        return; /* a part that no driver here knows */
    }
    uint64_t size;
    if (console.reg_shift > 4 || console.reg_width > 4 || !is_power_of_two(console.reg_width) ||
        !registers(walk, 0, &console.base, &size))
        note(&walk->machine->notes, "fdt: at 0x%x: the console's registers make no sense",
             fdt_offset_in_blob(walk->fdt, node));
    else
        walk->machine->platform.console = console;
}

static void read_gic(struct fdt_walk *walk, uint32_t version)
{
    struct platform *platform = &walk->machine->platform;
    uint64_t dist, dist_size, cpu, cpu_size;
    if (!registers(walk, 0, &dist, &dist_size) || !registers(walk, 1, &cpu, &cpu_size)) {
        note(&walk->machine->notes, "fdt: at 0x%x: the GIC's registers make no sense",
             fdt_offset_in_blob(walk->fdt, fdt_here(walk)->node));
        return;
    }
    platform->gic_version = version;
    platform->gic_dist = dist;
    platform->gic_cpu = cpu;
    platform->gic_cpu_size = cpu_size;
    walk->interrupt_cells = option(walk, "#interrupt-cells", 3);
}

static void read_psci(struct fdt_walk *walk)
{
    const char *method = fdt_prop_text(walk->fdt, fdt_here(walk)->node, "method");
    if (method != NULL && strcmp(method, "hvc") == 0)
        walk->machine->platform.cpu_method = CPU_METHOD_PSCI_HVC;
    else if (method != NULL && strcmp(method, "smc") == 0)
        walk->machine->platform.cpu_method = CPU_METHOD_PSCI_SMC;
}

void fdt_device(struct fdt_walk *walk)
{
    static const char *const gic_v2[] = {"arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic",
                                         "arm,cortex-a9-gic", "qcom,msm-qgic2", NULL};
    static const char *const gic_v3[] = {"arm,gic-v3", NULL};
    static const char *const psci[] = {"arm,psci-1.0", "arm,psci-0.2", NULL};
    static const char *const timer[] = {"arm,armv8-timer", NULL};
    static const char *const exit_device[] = {"sifive,test0", "sifive,test1", NULL};
    int node = fdt_here(walk)->node;
    uint64_t base, size;
    if (node == walk->console)
        read_console(walk);
    else if (fdt_getprop(walk->fdt, node, "compatible", NULL) == NULL)
        return;
    else if (fdt_is_compatible(walk->fdt, node, gic_v3))
        read_gic(walk, 3);
    else if (fdt_is_compatible(walk->fdt, node, gic_v2))
        read_gic(walk, 2);
    else if (fdt_is_compatible(walk->fdt, node, psci))
        read_psci(walk);
    else if (fdt_is_compatible(walk->fdt, node, timer))
        walk->timer = fdt_getprop(walk->fdt, node, "interrupts", &walk->timer_length);
    else if (fdt_is_compatible(walk->fdt, node, exit_device) && registers(walk, 0, &base, &size))
        walk->machine->platform.sifive_test = base;
}

/* The architected timer lists secure, non-secure, virtual and hypervisor interrupts as (0 shared or 1
 * private, number, flags); ids of private ones start at 16, of shared ones at 32. */
void fdt_finish_platform(struct fdt_walk *walk)
{
    const unsigned virtual_timer = 2;
    uint32_t cells = walk->interrupt_cells;
    if (walk->timer == NULL || cells < 3 || cells > 4 ||
        (uint32_t)walk->timer_length / 4 < (virtual_timer + 1) * cells)
        return;
    const fdt32_t *entry = walk->timer + virtual_timer * cells;
    bool private = fdt32_to_cpu(entry[0]) == 1;
    uint32_t number = fdt32_to_cpu(entry[1]);
    if (number < (private ? 16u : 988u))
        walk->machine->platform.timer_irq = number + (private ? 16 : 32);
}

/* ---- DMA ---------------------------------------------------------------------------------------------- */

/* The end of what a bus's devices reach, in CPU addresses; 0 if nothing of it can be translated. */
static uint64_t dma_reach(const struct fdt_walk *walk, const fdt32_t *value, int count, int parent_cells)
{
    const struct fdt_level *here = fdt_here(walk);
    int cells = here->address_cells + parent_cells + here->size_cells;
    uint64_t reach = 0;
    for (int i = 0; i < count; i++, value += cells) {
        uint64_t base, size, end;
        if (fdt_number(value + here->address_cells, parent_cells, &base) &&
            fdt_number(value + here->address_cells + parent_cells, here->size_cells, &size) &&
            fdt_translate(walk, walk->depth - 1, "dma-ranges", &base))
            reach = max_u64(reach, __builtin_add_overflow(base, size, &end) ? UINT64_MAX : end);
    }
    return reach;
}

void fdt_dma_ranges(struct fdt_walk *walk)
{
    const struct fdt_level *here = fdt_here(walk);
    struct zone_limits *limits = &walk->machine->limits;
    int length, parent_cells = fdt_parent(walk)->address_cells;
    const fdt32_t *value = fdt_getprop(walk->fdt, here->node, "dma-ranges", &length);
    if (value == NULL || here->address_cells < 0 || here->size_cells <= 0 || parent_cells < 0)
        return;
    int count = length / 4 / (here->address_cells + parent_cells + here->size_cells);
    uint64_t reach = align_down(dma_reach(walk, value, count, parent_cells), FRAME_SIZE);
    if (reach != 0 && reach < GIB(4) && (limits->dma_end == 0 || reach < limits->dma_end))
        limits->dma_end = reach;
}
