/* SPDX-License-Identifier: MIT
 *
 * What happens as memory becomes scarce. Every zone but Device has four watermarks, in frames:
 *
 *   high      enough: reclaim stops here
 *   low       the node is marked, and whoever has time reclaims (frame_reclaim_background)
 *   min       the same with more urgency; FRAME_SPECULATIVE is refused
 *   critical  who allocates reclaims first
 *
 * A zone's level rises as its free frames (cached ones included) sink below the marks, and falls to none when
 * they reach high again, not before. Each step is counted and told to the observer, in order also where one
 * allocation passes several marks. Levels are looked at where calls reach a zone; what a per-CPU cache serves goes
 * unseen until its next batch.
 *
 * Lower zones are protected from requests that could go elsewhere: a request whose highest zone on a node is Z leaves
 * in each zone below Z a part free. It is a share of what the zones above it up to Z manage: 1/FRAME_PROTECT_RATIO of
 * those up to Normal, and 1/FRAME_PROTECT_RATIO_HIGH of HighMem and Movable, where nothing of the kernel's can go; but
 * at most half of the zone itself. A request that names the lower zone, has a limit that only it can meet, or names
 * its frames, has all of it.
 */
#ifndef MM_FRAME_PRESSURE_H
#define MM_FRAME_PRESSURE_H

#include <mm/frame.h>

#define FRAME_PROTECT_RATIO      256
#define FRAME_PROTECT_RATIO_HIGH 32

typedef enum frame_pressure {
    FRAME_PRESSURE_NONE,
    FRAME_PRESSURE_LOW,
    FRAME_PRESSURE_MIN,
    FRAME_PRESSURE_CRITICAL,
    FRAME_PRESSURES,
} frame_pressure_t;

const char *frame_pressure_name(frame_pressure_t level); /* "none", "low", "min", "critical" */

struct frame_watermarks {
    uint64_t high, low, min, critical; /* frames; high > low > min > critical, or all 0: none */
};

struct frame_pressure_info {
    struct frame_watermarks marks;
    frame_pressure_t level;
    uint64_t free;                    /* frames, cached ones included */
    uint64_t events[FRAME_PRESSURES]; /* times that a level was entered */
    uint64_t protect[ZONE_KINDS];     /* frames that a request leaves whose highest zone on the node is this */
};

/* index < frame_zone_count(). O(CPUs). Any context. */
void frame_pressure_info(unsigned index, struct frame_pressure_info *info);

/* Sets a zone's marks, for tests; NULL: those that follow from its size. The level follows at once. ERR_INVALID:
 * neither all 0 nor in falling order. Any context. */
MUST_CHECK status_t frame_watermarks_set(unsigned index, const struct frame_watermarks *marks);

struct frame_pressure_event {
    unsigned zone; /* index */
    frame_pressure_t level; /* entered now */
    uint64_t free; /* what made it so */
};

/* Told of each event, in the context of the call that caused it: may hold locks, may have interrupts masked. */
typedef void (*frame_pressure_observer_t)(void *context, const struct frame_pressure_event *event);

/* Names the one observer; NULL: nobody. Calls that have begun may still be under way on return. */
void frame_pressure_observe(frame_pressure_observer_t observer, void *context);

/* Gives back frames of a node, if possible `wanted` of them; returns how many. Called by any CPU, by several at
 * once, and in the context of whoever allocates: it waits for no lock that may be held around an allocation. It
 * may allocate, with FRAME_RESERVE_RECLAIM if it must; nothing that it calls makes this CPU reclaim again. Never called
 * from an interrupt handler. */
typedef uint64_t (*frame_reclaim_t)(void *context, uint16_t node, frame_pressure_t pressure, uint64_t wanted);

/* Names the one reclaimer; NULL: nobody, and on return no call of the former is under way. ERR_BUSY: there is one
 * already, or a reclaimer wants to remove itself. */
MUST_CHECK status_t frame_reclaim_register(frame_reclaim_t hook, void *context);

/* Reclaims on nodes that are marked until all their zones are at high or nothing more comes; for CPUs that have
 * nothing else to do. At most FRAME_BACKGROUND_ROUNDS calls of the reclaimer for each node; what is then left waits
 * for the next call. A node of which nothing came is marked again by the next allocation. Returns the frames. One
 * load if there is nothing to do. Holds no locks; not from interrupts. */
#define FRAME_BACKGROUND_ROUNDS 8
uint64_t frame_reclaim_background(void);

struct frame_reclaim_info {
    uint64_t direct, background; /* calls of the reclaimer */
    uint64_t frames;             /* that these gave back */
};

void frame_reclaim_info(struct frame_reclaim_info *info);

#endif
