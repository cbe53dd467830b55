/* SPDX-License-Identifier: MIT
 *
 * Other CPUs: started through PSCI (Arm DEN 0022), interrupted through the GIC.
 *
 * A started CPU begins at secondary_start with its caches and MMU off. All that it reads in that state is
 * mmu_root, which is cleaned to memory first; its percpu, which PSCI hands over as the context, it reads with
 * the MMU on.
 */
#include <arch/hal.h>
#include <drivers/irqchip/gic.h>
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

status_t hal_cpu_start(struct percpu *cpu)
{
    cpu_dcache_clean(&mmu_root, sizeof(mmu_root));
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
    gic_send_ipi(target);
}
