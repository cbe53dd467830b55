/* SPDX-License-Identifier: MIT */
#include <string.h>

#include <mm/port.h>

#include "cache.h"
#include "reserve.h"
#include "trace.h"

#define CPU_WORDS (TOPO_MAX_CPUS / WORD_BITS)

static struct frame_cpu no_cache = {.attention = CACHE_NONE};

struct frame_cpu *frame_cpu_table[TOPO_MAX_CPUS + 1] = {[0 ... TOPO_MAX_CPUS] = &no_cache};

static _Atomic bool switched_off;

/* Drains that have ended: what they put back may have come after a search had passed by. */
static _Atomic uint64_t drains;

/* CPUs whose caches may hold frames. */
static _Atomic uint64_t active[CPU_WORDS];

/* Words of `active` in use. */
static unsigned active_words(void)
{
    return (frame_system.cpu_count + WORD_BITS - 1) / WORD_BITS;
}

static void count_up(_Atomic uint64_t *counter, uint64_t by)
{
    store_relaxed(counter, load_relaxed(counter) + by);
}

/* So many frames came from the zone. */
static void fill(struct frame_cpu *cpu, uint64_t count)
{
    count_up(&cpu->filled, count);
    count_up(&cpu->taken, count);
}

/* The zone is told of whole chunks in batches. It never counts more than it has: those to be taken next are deducted
 * ahead. */
#define CHUNKS_AHEAD 24

static void chunks_taken(struct frame_cpu *cpu, uint64_t count)
{
    uint64_t ahead = load_relaxed(&cpu->ahead);

    if (ahead < count) {
        fetch_add(&cpu->zone->whole_chunks, -(count + CHUNKS_AHEAD));
        ahead += count + CHUNKS_AHEAD;
    }
    store_relaxed(&cpu->ahead, ahead - count);
}

static void chunks_given(struct frame_cpu *cpu, uint64_t count, uint64_t keep)
{
    uint64_t ahead = load_relaxed(&cpu->ahead) + count;

    if (ahead > 2 * keep) {
        fetch_add(&cpu->zone->whole_chunks, ahead - keep);
        ahead = keep;
    }
    store_relaxed(&cpu->ahead, ahead);
}

/* ---- Going in and out ---------------------------------------------------------------------------------- */

/* The owner goes in, and opens its cache if it is parked. */
static bool enter(struct frame_cpu *cpu)
{
    uint32_t parked = CACHE_PARKED;

    if (cache_enter(cpu))
        return true;
    if (!load_relaxed(&switched_off) && compare_exchange(&cpu->attention, &parked, CACHE_OPEN)) {
        uint64_t index = (uint64_t)(cpu - frame_system.cpu);

        fetch_or(&active[index / WORD_BITS], UINT64_C(1) << index % WORD_BITS);
        return true;
    }
    cache_leave(cpu);
    return false;
}

/* ---- Single frames ------------------------------------------------------------------------------------- */

/* The slot of a frame that counts from cpu->first. */
static uint64_t slot_of(const struct frame_cpu *cpu, uint64_t offset)
{
    return offset < cpu->frames ? offset / CHUNK_FRAMES : zone_slot(cpu->zone, cpu->first + offset);
}

/* Frames of one row word go back; `first` counts from cpu->first. */
static void put_word(struct frame_cpu *cpu, uint32_t first, uint64_t bits)
{
    struct zone *zone = cpu->zone;
    uint64_t slot = slot_of(cpu, first);
    unsigned index = first % CHUNK_FRAMES / WORD_BITS;
    uint64_t refused;

    if (reserve_near(zone, slot) && (bits = reserve_strip(zone, cpu->first + first, bits)) == 0)
        return;
    refused = bitmap_put_word(zone, slot, index, bits);
    count_up(&cpu->taken, -(uint64_t)bit_count(bits & ~refused));
    for (; refused != 0; refused &= refused - 1)
        port_report("frame %#llx was freed twice", (unsigned long long)(cpu->first + first + bit_lowest(refused)));
}

