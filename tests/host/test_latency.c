/* SPDX-License-Identifier: MIT
 *
 * Latencies, by a clock that the test sets.
 */
#include <mm/frame_metrics.h>

#include "host.h"
#include "quire_test.h"

/* A call of so many ticks is counted where it belongs, by what the reader adds up. */
TEST(metrics, latencies_by_powers_of_two)
{
    static const struct {
        uint64_t ticks;
        unsigned bucket;
    } known[] = {{1, 1},       {2, 2},        {3, 2},          {4, 3},      {1023, 10}, {1024, 11},
                 {1u << 25, 26}, {1u << 26, 27}, {UINT64_C(1) << 40, 27}};
    struct frame_latency before, after;
    pfn_t first;

    CHECK_EQ(frame_latency_measure(true), OK);
    for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
        frame_cpu_latency(0, FRAME_PATH_ALLOC, &before);
        host_tick_step = known[i].ticks; /* between the two readings of the call */
        CHECK_EQ(frame_alloc(&(struct frame_request){.count = 3, .zone = ZONE_NORMAL}, &first), OK);
        host_tick_step = 0;
        CHECK_EQ(frame_free(first, 3), OK);
        frame_cpu_latency(0, FRAME_PATH_ALLOC, &after);
        CHECK_EQ(after.calls, before.calls + 1);
        CHECK_EQ(after.ticks, before.ticks + known[i].ticks);
        CHECK_EQ(after.bucket[known[i].bucket], before.bucket[known[i].bucket] + 1);
        CHECK_EQ(after.longest, known[i].ticks); /* they rise */
    }
    CHECK_EQ(frame_latency_measure(false), OK);
}
