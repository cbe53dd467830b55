/* SPDX-License-Identifier: MIT
 *
 * CPUs. Each has a frame of its own for its percpu, from its own node, and two guarded stacks. A CPU without
 * work waits in hal_idle; work reaches it as a bit in ipi_pending and an interrupt.
 *
 * Shootdowns: one at a time. Whoever waits for its turn serves the request of the one before meanwhile, so
 * two CPUs that flush at once with interrupts masked cannot wait for each other. (A caller must hold no
 * spinlock that other CPUs wait for with interrupts masked: see port_tlb_flush.)
 */
#include <kernel/address_space.h>
#include <kernel/console.h>
#include <kernel/cpus.h>
#include <kernel/early.h>
#include <kernel/reclaim.h>
#include <kernel/temp_map.h>
#include <mm/bits.h>
#include <mm/frame.h>
#include <mm/frame_info.h>
#include <mm/port.h>
#include <string.h>

struct percpu percpu_boot;

_Atomic uint64_t timer_ticks;

static struct percpu *cpus[TOPO_MAX_CPUS] = {&percpu_boot};
static unsigned cpus_described = 1, cpus_without_means;

_Static_assert(sizeof(struct percpu) <= FRAME_SIZE, "one frame per CPU");

unsigned cpu_count(void)
{
    return cpus_described;
}

struct percpu *cpu_get(unsigned index)
{
    return cpus[index];
}

static bool is_online(const struct percpu *cpu)
{
    return atomic_load_explicit(&cpu->online, memory_order_acquire) != 0;
}

unsigned cpus_online(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < cpus_described; i++)
        count += is_online(cpus[i]);
    return count;
}

unsigned cpus_startable(void)
{
    return cpus_described - cpus_without_means;
}

static void request(struct percpu *cpu, enum ipi_request what)
{
    atomic_fetch_or_explicit(&cpu->ipi_pending, what, memory_order_release);
    hal_ipi_send(cpu);
}

/* ---- Shootdown ---------------------------------------------------------------------------------------- */

static struct {
    _Atomic uint32_t owned; /* a lock whose waiters stay useful */
    vaddr_t start;
    uint64_t size;
    _Atomic uint32_t waiting;
} flush;

static void serve_flush(struct percpu *self)
{
    uint32_t mine = atomic_fetch_and_explicit(&self->ipi_pending, ~(uint32_t)IPI_FLUSH, memory_order_acquire);
    if (mine & IPI_FLUSH) {
        hal_tlb_flush_local(flush.start, flush.size);
        atomic_fetch_sub_explicit(&flush.waiting, 1, memory_order_release);
    }
}

void port_tlb_flush(vaddr_t start, uint64_t size)
{
    uint64_t irq = hal_irq_save();
    struct percpu *self = hal_percpu();
    hal_tlb_flush_local(start, size);
    while (atomic_exchange_explicit(&flush.owned, 1, memory_order_acquire) != 0) {
        serve_flush(self);
        port_cpu_relax();
    }
    flush.start = start;
    flush.size = size;
    for (unsigned i = 0; i < cpus_described; i++) {
        if (cpus[i] != self && is_online(cpus[i])) {
            atomic_fetch_add_explicit(&flush.waiting, 1, memory_order_relaxed);
            request(cpus[i], IPI_FLUSH);
        }
    }
    while (atomic_load_explicit(&flush.waiting, memory_order_acquire) != 0)
        port_cpu_relax();
    atomic_store_explicit(&flush.owned, 0, memory_order_release);
    hal_irq_restore(irq);
}

/* ---- Fences --------------------------------------------------------------------------------------------- */

/* Requests so far. A CPU answers with the number it has seen: one fence serves all who wait. */
static _Atomic uint64_t fence_requests;

void ipi_answer_fence(void)
{
    uint64_t irq = hal_irq_save(); /* an answer inside an answer would take the later number back */
    struct percpu *self = hal_percpu();
    uint32_t mine = atomic_fetch_and_explicit(&self->ipi_pending, ~(uint32_t)IPI_FENCE, memory_order_seq_cst);
    if (mine & IPI_FENCE)
        atomic_store_explicit(&self->fenced, atomic_load_explicit(&fence_requests, memory_order_seq_cst),
                              memory_order_seq_cst);
    hal_irq_restore(irq);
}

