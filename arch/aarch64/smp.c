/* SPDX-License-Identifier: MIT
 *
 * Other CPUs: started through PSCI (Arm DEN 0022) or a spin table (Devicetree Specification, "cpu-release-addr"; Linux'
 * Documentation/arch/arm64/booting.rst), interrupted through the machine's controller.
 *
 * A started CPU begins with its caches and MMU off, at secondary_start or, from a spin table, at secondary_released. All
 * that it reads in that state is mmu_root and released_cpu, which are cleaned to memory first; its percpu, which PSCI
 * hands over as the context, it reads with the MMU on.
 */
#include <arch/hal.h>
#include <drivers/irqchip/irqchip.h>
#include <kernel/address_space.h>
#include <kernel/console.h>
#include <kernel/early.h>
#include <kernel/percpu.h>

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

/* For secondary_released, which is told nothing: whom it is meant for, and that one's percpu. */
struct released_cpu {
    uint64_t hw_id, percpu;
};
extern struct released_cpu released_cpu;
struct released_cpu released_cpu;

/* The word that a CPU of the machine polls for an entry point; 0: it has none, PSCI starts it. */
static uint64_t release_address(uint64_t hw_id)
{
    const struct topo *topo = &machine.topo;
    for (uint32_t i = 0; i < topo->cpu_count; i++)
        if (topo->cpu[i].hw_id == hw_id)
            return machine.platform.release[i];
    return 0;
}

/* The word lies in memory that the firmware keeps for itself, and the CPU that polls it does so past the caches. */
static status_t release(struct percpu *cpu, uint64_t address)
{
    volatile uint64_t *word = is_aligned(address, sizeof(*word)) ? mmio_map(paddr(address), sizeof(*word)) : NULL;
    if (word == NULL) {
        kprintf("smp: CPU %#llx polls %#llx, which cannot be written\n", (unsigned long long)cpu->hw_id,
                (unsigned long long)address);
        return ERR_INVALID;
    }
    released_cpu = (struct released_cpu){cpu->hw_id, (uintptr_t)cpu};
    cpu_dcache_clean(&released_cpu, sizeof(released_cpu));
    *word = image_phys(secondary_released).v;
    cpu_dcache_clean(word, sizeof(*word));
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
