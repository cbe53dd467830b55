/* SPDX-License-Identifier: MIT
 *
 * Physical frames: node → zone → hybrid allocator.
 *
 * Requests of fewer than CHUNK_FRAMES frames come from bitmaps of 512-frame chunks; larger ones from the
 * buddy above, which owns whole chunks (orders 9 … 20, that is 2 MiB … 4 GiB; order 18 is 1 GiB). Chunks move
 * both ways. Lengths are exact: 513 frames cost 513. Runs of fewer than 512 frames do not cross a chunk border,
 * longer ones start at one (requests for given frames excepted).
 *
 * All metadata lies in memory that the caller provides (frame_metadata_size), so nothing here allocates from
 * itself. Statistics hold from the first moment: free + used + reserved = managed, per zone.
 */
#ifndef MM_FRAME_H
#define MM_FRAME_H

#include <mm/memmap.h>
#include <mm/topo.h>
#include <mm/types.h>

#define FRAME_ORDERS 21

/* Physical addresses have at most so many bits (the widest of the three ISAs'): chunks can then be numbered with
 * 32 bits and sums of addresses do not wrap. */
#define FRAME_ADDRESS_BITS 56

/* In rising order of preference by an unrestricted request; a request names the highest it can use and falls
 * back downwards. */
typedef enum zone_kind {
    ZONE_DMA,     /* the narrowest device on the platform reaches it */
    ZONE_DMA32,   /* below 4 GiB */
    ZONE_NORMAL,
    ZONE_HIGHMEM, /* RAM beyond the direct map */
    ZONE_MOVABLE, /* for contents that can be moved elsewhere, and nothing else; mapped or not */
    ZONE_DEVICE,  /* MEM_SPECIFIC, at any address and never mapped; only on explicit request, never a fallback */
    ZONE_KINDS,
} zone_kind_t;

const char *zone_name(zone_kind_t kind); /* "DMA", "DMA32", "Normal", "HighMem", "Movable", "Device" */

/* Where the platform draws its borders; 0: the platform has no such zone. */
struct zone_limits {
    uint64_t dma_end;
    uint64_t dma32_end;
    uint64_t direct_end;    /* RAM from here on is HighMem; UINT64_MAX: all RAM is mapped */
    uint64_t movable_start; /* RAM from here on is Movable, mapped or not */
};

/* The addresses [*start, *end) whose memory belongs to a kind of zone; empty for kinds that limits do not make.
 * The kinds up to Movable adjoin and cover everything: they are for RAM. Device covers everything as well, for
 * MEM_SPECIFIC. */
static inline void zone_bounds(const struct zone_limits *limits, zone_kind_t kind, uint64_t *start, uint64_t *end)
{
    uint64_t movable = limits->movable_start != 0 ? limits->movable_start : UINT64_MAX;
    uint64_t direct = min_u64(limits->direct_end != 0 ? limits->direct_end : UINT64_MAX, movable);
    uint64_t dma = min_u64(limits->dma_end, direct);
    uint64_t dma32 = min_u64(max_u64(limits->dma32_end, dma), direct);
    const uint64_t border[] = {0, dma, dma32, direct, movable, UINT64_MAX};

    *start = kind <= ZONE_MOVABLE ? border[kind] : 0;
    *end = kind <= ZONE_MOVABLE ? border[kind + 1] : UINT64_MAX;
}

/* The zone that holds a byte of RAM. */
static inline zone_kind_t zone_of(const struct zone_limits *limits, uint64_t address)
{
    uint64_t start, end;

    for (zone_kind_t kind = ZONE_DMA; kind < ZONE_MOVABLE; kind++) {
        zone_bounds(limits, kind, &start, &end);
        if (address >= start && address < end)
            return kind;
    }
    return ZONE_MOVABLE;
}

#define FRAME_NODE_ANY UINT16_MAX

typedef enum frame_flags {
    FRAME_ZEROED = 1 << 0,      /* contents are zero on return, mapped or not */
    FRAME_THIS_NODE = 1 << 1,   /* fail rather than use another node */
    FRAME_THIS_ZONE = 1 << 2,   /* fail rather than use a lower zone */
    FRAME_AT = 1 << 3,          /* exactly the frames from request.at on */
    FRAME_MOVABLE = 1 << 4,     /* what lies in them can be moved elsewhere; kept apart from what cannot */
    FRAME_SPECULATIVE = 1 << 5, /* it would be nice to have: fail rather than take what others will need soon */
} frame_flags_t;