void port_fence_cpus(void)
{
    uint64_t ticket = atomic_fetch_add_explicit(&fence_requests, 1, memory_order_seq_cst) + 1;
    struct percpu *self = hal_percpu();
    uint64_t asked[TOPO_MAX_CPUS / WORD_BITS] = {0}; /* who comes up now has nothing that needs a fence */
    for (unsigned i = 0; i < cpus_described; i++) {
        if (cpus[i] != self && is_online(cpus[i])) {
            asked[i / WORD_BITS] |= UINT64_C(1) << i % WORD_BITS;
            request(cpus[i], IPI_FENCE);
        }
    }
    for (unsigned i = 0; i < cpus_described; i++) {
        while ((asked[i / WORD_BITS] >> i % WORD_BITS & 1) != 0 &&
               atomic_load_explicit(&cpus[i]->fenced, memory_order_seq_cst) < ticket)
            port_cpu_relax();
    }
}

/* ---- Work on several CPUs ------------------------------------------------------------------------------ */

static struct {
    void (*body)(void *context, unsigned index);
    void *context;
    _Atomic uint32_t next, running;
} work;

static void take_part(void)
{
    work.body(work.context, atomic_fetch_add_explicit(&work.next, 1, memory_order_relaxed));
    atomic_fetch_sub_explicit(&work.running, 1, memory_order_release);
}

void cpus_run(unsigned n, void (*body)(void *context, unsigned index), void *context)
{
    work.body = body;
    work.context = context;
    atomic_store_explicit(&work.next, 0, memory_order_relaxed);
    atomic_store_explicit(&work.running, n, memory_order_relaxed);
    struct percpu *self = hal_percpu();
    for (unsigned i = 0, left = n - 1; i < cpus_described && left > 0; i++) {
        if (cpus[i] != self && is_online(cpus[i])) {
            request(cpus[i], IPI_RUN);
            left--;
        }
    }
    take_part();
    while (atomic_load_explicit(&work.running, memory_order_acquire) != 0)
        port_cpu_relax();
}

/* Runs an interrupt's handler. The allocator's per-CPU caches are not for it: see port_cache(). */
static void handle(void (*handler)(struct percpu *self))
{
    struct percpu *self = hal_percpu();
    uint32_t cache = self->cache;
    self->cache = PORT_NO_CACHE;
    handler(self);
    self->cache = cache;
}

static void answer(struct percpu *self)
{
    serve_flush(self);
    ipi_answer_fence();
    if (atomic_load_explicit(&self->ipi_pending, memory_order_acquire) & IPI_STOP)
        hal_cpu_halt();
}

static void tick(struct percpu *self)
{
    (void)self;
    timer_ticks++;
}

void ipi_handle(void)
{
    handle(answer);
}

void timer_handle(void)
{
    handle(tick);
}

void cpus_stop_others(void)
{
    for (unsigned i = 0; i < cpus_described; i++)
        if (cpus[i] != hal_percpu() && is_online(cpus[i]))
            request(cpus[i], IPI_STOP);
}

/* Masked before the timer is set: if it fired before the wait began, nothing would end the wait. */
void cpu_sleep(uint64_t ns)
{
    (void)hal_irq_save();
    hal_timer_set(ns);
    hal_idle();
}

/* ---- Coming up ----------------------------------------------------------------------------------------- */

static status_t give_stacks(struct percpu *cpu)
{
    status_t status = stack_create(2 * cpu->index, (uint16_t)cpu->node, &cpu->stack_top);
    if (status == OK)
        status = stack_create(2 * cpu->index + 1, (uint16_t)cpu->node, &cpu->emergency_top);
    if (status != OK)
        stack_destroy(2 * cpu->index);
    return status;
}

