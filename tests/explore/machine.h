/* SPDX-License-Identifier: MIT
 *
 * The tiny machine that scenarios of mm/frame run on: one node, one zone of 1 … 4 chunks, a CPU per thread.
 * Who holds which frame is also noted in a shadow map, which sees a frame handed out twice at once, and a
 * lost one in the end.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include <mm/frame.h>

#include "explore.h"

#define MACHINE_CHUNKS 4

/* mm/frame does not have these yet. */
void frame_drain(void) __attribute__((weak));
void frame_cpu_offline(unsigned cpu) __attribute__((weak));
void frame_set_caching(bool on) __attribute__((weak));

/* Starts anew with so many chunks, all free. */
void machine_start(unsigned chunks);

/* For .finish: verifies the allocator; what is held is given back, all chunks must then be whole again. */
void machine_finish(void);

struct run {
    uint64_t first, count;
};

/* Takes a run of so many frames, or the frames [at, at + count) of the machine. NULL: the allocator has no
 * memory for it; it may say nothing else. At most 16 runs at a time. */
struct run *run_take(uint64_t count);
struct run *run_take_at(uint64_t at, uint64_t count);

/* The same, and must succeed. */
struct run *run_need(uint64_t count);
struct run *run_need_at(uint64_t at, uint64_t count);

/* Another run, which holds the last frames of this one from now on. */
struct run *run_split(struct run *run, uint64_t count);

/* Gives a run back; must succeed. */
void run_give(struct run *run);

/* Gives back a run of `count` frames that others may be giving back too; false: they were faster. Nobody may
 * be taking frames meanwhile. */
bool run_try_give(struct run *run, uint64_t count);

/* Runs that are held, and their frames. */
unsigned runs_held(void);

#endif