#define FRAME_FLAGS_ALL 0x3fu

/* What has to go on when memory is gone: see mm/frame_reserve.h. */
typedef enum frame_reserve {
    FRAME_RESERVE_NONE,
    FRAME_RESERVE_PAGE_TABLE,
    FRAME_RESERVE_INTERRUPT, /* a handler: must not wait for reclaim */
    FRAME_RESERVE_RECLAIM,   /* a reclaimer that needs frames to free more */
    FRAME_RESERVE_REPORT,    /* the last report: waits for no other CPU either */
    FRAME_RESERVE_CLASSES,
} frame_reserve_t;

struct frame_request {
    uint64_t count;      /* frames, 1 … 2^20; exact */
    uint64_t align;      /* of the first frame, in frames; a power of two up to 2^20; 0 means 1 */
    uint64_t limit;      /* every byte lies below this address; 0: no limit */
    uint64_t boundary;   /* the run crosses no multiple of this many frames; a power of two ≥ count; 0: none */
    pfn_t at;            /* with FRAME_AT */
    uint16_t node;       /* dense index to start from; FRAME_NODE_ANY: the calling CPU's */
    uint8_t type;        /* frame_type_t (mm/frame_info.h) but FREE, for the records of debug modes */
    zone_kind_t zone;    /* highest zone that the caller can use */
    uint32_t flags;      /* frame_flags_t */
    frame_reserve_t reserve; /* where to look when memory is gone; one frame that any mapped one will do for */
    uint64_t owner;      /* anything; for the records */
    uintptr_t site;      /* the caller's caller, if that says more; 0: where frame_alloc was called */
};

struct frame_zone_stats {
    uint64_t managed;    /* frames handed to the zone; free + reserved + used */
    uint64_t free;             /* those in caches included */
    uint64_t cached;           /* of these, in per-CPU caches */
    uint64_t cached_chunks;    /* of these, whole chunks */
    uint64_t reserved;         /* frames in emergency reserves; not free */
    uint64_t chunks;           /* 512-frame chunks of which at least one frame is managed */
    uint64_t whole_chunks;     /* of these, wholly free */
    uint64_t largest_run;      /* frames; O(zone) */
    uint64_t allocs, frees;    /* runs taken from the zone and given back */
    uint64_t failures;         /* times that the zone was asked and had nothing that fits */
    uint64_t free_blocks[FRAME_ORDERS]; /* buddy blocks by order; below 9: maximal aligned free blocks */
};

struct frame_zone_info {
    uint16_t node;
    zone_kind_t kind;
    pfn_t start, end; /* span of its RAM, held back or not; may contain holes */
};

/* Bytes of metadata that frame_init will need, frame aligned, descriptors (mm/frame_info.h) included; enough also when usable regions of the map have
 * since become MEM_EARLY, MEM_KERNEL or MEM_MODULE. UINT64_MAX: RAM lies beyond FRAME_ADDRESS_BITS.
 * O(regions × zones). Boot only. */
uint64_t frame_metadata_size(const struct memmap *map, const struct topo *topo,
                             const struct zone_limits *limits);

/* Takes over every whole frame of the map's MEM_USABLE and MEM_SPECIFIC regions. map and topo are settled and
 * assigned.
 * metadata: frame_metadata_size() bytes, zeroed but for the last frame_descriptor_size() of them, directly mapped, not inside a usable region. topo must stay
 * where it is; map is not looked at again. All of the map's other RAM (boot-reclaim, ACPI-reclaim, kernel,
 * module, early) is held back: frame_release may hand it over.
 * Boot only, one CPU. ERR_INVALID: metadata too small, a region has no node or lies beyond
 * FRAME_ADDRESS_BITS. */
MUST_CHECK status_t frame_init(const struct memmap *map, const struct topo *topo,
                               const struct zone_limits *limits, void *metadata, uint64_t metadata_size);