static status_t prepare(const struct topo_cpu *described, struct percpu **prepared)
{
    struct frame_request request = {
        .count = 1, .node = described->node, .zone = ZONE_NORMAL, .flags = FRAME_ZEROED, .type = FRAME_TYPE_KERNEL};
    pfn_t frame;
    status_t status = frame_alloc(&request, &frame);
    if (status != OK)
        return status;
    struct percpu *cpu = port_phys_to_virt(paddr_of(frame));
    cpu->self = cpu;
    cpu->hw_id = described->hw_id;
    cpu->node = described->node;
    cpu->index = cpu->cache = cpus_described;
    *prepared = cpu;
    status = temp_map_init(cpu);
    if (status == OK)
        status = give_stacks(cpu);
    if (status != OK && frame_free(frame, 1) != OK)
        port_panic("the frame of a CPU's data cannot be freed");
    return status;
}

#define START_TIMEOUT_NS UINT64_C(2000000000)
#define START_POLL_NS UINT64_C(100000)

/* False: there is no means to start it, of which the caller tells. Whatever happens, the CPU counts. */
static bool start(const struct topo_cpu *described)
{
    struct percpu *cpu = NULL;
    status_t status = prepare(described, &cpu);
    if (status == OK) {
        frame_cpu_node(cpu->index, described->node);
        cpus[cpus_described++] = cpu;
        status = hal_cpu_start(cpu);
    }
    uint64_t deadline = hal_time_ns() + START_TIMEOUT_NS;
    while (status == OK && !is_online(cpu) && hal_time_ns() < deadline)
        cpu_sleep(START_POLL_NS);
    if (status == ERR_UNSUPPORTED)
        return false;
    if (status != OK)
        kprintf("warning: CPU %#llx cannot be started: %s\n", (unsigned long long)described->hw_id,
                status_name(status));
    else if (!is_online(cpu))
        kprintf("warning: CPU %#llx was started but did not come up\n", (unsigned long long)described->hw_id);
    return true;
}

void cpus_start(unsigned limit)
{
    const struct topo *topo = &machine.topo;
    limit = limit == 0 || limit > TOPO_MAX_CPUS ? TOPO_MAX_CPUS : limit;
    for (unsigned i = 0; i < topo->cpu_count; i++) {
        bool wanted = topo->cpu[i].enabled && topo->cpu[i].hw_id != percpu_boot.hw_id;
        if (wanted && cpus_described < limit && !start(&topo->cpu[i]))
            cpus_without_means++;
    }
    if (cpus_without_means > 0)
        kprintf("warning: the firmware offers nothing to start %u of the CPUs by; they stay off\n",
                cpus_without_means);
}

/* Serves until the machine ends: interrupts are taken inside hal_idle, work between. */
static _Noreturn void idle_loop(struct percpu *self)
{
    for (;;) {
        uint64_t irq = hal_irq_save();
        uint32_t pending =
            atomic_fetch_and_explicit(&self->ipi_pending, ~(uint32_t)IPI_RUN, memory_order_acquire);
        hal_irq_restore(irq);
        if (pending & IPI_RUN) {
            take_part();
            continue;
        }
        reclaim_rest();
        (void)hal_irq_save();
        if ((atomic_load_explicit(&self->ipi_pending, memory_order_acquire) & IPI_RUN) == 0)
            hal_idle();
        hal_irq_enable();
    }
}

void kmain_secondary(struct percpu *cpu)
{
    hal_cpu_init(cpu);
    hal_irq_init_cpu();
    atomic_store_explicit(&cpu->online, 1, memory_order_seq_cst);
    /* Nobody flushed here before, so forget what was translated since the tables were loaded. */
    hal_tlb_flush_local(0, UINT64_MAX & ~(FRAME_SIZE - 1));
    hal_irq_enable();
    idle_loop(cpu);
}

void cpus_leave_boot_stack(void (*next)(void))
{
    if (temp_map_init(&percpu_boot) != OK || give_stacks(&percpu_boot) != OK)
        port_panic("no memory for the boot CPU's stack");
    hal_call_on_stack(percpu_boot.stack_top, next);
}