/* Gives all frames of a stack back, neighbours in a row together. */
static void flush(struct frame_cpu *cpu, struct frame_stack *stack)
{
    uint32_t count = stack_count(stack);

    for (uint32_t i = 0; i < count;) {
        uint32_t first = stack->frame[i] - stack->frame[i] % WORD_BITS;
        uint64_t bits = 0;

        do {
            uint64_t bit = UINT64_C(1) << stack->frame[i] % WORD_BITS;

            if ((bits & bit) != 0)
                port_report("frame %#llx was freed twice", (unsigned long long)(cpu->first + stack->frame[i]));
            bits |= bit;
        } while (++i < count && stack->frame[i] - first < WORD_BITS);
        put_word(cpu, first, bits);
    }
    store_relaxed(&stack->state, load_relaxed(&stack->state) - count);
}

/* Breaks a whole chunk, owns it and takes its first frames. False: there is none. */
static bool break_whole(struct frame_cpu *cpu, bool mobile, struct batch *batch)
{
    struct zone *zone = cpu->zone;
    uint64_t group, bit;

    move_begin(zone);
    bit = buddy_take_some(zone, 1, &cpu->lease, &group);
    if (bit != 0) {
        uint64_t slot = group * GROUP_CHUNKS + bit_lowest(bit);
        uint32_t frame = (uint32_t)(zone_frame(zone, slot) - batch->first);

        chunks_taken(cpu, 1);
        bitmap_break(zone, slot, 0, batch->room, CHUNK_OWNED | (mobile ? CHUNK_MOBILE : 0));
        batch->owned = slot;
        for (; batch->room > 0; batch->room--)
            *--batch->frame = frame++;
    }
    move_end(zone);
    return bit != 0;
}

/* Frames of the chunk we own, while it lasts, else of the fullest of the mobility class, else of a whole one, else of the
 * fullest of the other class. False: there are none. */
static bool take_batch(struct frame_cpu *cpu, struct batch *batch, bool mobile)
{
    struct zone *zone = cpu->zone;
    uint64_t owned = batch->owned;

    if (owned != STACK_NO_SLOT) {
        bool got = bitmap_take_some(zone, owned, batch);

        if (batch->room > 0) {
            batch->owned = STACK_NO_SLOT;
            bitmap_disown(zone, owned);
        }
        if (got)
            return true;
    }
    return bitmap_take_fullest(zone, mobile, &cpu->start, batch) || break_whole(cpu, mobile, batch) ||
           bitmap_take_fullest(zone, !mobile, &cpu->start, batch);
}

/* Fills an empty stack from one kind of place. What was taken first is handed out first. */
static bool refill(struct frame_cpu *cpu, struct frame_stack *stack, bool mobile)
{
    uint64_t begin = path_begin(), last;
    struct batch batch = {.first = cpu->first,
                          .frame = stack->frame + CACHE_BATCH,
                          .room = CACHE_BATCH,
                          .owned = load_relaxed(&stack->owned)};
    bool got = take_batch(cpu, &batch, mobile), managed;
    unsigned count = CACHE_BATCH - batch.room;

    store_relaxed(&stack->owned, batch.owned);
    if (!got)
        return false;
    last = batch.frame[0];
    memmove(stack->frame, batch.frame, count * sizeof(stack->frame[0]));
    managed = CHUNK_STATE(chunk_word(cpu->zone, slot_of(cpu, last))) == CHUNK_BITS;
    stack->chunk = managed ? last / CHUNK_FRAMES : STACK_NO_CHUNK;
    store_relaxed(&stack->state, load_relaxed(&stack->state) + count);
    fill(cpu, count);
    path_done(FRAME_PATH_REFILL, begin);
    trace_event(FRAME_EVENT_REFILL, cpu->first + stack->frame[0], count);
    return true;
}

/* Whether the zone may have something for a parked cache. If not it stays parked, and a request that fails has nothing
 * to drain. */
static bool may_refill(const struct zone *zone)
{
    return (load_relaxed(&zone->groups_by_order.occupied[0]) | load_relaxed(&zone->chunks_by_use.occupied[0]) |
            load_relaxed(&zone->chunks_by_use.occupied[1])) != 0;
}

