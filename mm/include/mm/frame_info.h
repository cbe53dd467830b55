/* SPDX-License-Identifier: MIT
 *
 * Frame descriptors: 16 bytes about each frame of RAM that the allocator knows, for whoever uses the frames; and
 * the debug modes, in which the allocator itself keeps them.
 *
 * In the default mode the allocator neither reads nor writes them: a frame from a CPU's cache costs no descriptor.
 * All zero means "nothing is said". Whoever has a frame may write its descriptor, and clears it (frame_unref does)
 * before the frame goes back.
 *
 * Descriptors are never touched before their first use, nor need their memory be zeroed: frame_info() clears 256
 * of them (4 KiB) when the first one of these is asked for.
 */
#ifndef MM_FRAME_INFO_H
#define MM_FRAME_INFO_H

#include <mm/frame.h>

/* What a frame holds. */
typedef enum frame_type {
    FRAME_TYPE_NONE,     /* not said */
    FRAME_TYPE_FREE,     /* given back while a debug mode was on; the allocator's own */
    FRAME_TYPE_RESERVED, /* kept for later: must not be freed */
    FRAME_TYPE_KERNEL,   /* per-CPU data and the like */
    FRAME_TYPE_STACK,
    FRAME_TYPE_PAGE_TABLE,
    FRAME_TYPE_SLAB,
    FRAME_TYPE_HEAP,
    FRAME_TYPE_DMA,
    FRAME_TYPE_ANONYMOUS, /* of a task; contents come from nowhere */
    FRAME_TYPE_PAGED,     /* of a task; contents come from a pager */
    FRAME_TYPE_TEST,
    FRAME_TYPES,
} frame_type_t;

/* "page table". Never NULL. */
const char *frame_type_name(frame_type_t type);

/* The fields are independent of each other: a reader beside a writer may see some old and some new ones. */
struct frame_info {
    _Atomic uint64_t owner; /* whatever the user of the frame likes, a pointer for example */
    _Atomic uint32_t refs;  /* frame_ref; while the type is FREE: who had it last, see frame_last_use() */
    _Atomic uint16_t
        site; /* of the allocation; while the type is FREE: of the free. See frame_site_address() */
    _Atomic uint8_t type;  /* frame_type_t */
    _Atomic uint8_t flags; /* frame_info_flags_t */
};

_Static_assert(sizeof(struct frame_info) == 16, "0.39 % of memory");

typedef enum frame_info_flags {
    FRAME_RECORDED = 1 << 0, /* the allocator wrote this descriptor */
    FRAME_FIRST = 1 << 1,    /* of a run, as it was allocated */
    FRAME_LAST = 1 << 2,
    FRAME_POISONED = 1 << 3, /* free, and filled with the pattern */
} frame_info_flags_t;

/* The descriptor of a frame, NULL if it is not RAM of the map that frame_init had. Held-back frames have one. O(log of
 * the separate pieces of RAM), and 4 KiB of zeroes for the first of 256. Any context. */
struct frame_info *frame_info(pfn_t frame);

/* The first descriptor that may be in use (all of its 256 neighbours count) from *frame on; *frame becomes its frame.
 * NULL: there is none. Goes over all memory in O(descriptors in use + frames / 256). Any context. */
struct frame_info *frame_info_next(pfn_t *frame);

/* What the descriptor of a frame that was freed says about its last use: type and site of the allocation. */
void frame_last_use(const struct frame_info *info, frame_type_t *type, uint16_t *site);

/* Bytes at the end of frame_metadata_size() that are for descriptors and need not be zeroed. map and limits as there.
 * Boot only. */
uint64_t frame_descriptor_size(const struct memmap *map, const struct zone_limits *limits);

/* The same after frame_init. frame_metadata_bytes() does not count them. */
uint64_t frame_descriptor_bytes(void);

/* ---- Reference counts ---------------------------------------------------------------------------------- */

/* For frames with more than one holder. A frame comes with the count 0: nobody counts. Each holder, the first one
 * too, calls frame_ref() once and frame_unref() once; the last frame_unref() clears the descriptor and frees the
 * frame. The frame is allocated; no other call frees it meanwhile. Any context, any CPU.
 * ERR_INVALID: not RAM, free (known in debug modes only), or unref of the count 0. ERR_FULL: the count is UINT32_MAX.
 * All are reported (port_report) and change nothing. frame_unref also returns what frame_free does. */
MUST_CHECK status_t frame_ref(pfn_t frame);
MUST_CHECK status_t frame_unref(pfn_t frame);

/* ---- Debug modes --------------------------------------------------------------------------------------- */

/* OWNER: the per-CPU caches are off. Each allocation records type, owner and site, and each free is checked at
 * once: frames that are free, held back, not RAM, reserved or still referenced, and runs that reach over the end of
 * one allocation into the next. A wrong free changes nothing and is reported with the sites of the allocation, of the
 * earlier free and of this one.
 * POISON: all this, and what is freed is filled with FRAME_POISON and verified when it is allocated again; a frame that
 * was written meanwhile is reported with offset and value. Frames that nothing can map (port_frame_map) are left out, as
 * are those that were free before.
 * Cost: a descriptor per frame of the run, for POISON the frame itself. */
typedef enum frame_debug {
    FRAME_DEBUG_OWNER = 1 << 0,
    FRAME_DEBUG_POISON = 1 << 1,
} frame_debug_t;

#define FRAME_POISON UINT64_C(0xdededededededede)

/* Switches modes; 0: none, and the allocator's records are dropped. After frame_init; nobody else may allocate or free
 * meanwhile. ERR_INVALID: an unknown flag. */
MUST_CHECK status_t frame_debug_set(unsigned flags);
unsigned frame_debug(void);

/* Sites are addresses in the code: where a public function was called, as a return address. They are numbered from 1
 * on in the order of a hash; 0 is "not known", also for those that came when the table was full. */
#define FRAME_SITES 1024

/* 0: no such site. site < FRAME_SITES + 1. */
uintptr_t frame_site_address(uint16_t site);

#endif