/* Allocates a run. On success *first is its first frame; it is contiguous, within one zone, and of exactly
 * request->count frames. Order of search: for each node in the fallback order of the asked node, zones from
 * request->zone downwards, of the lower ones only what is not protected (mm/frame_pressure.h). With FRAME_AT, node
 * and zone only say what is refused. What then fails is tried again without anything in per-CPU caches; then, up
 * to CHUNK_FRAMES frames at any place and without class or for page tables, with the registered reclaimer's help; at
 * last a classed one takes a frame from its reserve. FRAME_SPECULATIVE fails before all this.
 * ERR_INVALID: a field is out of range, or `at` contradicts align or boundary, or a classed request asks for what not
 * every mapped frame is: count ≠ 1, align > 1, a limit, a zone below Normal or Device, FRAME_AT, FRAME_THIS_ZONE,
 * FRAME_SPECULATIVE. ERR_NO_MEMORY: nothing fits. Any context. */
MUST_CHECK status_t frame_alloc(const struct frame_request *request, pfn_t *first);

/* Gives a run back, or any part of one: [first, first + count) must be allocated frames of one zone.
 * ERR_INVALID: count is 0 or the frames are not managed. ERR_BUSY: some of them are free already, or reserved; nothing
 * was changed. A single frame, or a chunk, may go into this CPU's cache unchecked; that it was free or not managed is
 * then reported (port_report) when it leaves the cache for its zone. See frame_set_caching, and frame_debug_set, with which
 * more is found. Where two CPUs
 * free parts of the same run at the same moment each frame is given back once; the other CPU is told ERR_BUSY, or it is
 * reported, and what was not free goes back all the same. Any context. */
MUST_CHECK status_t frame_free(pfn_t first, uint64_t count);

/* One frame, Normal zone, calling CPU's node: what page tables and most callers ask for. */
MUST_CHECK status_t frame_alloc_one(uint32_t flags, pfn_t *frame);

/* Gives all frames in per-CPU caches back to their zones. Frames that other CPUs cache meanwhile stay. Any context but
 * an interrupt that hit an allocator call, where it does nothing. Waits for the other CPUs' answer to a fence. */
void frame_drain(void);

/* Gives back what one CPU has cached, which stops or has stopped. cpu < TOPO_MAX_CPUS. As frame_drain. */
void frame_cpu_offline(unsigned cpu);

/* Without caches every call reaches the zones: slower, but a wrong free is told to the caller who makes it. On from
 * frame_init on, but stay off in debug modes. Other CPUs may go on meanwhile. Context as frame_drain. */
void frame_set_caching(bool on);

/* Requests of so many frames and more start a chunk of their own while there are whole ones; smaller ones go into partly
 * used chunks first. 2 … 512, which is where frame_init sets it. ERR_INVALID: out of range. Any context. */
MUST_CHECK status_t frame_set_threshold(uint64_t frames);

/* Late memory: hands [first, first + count), held back at frame_init, to the allocator. It may lie in several
 * zones. ERR_INVALID: a part is not RAM of the map. ERR_BUSY: a part is managed already. ERR_FULL: too many
 * separate pieces. Nothing was changed then. Any context. */
MUST_CHECK status_t frame_release(pfn_t first, uint64_t count);

/* Says which node a CPU (as port_cpu counts) is on. Until then CPU i is the topology's cpu[i].
 * cpu < TOPO_MAX_CPUS; it does not run yet, or is the caller's. */
void frame_cpu_node(unsigned cpu, uint16_t node);

/* The topology that frame_init was given. */
const struct topo *frame_topo(void);

/* Zones in order of node, then kind. index < frame_zone_count(). */
#define FRAME_MAX_ZONES (TOPO_MAX_NODES * ZONE_KINDS)
unsigned frame_zone_count(void);
void frame_zone_info(unsigned index, struct frame_zone_info *info);
void frame_zone_stats(unsigned index, struct frame_zone_stats *stats);

/* Sums over all zones, without locks; each value was true at some moment during the call. */
uint64_t frame_managed(void);
uint64_t frame_free_count(void);
uint64_t frame_metadata_bytes(void); /* the allocator's own: frame_descriptor_bytes() come on top */

typedef enum frame_state {
    FRAME_UNMANAGED,
    FRAME_FREE,
    FRAME_ALLOCATED,
    FRAME_RESERVED, /* in an emergency reserve: neither free nor anybody's */
} frame_state_t;

/* What the allocator knows of one frame, and the index of its zone. A frame that is held back is unmanaged and
 * has a zone; for one that is not RAM at all *zone is not written. */
frame_state_t frame_query(pfn_t frame, unsigned *zone);

/* Verifies every invariant (counts against bits, summaries, buddy sets); NULL or what is broken. Nobody may
 * allocate or free meanwhile. */
const char *frame_check(void);

#endif