bool cache_alloc(struct frame_cpu *cpu, bool mobile, uint64_t *frame)
{
    unsigned index = mobile ? STACK_MOBILE : STACK_FIXED;
    struct frame_stack *stack = &cpu->stack[index];
    bool filled;

    if (load_relaxed(&cpu->attention) == CACHE_PARKED && !may_refill(cpu->zone))
        return false;
    if (!enter(cpu))
        return false;
    filled = stack_count(stack) > 0 || refill(cpu, stack, mobile);
    cache_leave(cpu);
    *frame = filled ? cache_pop(cpu, index) : CACHE_EMPTY;
    return *frame != CACHE_EMPTY;
}

static void spill(struct frame_cpu *cpu)
{
    uint64_t begin = path_begin();

    flush(cpu, &cpu->stack[STACK_OUT]);
    path_done(FRAME_PATH_SPILL, begin);
    trace_event(FRAME_EVENT_SPILL, 0, CACHE_FRAMES);
}

bool cache_free(struct frame_cpu *cpu, uint64_t frame)
{
    if (frame - cpu->first >= cpu->frames || !enter(cpu))
        return false;
    if (stack_count(&cpu->stack[STACK_OUT]) == CACHE_FRAMES)
        spill(cpu);
    cache_leave(cpu);
    return cache_push_other(cpu, frame);
}

/* ---- Chunks -------------------------------------------------------------------------------------------- */

/* Fills an empty cache of chunks with three quarters of what it holds, and spills as many of a full one: so neither
 * follows soon upon the other. */
static bool refill_chunks(struct frame_cpu *cpu, bool mobile)
{
    uint64_t begin = path_begin(), group;
    uint64_t bits = buddy_take_some(cpu->zone, cpu->chunk_max - cpu->chunk_max / 4, &cpu->lease, &group);
    uint32_t count = bit_count(bits), i = count, first;

    if (count == 0)
        return false;
    chunks_taken(cpu, count);
    first = (uint32_t)((zone_frame(cpu->zone, group * GROUP_CHUNKS) - cpu->first) / CHUNK_FRAMES);
    for (; bits != 0; bits &= bits - 1) {
        chunk_take_whole(cpu->zone, group * GROUP_CHUNKS + bit_lowest(bits), mobile);
        cpu->chunks[--i] = first + bit_lowest(bits);
    }
    store_relaxed(&cpu->chunk_count, count);
    fill(cpu, count * CHUNK_FRAMES);
    path_done(FRAME_PATH_REFILL, begin);
    trace_event(FRAME_EVENT_REFILL, cpu->first + cpu->chunks[count - 1] * CHUNK_FRAMES, count * CHUNK_FRAMES);
    return true;
}

/* A chunk on its way to the buddy: its group and its bit. */
static bool return_chunk(struct frame_cpu *cpu, uint32_t chunk, uint64_t *group, uint64_t *bit)
{
    uint64_t frame = cpu->first + chunk * CHUNK_FRAMES, slot = slot_of(cpu, chunk * CHUNK_FRAMES);

    *group = slot / GROUP_CHUNKS;
    *bit = UINT64_C(1) << slot % GROUP_CHUNKS;
    if (chunk_put_whole(cpu->zone, slot)) {
        count_up(&cpu->taken, -CHUNK_FRAMES);
        return true;
    }
    port_report("frames %#llx … %#llx were freed twice", (unsigned long long)frame,
                (unsigned long long)(frame + CHUNK_FRAMES - 1));
    return false;
}

static void put_chunks(struct frame_cpu *cpu, uint64_t group, uint64_t bits)
{
    buddy_put_some(cpu->zone, group, bits);
    chunks_given(cpu, bit_count(bits), CHUNKS_AHEAD);
}

