/* SPDX-License-Identifier: MIT
 *
 * The ring. Whoever records an event draws a number, and with it a place, by one fetch-and-add; marks the place as
 * being written; writes the event; and stamps it with its number. A reader takes an event for valid if the place
 * carries the right stamp before and after it was read. Somebody who finds its place being written (the ring has
 * gone once round meanwhile) drops the event and counts it: nobody waits.
 *
 * `users` counts those at work in the ring, so that trace_stop knows when its memory can go. All CPUs share it and the
 * next number: a trace slows all of them down, and shows them in one order.
 *
 * An event is four words: stamp; ticks; where {first frame 44 bits, CPU 10, node 6}; what {count 32, flags 16, kind 8,
 * aligned 8}. Of a drain, the other CPU is in place of the first frame.
 */
#include "cache.h"
#include "trace.h"

#define STAMP_EMPTY   UINT64_C(0)
#define STAMP_WRITING UINT64_C(1)
#define STAMP(number) ((number) + 2)

#define FRAME_BITS (FRAME_ADDRESS_BITS - FRAME_SHIFT)
#define CPU_BITS   10
#define NODE_BITS  6

struct trace_record {
    _Atomic uint64_t stamp, ticks, where, what;
};

_Static_assert(sizeof(struct trace_record) == 32 && FRAME_SIZE % sizeof(struct trace_record) == 0, "fills frames");
_Static_assert(FRAME_TRACE_MIN * sizeof(struct trace_record) == FRAME_SIZE, "the least ring is a frame");
_Static_assert(TOPO_MAX_CPUS <= 1 << CPU_BITS && TOPO_MAX_NODES <= 1 << NODE_BITS, "they fit into a word");
_Static_assert(FRAME_BITS + CPU_BITS + NODE_BITS <= 64, "they fit into a word");

enum { TRACE_OFF, TRACE_CHANGING, TRACE_ON };

static struct {
    _Atomic uint32_t state;
    _Atomic uint64_t users, next, dropped;
    /* Fixed while a trace is on, or users is not 0. */
    struct trace_record *record;
    uint32_t entries;
    bool every_call, had_caches;
} trace;

struct trace_record *_Atomic trace_ring;

const char *frame_event_name(enum frame_event_kind kind)
{
    static const char *const name[FRAME_EVENT_KINDS] = {"alloc", "alloc failed", "free",     "free refused",
                                                        "refill", "spill",       "drain",    "chunk broken",
                                                        "chunk whole", "pressure", "reserve"};

    return name[kind];
}

/* ---- Recording ----------------------------------------------------------------------------------------- */

/* False: no trace is on. Else the ring stays until leave(). */
static bool enter(void)
{
    fetch_add(&trace.users, 1);
    if (load_seq_cst(&trace_ring) != NULL)
        return true;
    fetch_add(&trace.users, UINT64_MAX);
    return false;
}

static void leave(void)
{
    fetch_add(&trace.users, UINT64_MAX);
}

static struct trace_record *record_of(uint64_t number)
{
    return &trace.record[number & (trace.entries - 1)];
}

uint64_t trace_claim_slowly(void)
{
    uint64_t number;

    if (!enter())
        return TRACE_NONE;
    number = fetch_add(&trace.next, 1);
    if (exchange(&record_of(number)->stamp, STAMP_WRITING) != STAMP_WRITING)
        return number;
    fetch_add(&trace.dropped, 1);
    leave();
    return TRACE_NONE;
}

void trace_fill_slowly(uint64_t number, const struct frame_event *event)
{
    struct trace_record *record = record_of(number);
    uint64_t first = event->kind == FRAME_EVENT_DRAIN ? event->of_cpu : event->first.v;

    /* Releases: whoever sees one of these words sees the place marked, too. */
    store_release(&record->ticks, port_ticks());
    store_release(&record->where, first | (uint64_t)port_cpu() << FRAME_BITS |
                                      (uint64_t)event->node << (FRAME_BITS + CPU_BITS));
    store_release(&record->what, event->count | (uint64_t)event->flags << 32 | (uint64_t)event->kind << 48 |
                                     (uint64_t)event->aligned << 56);
    store_release(&record->stamp, STAMP(number));
    leave();
}

