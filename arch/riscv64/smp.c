/* SPDX-License-Identifier: MIT
 *
 * Other harts: started through SBI HSM, interrupted through SBI IPI.
 *
 * A started hart begins at secondary_start with translation off. All that it reads in that state is mmu_satp
 * and late_hart; its percpu, which SBI hands over as it is, it reads with translation on.
 */
#include <stdatomic.h>
#include <arch/hal.h>
#include <arch/sbi.h>
#include <kernel/address_space.h>
#include <kernel/console.h>
#include <kernel/percpu.h>

/* See start.S: for a hart that enters at the boot entry although it was given another. */
extern struct {
    uint64_t hart, percpu;
} late_hart;

status_t hal_cpu_start(struct percpu *cpu)
{
    late_hart.percpu = (uintptr_t)cpu;
    late_hart.hart = cpu->hw_id;
    atomic_thread_fence(memory_order_seq_cst);
    struct sbi_result result =
        sbi_call(SBI_HSM, SBI_HSM_START, cpu->hw_id, image_phys(secondary_start).v, (uintptr_t)cpu);
    if (result.error == SBI_NOT_SUPPORTED)
        return ERR_UNSUPPORTED;
    if (result.error != 0) {
        kprintf("sbi: hart %llu refused (%lld)\n", (unsigned long long)cpu->hw_id, (long long)result.error);
        return ERR_INVALID;
    }
    return OK;
}

/* One hart: bit 0 of a mask that starts at it. Before the interrupt comes what the target shall find. */
void hal_ipi_send(const struct percpu *target)
{
    atomic_thread_fence(memory_order_seq_cst);
    sbi_call(SBI_IPI, SBI_IPI_SEND, 1, target->hw_id, 0);
}
