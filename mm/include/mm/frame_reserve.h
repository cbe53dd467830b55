/* SPDX-License-Identifier: MIT
 *
 * Emergency reserves: a few directly mapped frames of every node, set aside by what they are for, so that what
 * has to go on when memory is gone can go on. Ask by frame_request.reserve (mm/frame.h).
 *
 * Classed requests are served like all others as long as there is memory. When zones, caches and reclaim have nothing
 * left, one takes a frame of its class from its node, or from other nodes in the fallback order; nobody else ever
 * does. Such a frame is an ordinary allocated one from then on. While a reserve lacks frames, what is freed
 * goes there first.
 *
 * Frames in a reserve are neither free nor cached: free + used + reserved = managed.
 */
#ifndef MM_FRAME_RESERVE_H
#define MM_FRAME_RESERVE_H

#include <mm/frame.h>

/* How many frames a class has. Frames per CPU of the node; a CPU on a node without mapped memory counts at the
 * nearest one with some, and every node that has some counts as having a CPU:
 *
 *   page tables  4   A fault maps one page, which needs a table on each level but the root's: PT_MAX_LEVELS - 1.
 *                    A CPU has one fault at a time, and tables are fetched before anything is changed.
 *   interrupt    8   What a handler cannot wait for until the CPU may reclaim. A handler that hit its own CPU
 *                    inside the cache neither sees nor drains up to 120 cached frames, and a chunk that the
 *                    CPU was about to list: memory is not gone, only out of sight, until it returns. 8 frames
 *                    carry 21 network packets of 1,500 bytes.
 *   reclaim      8   A CPU has one reclaimer, which does not recurse. To give a frame back it may need a map of it
 *                    (4 tables), a frame to write compressed contents to, the neighbour when these cross a
 *                    border, and a frame for its own lists: 7.
 *
 * Frames per node:
 *
 *   last report  4   One CPU reports, the others have been stopped; the text that the kernel keeps is 16 KiB.
 *
 * So 4 CPUs on a node keep 84 frames, 336 KiB; 16 CPUs on each of 64 nodes 20,736 frames, 81 MiB of the
 * machine's terabytes. All classes together take at most 1/FRAME_RESERVE_SHARE of what the node has mapped: 32 MiB
 * with 8 CPUs keep 128 frames instead of 164, each class in proportion. */
#define FRAME_RESERVE_TABLES     4
#define FRAME_RESERVE_INTERRUPTS 8
#define FRAME_RESERVE_RECLAIMS   8
#define FRAME_RESERVE_REPORTS    4
#define FRAME_RESERVE_SHARE      64

struct frame_reserve_info {
    uint64_t size;   /* frames that the class has on the node when nothing is wrong */
    uint64_t held;   /* of these, there now */
    uint64_t taken;  /* times that a frame was taken from here */
    uint64_t filled; /* times that one was put here, those at boot included */
};

/* node < frame_topo()->node_count, FRAME_RESERVE_NONE < class < FRAME_RESERVE_CLASSES. O(size). Any context. */
void frame_reserve_info(uint16_t node, frame_reserve_t class, struct frame_reserve_info *info);

/* Frames in all reserves. O(their size). Any context. */
uint64_t frame_reserved(void);

/* "none", "page tables", "interrupt", "reclaim", "report" */
const char *frame_reserve_name(frame_reserve_t class);

#endif