/* Gives the topmost chunks back until `keep` are left, neighbours together. */
static void flush_chunks(struct frame_cpu *cpu, uint32_t keep)
{
    uint32_t count = load_relaxed(&cpu->chunk_count);
    uint64_t group = 0, bits = 0;

    while (count > keep) {
        uint64_t this_group, bit;

        if (!return_chunk(cpu, cpu->chunks[--count], &this_group, &bit))
            continue;
        if (this_group != group && bits != 0) {
            put_chunks(cpu, group, bits);
            bits = 0;
        }
        group = this_group;
        bits |= bit;
    }
    if (bits != 0)
        put_chunks(cpu, group, bits);
    store_relaxed(&cpu->chunk_count, count);
}

static void spill_chunks(struct frame_cpu *cpu)
{
    uint64_t begin = path_begin();

    flush_chunks(cpu, cpu->chunk_max / 4);
    path_done(FRAME_PATH_SPILL, begin);
    trace_event(FRAME_EVENT_SPILL, 0, (cpu->chunk_max - cpu->chunk_max / 4) * CHUNK_FRAMES);
}

/* A cached chunk is of the class of whoever had it before. */
static void set_class(const struct frame_cpu *cpu, uint64_t frame, bool mobile)
{
    uint64_t slot = slot_of(cpu, frame - cpu->first);

    if (((chunk_word(cpu->zone, slot) & CHUNK_MOBILE) != 0) != mobile)
        chunk_take_whole(cpu->zone, slot, mobile);
}

bool cache_alloc_chunk(struct frame_cpu *cpu, bool mobile, uint64_t *frame)
{
    uint32_t count;

    if (cpu->chunk_max == 0)
        return false;
    if (load_relaxed(&cpu->attention) == CACHE_PARKED && load_relaxed(&cpu->zone->groups_by_order.occupied[0]) == 0)
        return false;
    if (!enter(cpu))
        return false;
    if (load_relaxed(&cpu->chunk_count) == 0 && !refill_chunks(cpu, mobile)) {
        cache_leave(cpu);
        return false;
    }
    count = load_relaxed(&cpu->chunk_count) - 1;
    *frame = cpu->first + cpu->chunks[count] * CHUNK_FRAMES;
    store_relaxed(&cpu->chunk_count, count);
    count_up(&cpu->chunk_allocs, 1);
    cache_leave(cpu);
    set_class(cpu, *frame, mobile);
    return true;
}

bool cache_free_chunk(struct frame_cpu *cpu, uint64_t frame)
{
    uint64_t offset = frame - cpu->first;
    uint32_t word, count;

    if (offset >= cpu->frames || cpu->chunk_max == 0 || offset % CHUNK_FRAMES != 0 ||
        reserve_near(cpu->zone, offset / CHUNK_FRAMES))
        return false;
    word = load_relaxed(&cpu->chunk[offset / CHUNK_FRAMES]);
    if (CHUNK_STATE(word) != CHUNK_HUGE || !enter(cpu))
        return false;
    if (load_relaxed(&cpu->chunk_count) == cpu->chunk_max)
        spill_chunks(cpu);
    count = load_relaxed(&cpu->chunk_count);
    cpu->chunks[count] = (uint32_t)(offset / CHUNK_FRAMES);
    store_relaxed(&cpu->chunk_count, count + 1);
    count_up(&cpu->chunk_frees, 1);
    cache_leave(cpu);
    return true;
}

bool cache_find_owned(struct zone *zone, const struct want *want, uint64_t *first)
{
    for (unsigned i = 0; i < active_words(); i++) {
        for (uint64_t bits = load_seq_cst(&active[i]); bits != 0; bits &= bits - 1) {
            const struct frame_cpu *cpu = frame_cpu_table[i * WORD_BITS + bit_lowest(bits)];

            for (unsigned j = 0; cpu->zone == zone && j < CACHE_STACKS; j++) {
                uint64_t slot = load_relaxed(&cpu->stack[j].owned);

                if (slot != STACK_NO_SLOT && bitmap_find_in(zone, want, slot, first))
                    return true;
            }
        }
    }
    return false;
}

/* ---- Draining ------------------------------------------------------------------------------------------ */

