/* SPDX-License-Identifier: MIT
 *
 * One set of register numbers serves both modes: in memory a register is 16 times its number into the frame,
 * as MSR it is 0x800 on. Only the interrupt command register differs in more: two words there, one 64-bit MSR
 * here.
 */
#include <arch/hal.h>
#include <drivers/mmio.h>
#include <kernel/address_space.h>
#include <kernel/console.h>

#include "lapic.h"

enum {
    REG_TASK_PRIORITY = 0x08,
    REG_END = 0x0b,
    REG_SPURIOUS = 0x0f,
    REG_ERROR_STATUS = 0x28,
    REG_COMMAND = 0x30,
    REG_COMMAND_TARGET = 0x31, /* xAPIC only */
    REG_LVT_TIMER = 0x32,
    REG_LVT_LINT0 = 0x35,
    REG_LVT_ERROR = 0x37,
    REG_TIMER_INITIAL = 0x38,
    REG_TIMER_CURRENT = 0x39,
    REG_TIMER_DIVIDE = 0x3e,
};

#define MSR_X2APIC 0x800
#define APIC_BASE_ENABLE (UINT64_C(1) << 11)
#define APIC_BASE_X2APIC (UINT64_C(1) << 10)
#define APIC_BASE_ADDRESS UINT64_C(0x000ffffffffff000)
#define CPUID1_EDX_APIC (1u << 9)
#define CPUID1_ECX_X2APIC (1u << 21)

#define SPURIOUS_ENABLE (1u << 8)
#define LVT_MASKED (1u << 16)
#define COMMAND_PENDING (1u << 12)
#define DIVIDE_BY_16 3u

#define XAPIC_MAX_ID 254 /* 255 means all */

/* Delivery takes microseconds; a register read at least some 10 ns. */
#define POLL_LIMIT 1000000

static struct {
    bool x2apic;
    volatile void *base;
} lapic;

static uint32_t reg_read(unsigned reg)
{
    if (lapic.x2apic)
        return (uint32_t)msr_read(MSR_X2APIC + reg);
    return mmio_read32(lapic.base, 16 * reg);
}

static void reg_write(unsigned reg, uint32_t value)
{
    if (lapic.x2apic)
        msr_write(MSR_X2APIC + reg, value);
    else
        mmio_write32(lapic.base, 16 * reg, value);
}

status_t lapic_init(uint64_t max_id)
{
    struct cpuid features = cpuid(1);
    uint64_t state = (features.edx & CPUID1_EDX_APIC) ? msr_read(MSR_APIC_BASE) : 0;
    if ((state & APIC_BASE_ENABLE) == 0) {
        kprintf("lapic: this CPU's local APIC is missing or disabled\n");
        return ERR_UNSUPPORTED;
    }
    bool wanted = max_id > XAPIC_MAX_ID && (features.ecx & CPUID1_ECX_X2APIC) != 0;
    lapic.x2apic = (state & APIC_BASE_X2APIC) != 0 || wanted;
    if (!lapic.x2apic)
        lapic.base = mmio_map(paddr(state & APIC_BASE_ADDRESS), FRAME_SIZE);
    return lapic.x2apic || lapic.base != NULL ? OK : ERR_NO_MEMORY;
}

void lapic_init_cpu(void)
{
    if (lapic.x2apic)
        msr_write(MSR_APIC_BASE, msr_read(MSR_APIC_BASE) | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    reg_write(REG_SPURIOUS, SPURIOUS_ENABLE | VECTOR_SPURIOUS);
    reg_write(REG_TASK_PRIORITY, 0);
    reg_write(REG_LVT_LINT0, LVT_MASKED); /* the legacy controllers' line */
    reg_write(REG_LVT_ERROR, LVT_MASKED);
    reg_write(REG_ERROR_STATUS, 0);
    reg_write(REG_TIMER_DIVIDE, DIVIDE_BY_16);
    reg_write(REG_LVT_TIMER, VECTOR_TIMER);
    reg_write(REG_TIMER_INITIAL, 0);
}

bool lapic_reaches(uint64_t id)
{
    return lapic.x2apic ? id < UINT32_MAX : id <= XAPIC_MAX_ID;
}

static void wait_delivered(void)
{
    for (unsigned i = 0; i < POLL_LIMIT && (reg_read(REG_COMMAND) & COMMAND_PENDING) != 0; i++)
        hal_cpu_relax();
}

/* Writing an x2APIC register orders nothing (SDM 10.12.3); the xAPIC's are uncached, which does. Its command
 * is two words, which an interrupt must not come between. */
void lapic_send(uint64_t id, uint32_t command)
{
    if (lapic.x2apic) {
        __asm__ volatile("mfence\n"
                         "lfence" ::
                             : "memory");
        msr_write(MSR_X2APIC + REG_COMMAND, id << 32 | command);
        return;
    }
    uint64_t irq = hal_irq_save();
    wait_delivered();
    reg_write(REG_COMMAND_TARGET, (uint32_t)id << 24);
    reg_write(REG_COMMAND, command);
    hal_irq_restore(irq);
}

void lapic_end(void)
{
    reg_write(REG_END, 0);
}

void lapic_timer_start(uint32_t ticks)
{
    reg_write(REG_TIMER_INITIAL, ticks);
}

uint32_t lapic_timer_left(void)
{
    return reg_read(REG_TIMER_CURRENT);
}