void trace_request_slowly(enum frame_event_kind kind, const struct frame_request *request, uint16_t node,
                          uint64_t first)
{
    uint64_t place = trace_claim_slowly();

    if (place != TRACE_NONE)
        trace_fill_slowly(place, &(struct frame_event){.kind = kind,
                                                       .first = pfn(kind == FRAME_EVENT_ALLOC_FAILED ? 0 : first),
                                                       .count = (uint32_t)request->count,
                                                       .node = node,
                                                       .flags = (uint16_t)request->flags,
                                                       .aligned = is_power_of_two(request->count) &&
                                                                  request->align >= request->count});
}

/* ---- Reading ------------------------------------------------------------------------------------------- */

static void unpack(uint64_t where, uint64_t what, struct frame_event *event)
{
    uint64_t first = where & ((UINT64_C(1) << FRAME_BITS) - 1);

    event->cpu = (uint16_t)(where >> FRAME_BITS & ((1u << CPU_BITS) - 1));
    event->node = (uint16_t)(where >> (FRAME_BITS + CPU_BITS));
    event->count = (uint32_t)what;
    event->flags = (uint16_t)(what >> 32);
    event->kind = (enum frame_event_kind)(what >> 48 & 0xff);
    event->aligned = what >> 56 != 0;
    event->first = pfn(event->kind == FRAME_EVENT_DRAIN ? 0 : first);
    event->of_cpu = event->kind == FRAME_EVENT_DRAIN ? (uint16_t)first : 0;
}

status_t frame_trace_read(uint64_t number, struct frame_event *event)
{
    struct trace_record *record;
    uint64_t where, what;
    bool valid;

    if (!enter())
        return ERR_NOT_FOUND;
    record = record_of(number);
    valid = load_acquire(&record->stamp) == STAMP(number);
    *event = (struct frame_event){.number = number, .ticks = load_acquire(&record->ticks)};
    where = load_acquire(&record->where);
    what = load_acquire(&record->what);
    valid = valid && load_relaxed(&record->stamp) == STAMP(number);
    leave();
    unpack(where, what, event);
    return valid ? OK : ERR_NOT_FOUND;
}

void frame_trace_state(struct frame_trace_state *state)
{
    *state = (struct frame_trace_state){.on = false};
    if (!enter())
        return;
    state->on = true;
    state->every_call = trace.every_call;
    state->entries = trace.entries;
    state->next = load_seq_cst(&trace.next);
    state->oldest = state->next > trace.entries ? state->next - trace.entries : 0;
    state->dropped = load_relaxed(&trace.dropped);
    leave();
}

/* ---- On and off ---------------------------------------------------------------------------------------- */

static uint64_t ring_frames(uint32_t entries)
{
    return entries * sizeof(struct trace_record) / FRAME_SIZE;
}

status_t frame_trace_start(uint32_t entries, bool every_call)
{
    struct frame_request request = {.node = FRAME_NODE_ANY, .zone = ZONE_NORMAL, .flags = FRAME_ZEROED};
    uint32_t off = TRACE_OFF;
    status_t status;
    pfn_t memory;

    if (!is_power_of_two(entries) || entries < FRAME_TRACE_MIN || entries > FRAME_TRACE_MAX)
        return ERR_INVALID;
    if (!compare_exchange(&trace.state, &off, TRACE_CHANGING))
        return ERR_BUSY;
    request.count = ring_frames(entries);
    status = frame_alloc(&request, &memory);
    if (status != OK) {
        store_release(&trace.state, TRACE_OFF);
        return status;
    }
    trace.record = port_phys_to_virt(paddr_of(memory));
    trace.entries = entries;
    trace.every_call = every_call;
    trace.had_caches = cache_switched_on();
    store_relaxed(&trace.next, 0);
    store_relaxed(&trace.dropped, 0);
    if (every_call)
        cache_switch(false);
    exchange(&trace_ring, trace.record);
    store_release(&trace.state, TRACE_ON);
    return OK;
}

status_t frame_trace_stop(void)
{
    uint32_t on = TRACE_ON;
    pfn_t memory;

    if (!compare_exchange(&trace.state, &on, TRACE_CHANGING))
        return ERR_NOT_FOUND;
    exchange(&trace_ring, NULL);
    while (load_seq_cst(&trace.users) != 0) /* bound: an event or a call each on the other CPUs */
        port_cpu_relax();
    if (trace.every_call && trace.had_caches)
        cache_switch(true);
    memory = pfn_of(port_virt_to_phys(trace.record));
    store_release(&trace.state, TRACE_OFF);
    return frame_free(memory, ring_frames(trace.entries));
}