/* Whether we are an interrupt handler that hit its CPU inside its cache: nobody may wait for that then. */
static bool interrupted_inside(void)
{
    const struct frame_cpu *cpu = frame_cpu_table[port_cpu()];

    return cpu != &no_cache && load_relaxed(&cpu->busy) != 0;
}

/* Keeps the owner out from now on; it may still be inside until the next fence is over. */
static bool shut(struct frame_cpu *cpu)
{
    uint32_t open = CACHE_OPEN;

    return compare_exchange(&cpu->attention, &open, CACHE_DRAINING);
}

/* Empties a cache that was shut, after the fence. */
static void empty(struct frame_cpu *cpu, unsigned index)
{
    while (load_acquire(&cpu->busy) != 0) /* bound: one call of the owner */
        port_cpu_relax();
    count_up(&cpu->drains, 1);
    trace_drain(index, cache_cpu_sums(cpu).cached);
    for (unsigned i = 0; i < CACHE_STACKS; i++) {
        struct frame_stack *stack = &cpu->stack[i];

        flush(cpu, stack);
        if (load_relaxed(&stack->owned) != STACK_NO_SLOT)
            bitmap_disown(cpu->zone, load_relaxed(&stack->owned));
        store_relaxed(&stack->owned, STACK_NO_SLOT);
    }
    flush_chunks(cpu, 0);
    chunks_given(cpu, 0, 0);
    buddy_end_lease(cpu->zone, &cpu->lease);
    fetch_add(&drains, 1);
    fetch_and(&active[index / WORD_BITS], ~(UINT64_C(1) << index % WORD_BITS));
    store_release(&cpu->attention, CACHE_PARKED);
}

/* Shuts the caches of 64 CPUs as far as they are active; returns which. */
static uint64_t shut_word(unsigned word)
{
    uint64_t shut_now = 0;

    for (uint64_t bits = load_seq_cst(&active[word]); bits != 0; bits &= bits - 1) {
        if (shut(frame_cpu_table[word * WORD_BITS + bit_lowest(bits)]))
            shut_now |= bits & -bits;
    }
    return shut_now;
}

/* Waits for those who empty what we did not: a CPU that drains waits for nobody but owners inside their caches. */
static bool others_done(unsigned word, uint64_t seen)
{
    for (uint64_t bits = seen; bits != 0; bits &= bits - 1) {
        while (load_acquire(&frame_cpu_table[word * WORD_BITS + bit_lowest(bits)]->attention) == CACHE_DRAINING)
            port_cpu_relax();
    }
    return seen != 0;
}

uint64_t cache_drains(void)
{
    return load_seq_cst(&drains);
}

bool cache_drain_all(void)
{
    uint64_t irq = port_irq_save(), begin = path_begin(), mine[CPU_WORDS], seen[CPU_WORDS];
    bool any = false, any_mine = false;

    if (interrupted_inside()) {
        port_irq_restore(irq);
        return false;
    }
    for (unsigned i = 0; i < active_words(); i++) {
        seen[i] = load_seq_cst(&active[i]);
        mine[i] = seen[i] != 0 ? shut_word(i) : 0;
        any_mine |= mine[i] != 0;
    }
    if (any_mine)
        port_fence_cpus();
    for (unsigned i = 0; i < active_words(); i++) {
        for (uint64_t bits = mine[i]; bits != 0; bits &= bits - 1)
            empty(frame_cpu_table[i * WORD_BITS + bit_lowest(bits)], i * WORD_BITS + bit_lowest(bits));
        any |= others_done(i, seen[i]);
    }
    if (any)
        path_done(FRAME_PATH_DRAIN, begin);
    port_irq_restore(irq);
    return any;
}

void cache_drain(unsigned index)
{
    uint64_t irq = port_irq_save(), begin = path_begin();

    if (!interrupted_inside()) {
        if (shut(frame_cpu_table[index])) {
            port_fence_cpus();
            empty(frame_cpu_table[index], index);
            path_done(FRAME_PATH_DRAIN, begin);
        } else {
            (void)others_done(index / WORD_BITS, UINT64_C(1) << index % WORD_BITS);
        }
    }
    port_irq_restore(irq);
}

/* ---- Making, switching off ------------------------------------------------------------------------------ */

