/* SPDX-License-Identifier: MIT
 *
 * What the frame tests share. They run against the live allocator of whatever machine is there, so they ask
 * it first and leave it as it was. Allocated runs are kept in a chain inside their own first frames.
 */
#ifndef FRAME_SUPPORT_H
#define FRAME_SUPPORT_H

#include <mm/frame.h>

#include "quire_test.h"

/* How often to repeat what chance decides: little under an emulator, much on the host. */
#if __STDC_HOSTED__
#define ROUNDS(kernel, hosted) (hosted)
#else
#define ROUNDS(kernel, hosted) (kernel)
#endif

/* The same for operations of all CPUs together that wait for each other: each of many waits for its turn on
 * few. */
#define OPERATIONS(kernel, hosted) ROUNDS(2 * (kernel) / (test_cpus() + 1), hosted)

/* Directly mapped frames from any node. */
#define ANY_FRAMES(count_)                                                                                   \
    ((struct frame_request){.count = (count_), .node = FRAME_NODE_ANY, .zone = ZONE_NORMAL})

/* Lies at the start of each chained run. */
struct link {
    struct link *next;
    uint64_t count;
    uint64_t mark; /* link_mark() as long as nobody else writes here */
};

struct chain {
    struct link *top;
    uint64_t runs, frames;
    bool damaged; /* a mark was overwritten, or a run could not be given back */
};

void chain_push(struct chain *chain, pfn_t first, uint64_t count);

/* Gives the top run back. */
void chain_pop(struct chain *chain);
void chain_free_all(struct chain *chain);

/* Allocates like `request`, in runs of decreasing powers of two from 2^order on, until not even one frame is left;
 * then the same with each lower kind of zone as the highest, of which the request had to leave a part. */
void chain_take_all(struct chain *chain, struct frame_request request, unsigned order);

/* Writes or verifies one word in every frame of a run. */
void mark_frames(pfn_t first, uint64_t count, uint64_t salt);
bool marks_intact(pfn_t first, uint64_t count, uint64_t salt);

/* Free frames of all zones that are directly mapped. */
uint64_t free_mapped(void);

/* Free frames of one node's zones up to Normal. */
uint64_t free_on_node(uint16_t node);

/* The node a frame is on. */
uint16_t node_of(pfn_t frame);

/* The zone's index, or frame_zone_count(). */
unsigned zone_find(uint16_t node, zone_kind_t kind);

/* Whether the last report (test_last_report) has this text in it. */
bool test_last_report_says(const char *what);

/* Ends the test as failed if an invariant of the allocator is broken or `before` frames are not free. */
#define CHECK_RESTORED(before)                                                                               \
    do {                                                                                                     \
        const char *broken_ = frame_check();                                                                 \
        if (broken_ != NULL) {                                                                               \
            test_fail(test_result_, __FILE__, __LINE__, "%s", broken_);                                      \
            return;                                                                                          \
        }                                                                                                    \
        CHECK_EQ(frame_free_count(), before);                                                                \
    } while (0)

#endif
