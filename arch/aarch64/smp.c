/* SPDX-License-Identifier: MIT
 *
 * Other CPUs: started through PSCI (Arm DEN 0022) or a spin table (Devicetree Specification,
 * "cpu-release-addr"; Linux' Documentation/arch/arm64/booting.rst), interrupted through the machine's
 * controller.
 *
 * A started CPU begins with its caches and MMU off, at secondary_start or, from a spin table, at
 * secondary_released. All that it reads in that state is cleaned to memory first: mmu_root, and from a spin
 * table released_cpu and the first words of the percpu there. The percpu that PSCI hands over as the context
 * is read with the MMU on.
 */
#include <arch/hal.h>
#include <drivers/irqchip/irqchip.h>
#include <kernel/address_space.h>
#include <kernel/console.h>
#include <kernel/early.h>
#include <kernel/panic.h>
#include <kernel/percpu.h>
#include <mm/port.h>

/* SMCCC 1.0: x0 – x3 carry arguments and results, x4 – x17 may be lost. */
#define CONDUIT(instruction)                                                                                 \
    __asm__ volatile(instruction                                                                             \
                     : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)                                                \
                     :                                                                                       \
                     : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",  \
                       "x17", "memory")

int64_t psci_call(uint32_t function, uint64_t a, uint64_t b, uint64_t c)
{
    register uint64_t x0 __asm__("x0") = function;
    register uint64_t x1 __asm__("x1") = a;
    register uint64_t x2 __asm__("x2") = b;
    register uint64_t x3 __asm__("x3") = c;
    switch (machine.platform.cpu_method) {
    case CPU_METHOD_PSCI_HVC:
        CONDUIT("hvc #0");
        return (int64_t)x0;
    case CPU_METHOD_PSCI_SMC:
        CONDUIT("smc #0");
        return (int64_t)x0;
    default:
        return PSCI_NOT_SUPPORTED;
    }
}

/* For secondary_released, which is told nothing: the physical address of the percpu whose CPU may go on, or
 * 0. One word, so that those that wait see all of it or nothing. */
extern volatile uint64_t released_cpu;
volatile uint64_t released_cpu;

static void let_go(paddr_t percpu)
{
    released_cpu = percpu.v;
    cpu_dcache_clean(&released_cpu, sizeof(released_cpu));
}

/* The word that a CPU of the machine polls for an entry point; 0: it has none, PSCI starts it. */
static uint64_t release_address(uint64_t hw_id)
{
    const struct topo *topo = &machine.topo;
    for (uint32_t i = 0; i < topo->cpu_count; i++)
        if (topo->cpu[i].hw_id == hw_id)
            return machine.platform.release[i];
    return 0;
}

/* The word at a physical address, or NULL. They lie side by side: the last one's frame stays mapped. */
static volatile uint64_t *map_word(uint64_t address)
{
    static volatile uint8_t *mapped;
    static uint64_t frame;
    if (!is_aligned(address, sizeof(uint64_t)) || address - boot_info.image.v < boot_info.image_size)
        return NULL;
    if (mapped == NULL || align_down(address, FRAME_SIZE) != frame) {
        frame = align_down(address, FRAME_SIZE);
        mapped = mmio_map(paddr(frame), FRAME_SIZE);
    }
    return mapped == NULL ? NULL : (volatile uint64_t *)(mapped + (address - frame));
}

static void write_entry(void *context)
{
    volatile uint64_t *word = context;
    *word = image_phys(secondary_released).v;
    cpu_dcache_clean(word, sizeof(*word));
}

/* The word lies in memory that the firmware keeps for itself (or nowhere, if the tree is wrong), and the CPU
 * that polls it does so past the caches. The percpu lies in the direct map. */
static status_t release(struct percpu *cpu, uint64_t address)
{
    static struct trap_info trap;
    volatile uint64_t *word = map_word(address);
    cpu_dcache_clean(cpu, PERCPU_HW_ID + sizeof(cpu->hw_id));
    let_go(port_virt_to_phys(cpu));
    if (word == NULL || trap_catch(write_entry, (void *)(uintptr_t)word, &trap)) {
        let_go(paddr(0));
        kprintf("smp: CPU %#llx polls %#llx, which cannot be written%s%s\n", (unsigned long long)cpu->hw_id,
                (unsigned long long)address, word == NULL ? "" : ": ", word == NULL ? "" : trap.cause);
        return ERR_INVALID;
    }
    __asm__ volatile("sev" ::: "memory");
    return OK;
}

status_t hal_cpu_start(struct percpu *cpu)
{
    cpu_dcache_clean(&mmu_root, sizeof(mmu_root));
    uint64_t address = release_address(cpu->hw_id);
    if (address != 0)
        return release(cpu, address);
    int64_t result = psci_call(PSCI_CPU_ON, cpu->hw_id, image_phys(secondary_start).v, (uintptr_t)cpu);
    if (result == PSCI_NOT_SUPPORTED)
        return ERR_UNSUPPORTED;
    if (result != 0) {
        kprintf("psci: CPU %#llx refused (%lld)\n", (unsigned long long)cpu->hw_id, (long long)result);
        return ERR_INVALID;
    }
    return OK;
}

void hal_ipi_send(const struct percpu *target)
{
    irqchip->send_ipi(target);
}
