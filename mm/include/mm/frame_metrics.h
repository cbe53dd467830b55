/* SPDX-License-Identifier: MIT
 *
 * What the frame allocator can say about itself: how fragmented free memory is, what each CPU's cache does, how long
 * the slow paths take. Everything is read from the live structures, without locks, while other CPUs go on.
 * Figures of one call may then stem from different moments; while nobody allocates or frees they are exact.
 */
#ifndef MM_FRAME_METRICS_H
#define MM_FRAME_METRICS_H

#include <mm/frame.h>

/* ---- Where the frames are ------------------------------------------------------------------------------ */

/* managed = free + cached + used, where used includes what is reserved for emergencies (frame_reserved()). One value is what the others leave, so the sum holds always, also while
 * frame_init runs and before it; each of the others was true at some moment during the call. */
struct frame_totals {
    uint64_t managed;
    uint64_t free;   /* in bitmaps and buddy */
    uint64_t cached; /* in per-CPU caches */
    uint64_t used;
};

/* Of all zones; of those of one node, a dense index. FRAME_NODE_ANY: all. O(zones × CPUs). Any context. */
void frame_totals(uint16_t node, struct frame_totals *totals);

/* ---- Fragmentation ------------------------------------------------------------------------------------- */

struct frame_metrics {
    uint64_t free;                 /* frames that the walk met in bitmaps and buddy; what caches hold is not among them */
    uint64_t cached;               /* what they hold */
    uint64_t blocks[FRAME_ORDERS]; /* free blocks of 2^order frames, aligned to as many, not part of a larger one */

    /* The unusable free space index of M. Gorman and A. Whitcroft, "The What, The Why and the Where To of
     * Anti-Fragmentation", Ottawa Linux Symposium 2006: of each thousand free frames, how many lie in blocks too
     * small for the order, rounded down. 0: all of them could serve; 1000: none could, or nothing is free. */
    uint32_t unusable[FRAME_ORDERS];

    /* Runs: free frames side by side, at any alignment and of any length, within a zone. */
    uint64_t runs;
    uint64_t largest_run;
    uint64_t mean_run; /* in thousandths of a frame, rounded down; 0 if nothing is free */
};

/* One zone, index < frame_zone_count(). O(zone): every group's word, the words of chunks that are not wholly free,
 * the rows of those that are partly free. Any context. */
void frame_zone_metrics(unsigned index, struct frame_metrics *metrics);

/* All zones of one node, or with FRAME_NODE_ANY of the machine. Device memory counts, too. */
void frame_node_metrics(uint16_t node, struct frame_metrics *metrics);

/* Of the 512 frames that hold `frame`, those that are free in the zone (not in a cache). FRAME_NO_CHUNK: none of them
 * is managed by the zone. index < frame_zone_count(). O(spans). Any context. */
#define FRAME_NO_CHUNK UINT32_MAX
uint32_t frame_chunk_free(unsigned index, pfn_t frame);

/* ---- CPUs ---------------------------------------------------------------------------------------------- */

enum { FRAME_CACHE_FIXED, FRAME_CACHE_MOBILE, FRAME_CACHE_OUT, FRAME_CACHE_STACKS };

/* frames filled - spilled = frames cached + frames handed out less those taken back. */
struct frame_cpu_stats {
    unsigned zone;                       /* whose frames the cache keeps; meaningless without a cache */
    bool has_cache;                      /* and it is not switched off */
    bool in_use;                         /* used since it was last drained */
    uint64_t allocs, frees;              /* runs handed out from the cache and taken back into it */
    uint64_t refills, filled;            /* times that frames came from the zone, and frames */
    uint64_t spills, spilled;            /* times that they went back for want of room, and frames (by drains, too) */
    uint64_t direct_allocs, direct_frees; /* calls that went past the cache to a zone; failed ones count */
    uint64_t cached[FRAME_CACHE_STACKS]; /* single frames: to be handed out, the same for FRAME_MOVABLE, going back */
    uint64_t chunks;                     /* cached runs of 512 frames */
    uint64_t drains;                     /* times that the cache was emptied from outside */
};

/* What CPU `cpu`, as port_cpu counts, has done since frame_init. CPUs that the topology does not name have no cache
 * and share their counters. cpu < TOPO_MAX_CPUS. O(1). Any context. */
void frame_cpu_stats(unsigned cpu, struct frame_cpu_stats *stats);

/* ---- Latency ------------------------------------------------------------------------------------------- */

/* The slow paths. A hit in a cache is neither counted as one of these nor measured: reading the clock would cost more
 * than the hit. While a trace of every call is on (frame_trace.h) there are no hits, and all calls are FRAME_PATH_ALLOC
 * and FRAME_PATH_FREE. */
enum frame_path {
    FRAME_PATH_REFILL, /* a cache was filled from its zone */
    FRAME_PATH_SPILL,  /* a full cache gave frames back */
    FRAME_PATH_ALLOC,  /* a search through the zones, failed ones included */
    FRAME_PATH_FREE,   /* a run given back to its zone */
    FRAME_PATH_DRAIN,  /* one cache, or all, emptied from outside */
    FRAME_PATHS,
};

const char *frame_path_name(enum frame_path path); /* "refill", "spill", "alloc", "free", "drain" */

/* Bucket 0 counts calls of 0 ticks (port_ticks), bucket b those of 2^(b-1) to 2^b - 1, the last also longer ones. */
#define FRAME_LATENCY_BUCKETS 28

struct frame_latency {
    uint64_t calls, ticks; /* in all */
    uint64_t longest;      /* ticks */
    uint64_t bucket[FRAME_LATENCY_BUCKETS];
};

/* Begins to measure durations, from zero, or ends it. Not measured, a slow call costs two loads for it; measured, two
 * readings of port_ticks(). The figures' memory comes from the allocator with the first measurement, and stays. Other
 * CPUs may be a call late. ERR_NO_MEMORY. Context as frame_alloc. */
MUST_CHECK status_t frame_latency_measure(bool on);
bool frame_latency_measured(void);

/* What the last measurement has of one path on one CPU; zeros if there was none, and of CPUs that the topology does not
 * name. An interrupt that allocates in the middle of another call's bookkeeping may cost a count. cpu as
 * frame_cpu_stats. Any context. */
void frame_cpu_latency(unsigned cpu, enum frame_path path, struct frame_latency *latency);

#endif
