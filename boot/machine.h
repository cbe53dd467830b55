/* SPDX-License-Identifier: MIT
 *
 * From firmware tables to a machine: the one path that the booting kernel and `quire inspect` share.
 *
 * machine_describe() takes the sources that are there, lets the readers (boot/fdt, boot/acpi, boot/e820,
 * boot/efi) make claims, and settles map, topology and zone limits. Order of trust: e820 over EFI, else EFI
 * together with FDT; ACPI over FDT for topology. What a reader refuses is said in notes, one line each,
 * naming table and offset.
 *
 * A source that cannot be read at all ends the description only if nothing safer stands in for it: a device
 * tree is replaced by e820 or EFI, EFI by e820 alone (a device tree does not know what EFI keeps), ACPI by
 * anything that describes memory.
 */
#ifndef BOOT_MACHINE_H
#define BOOT_MACHINE_H

#include <mm/frame.h>
#include <mm/memmap.h>
#include <mm/topo.h>

#include "boot_info.h"
#include "notes.h"

/* ---- Sources ------------------------------------------------------------------------------------------ */

/* Physical memory as the ACPI reader sees it: the kernel maps early, inspect looks into a file. Returns size
 * readable bytes at address, valid until machine_describe returns, or NULL. */
struct phys_reader {
    const void *(*map)(void *context, uint64_t address, uint64_t size);
    void *context;
};

#define ACPI_TABLES_MAX 64

struct machine_sources {
    const void *fdt;            /* NULL: none. Aligned to 8 bytes */
    uint64_t fdt_size;          /* bytes readable at fdt */
    const struct e820_entry *e820;
    uint32_t e820_count;
    const void *efi_map;        /* EFI_MEMORY_DESCRIPTOR array */
    uint64_t efi_map_size;
    uint32_t efi_desc_size;
    struct phys_reader phys;    /* with rsdp ≠ 0 */
    uint64_t rsdp;
    uint32_t acpi_table_count;  /* or single tables, found by their signature */
    const void *acpi_table[ACPI_TABLES_MAX];
    uint64_t acpi_table_size[ACPI_TABLES_MAX];
};

/* ---- The machine -------------------------------------------------------------------------------------- */

enum console_kind { CONSOLE_NONE, CONSOLE_NS16550, CONSOLE_PL011, CONSOLE_SBI };

struct console_desc {
    enum console_kind kind;
    bool io_port;          /* base is an x86 port number */
    uint64_t base;
    uint32_t reg_shift;    /* log2 of the distance between registers */
    uint32_t reg_width;    /* bytes per access: 1, 2, 4 */
    uint32_t clock;        /* Hz, 0 unknown (then the baud rate is left as the firmware set it) */
    uint32_t baud;         /* 0: leave alone */
};

enum cpu_method {
    CPU_METHOD_NONE,
    CPU_METHOD_PSCI_HVC,
    CPU_METHOD_PSCI_SMC,
    CPU_METHOD_SBI,
    CPU_METHOD_APIC
};

/* What drivers need that only firmware tables know. Zero: not said. */
struct platform {
    struct console_desc console;
    enum cpu_method cpu_method;
    uint32_t gic_version;               /* 2, 3 */
    uint64_t gic_dist;
    uint64_t gic_cpu, gic_cpu_size;     /* v2: CPU interface; v3: redistributors */
    uint32_t timer_irq;                 /* aarch64: INTID of the virtual timer */
    uint64_t timebase_hz;               /* riscv64 */
    uint64_t lapic;                     /* x86_64 */
    uint64_t sifive_test;               /* riscv64: QEMU's exit device */
    char model[64];
};

/* Reservations that name a size and let the kernel choose the place. */
struct dynamic_reservation {
    uint64_t size, align;
    uint64_t range_start, range_end; /* 0, 0: anywhere */
    bool nomap;
    bool reusable;                   /* may hold movable contents until its owner asks for it */
    char name[48];
};
#define MACHINE_MAX_DYNAMIC 32

struct machine {
    struct memmap map;
    struct topo topo;
    struct zone_limits limits;
    struct platform platform;
    uint32_t dynamic_count;
    struct dynamic_reservation dynamic[MACHINE_MAX_DYNAMIC];
    char bootargs[BOOT_CMDLINE_MAX];    /* /chosen/bootargs */
    uint64_t initrd_start, initrd_end;  /* /chosen/linux,initrd-* */
    uint64_t boot_cpu;                  /* /chosen/boot-hartid; BOOT_CPU_UNKNOWN: not said */
    struct notes notes;
};

/* Reads all sources into machine (which may be uninitialised), then settles. machine is large (about 180
 * KiB): static, never on a stack. OK with notes where bad parts could be left out safely. ERR_CORRUPT: a
 * source is unusable as a whole; the last note says which and where. ERR_FULL: more than the tables hold. No
 * memory at all is not an error. Runs before there is an allocator; hosted too. */
MUST_CHECK status_t machine_describe(struct machine *machine, const struct machine_sources *sources);

/* After further claims (the image, modules): settles map and topology again. */
MUST_CHECK status_t machine_settle(struct machine *machine);

#endif