/* The highest zone of a node up to Normal, or NULL. */
static struct zone *zone_of_node(uint16_t node)
{
    for (unsigned kind = ZONE_NORMAL + 1; kind-- > 0;) {
        uint16_t index = frame_system.zone_of[node][kind];

        if (index != ZONE_NONE)
            return &frame_system.zone[index];
    }
    return NULL;
}

void cache_reset(void)
{
    store_relaxed(&switched_off, false);
    metrics_reset();
    for (unsigned i = 0; i < TOPO_MAX_CPUS; i++) /* the last never changes */
        frame_cpu_table[i] = &no_cache;
    for (unsigned i = 0; i < CPU_WORDS; i++)
        store_relaxed(&active[i], 0);
}

/* What the CPU has taken from its zone so far becomes the zone's own account. */
static void settle_accounts(struct frame_cpu *cpu)
{
    struct cache_sums sums = cache_cpu_sums(cpu);

    for (unsigned i = 0; i < CACHE_STACKS; i++)
        store_relaxed(&cpu->stack[i].state, 0);
    store_relaxed(&cpu->chunk_allocs, 0);
    store_relaxed(&cpu->chunk_frees, 0);
    store_relaxed(&cpu->taken, 0); /* first: for a moment frames in use are counted as free, not free ones as less than none */
    fetch_add(&cpu->zone->free, -sums.taken);
    fetch_add(&cpu->zone->allocs, sums.allocs);
    fetch_add(&cpu->zone->frees, sums.frees);
}

void cache_set_home(struct frame_cpu *cpu, unsigned index, uint16_t node)
{
    const struct topo *topo = frame_system.topo;
    struct zone *zone = NULL;

    frame_cpu_table[index] = &no_cache;
    if (cpu->zone != NULL)
        settle_accounts(cpu);
    for (uint32_t i = 0; i < topo->node_count && zone == NULL; i++)
        zone = zone_of_node(topo->fallback[node][i]);
    if (zone != NULL && zone->end - zone_frame(zone, 0) > UINT64_C(1) << 32)
        zone = NULL; /* frames in a cache are numbered with 32 bits */
    cpu->zone = zone;
    if (zone == NULL)
        return;
    cpu->first = zone_frame(zone, 0);
    cpu->frames = zone->span[0].groups * GROUP_FRAMES;
    cpu->chunk = zone->chunk;
    cpu->start = zone->groups * GROUP_CHUNKS / (topo->cpu_count + 1) * index;
    for (unsigned i = 0; i < CACHE_STACKS; i++) {
        cpu->stack[i].chunk = STACK_NO_CHUNK;
        store_relaxed(&cpu->stack[i].owned, STACK_NO_SLOT);
    }
    cpu->lease = GROUP_NONE;
    cpu->chunk_max = (uint32_t)min_u64(CACHE_CHUNKS, zone->groups * GROUP_CHUNKS / 64);
    store_release(&cpu->attention, load_relaxed(&switched_off) ? CACHE_NONE : CACHE_PARKED);
    frame_cpu_table[index] = cpu;
}

bool cache_switched_on(void)
{
    return !load_relaxed(&switched_off);
}

/* Another drain, or the owner opening its cache at this moment, may have to be waited for; so often. */
#define SWITCH_TRIES 1000

void cache_switch(bool on)
{
    store_relaxed(&switched_off, !on);
    for (uint32_t i = 0; i < frame_system.cpu_count; i++) {
        struct frame_cpu *cpu = frame_cpu_table[i];
        uint32_t from = CACHE_NONE;

        if (cpu == &no_cache)
            continue;
        if (on) {
            (void)compare_exchange(&cpu->attention, &from, CACHE_PARKED);
            continue;
        }
        for (unsigned tries = 0; tries < SWITCH_TRIES && load_seq_cst(&cpu->attention) != CACHE_NONE; tries++) {
            cache_drain(i);
            from = CACHE_PARKED;
            if (!compare_exchange(&cpu->attention, &from, CACHE_NONE))
                port_cpu_relax();
        }
    }
}
