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

/* Starts anew with so many chunks, all free. Behind them lie as many frames as the emergency reserves have; these are
 * full. */
void machine_start(unsigned chunks);

/* The same with memory behind the frames. Its contents are those of earlier executions. */
void machine_start_with_memory(unsigned chunks);

/* Starts anew with one chunk, of which the last MACHINE_HELD_BACK frames are RAM that is not handed over yet. */
#define MACHINE_HELD_BACK 200
void machine_start_ragged(void);

/* Hands over the frames [at, at + count) of the machine; false: they were already (ERR_BUSY). */
bool machine_release(uint64_t at, uint64_t count);

/* Frees [at, at + count) whoever has them. */
status_t machine_free(uint64_t at, uint64_t count);

/* The next machine to start has no per-CPU caches: then every call is one against the zone. */
void machine_without_caches(void);

/* A scenario without caches: UNCACHED(suite, name, setup, .body = {…}, …). */
#define UNCACHED(suite_, name_, setup_, ...)                                                                 \
    static void setup_without_caches_##name_(void)                                                           \
    {                                                                                                        \
        machine_without_caches();                                                                            \
        setup_();                                                                                            \
    }                                                                                                        \
    SCENARIO(suite_, name_##_uncached, .setup = setup_without_caches_##name_, __VA_ARGS__)

/* The same scenario with caches and without: SCENARIOS(name, setup, .body = {…}, …). */
#define SCENARIOS(name_, setup_, ...)                                                                        \
    UNCACHED(frame, name_, setup_, __VA_ARGS__);                                                             \
    SCENARIO(frame, name_, .setup = setup_, __VA_ARGS__)

/* For .finish: verifies the allocator; what is held is given back, all chunks of which no frame is in a reserve must then
 * be whole again. */
void machine_finish(void);

struct run {
    uint64_t first, count;
};

/* Takes a run of so many frames, or the frames [at, at + count) of the machine. NULL: the allocator has no
 * memory for it; it may say nothing else. At most 16 runs at a time. */
struct run *run_take(uint64_t count);
struct run *run_take_at(uint64_t at, uint64_t count);

/* Takes one frame, from the reserve of a class if there is no other. */
struct run *run_take_classed(frame_reserve_t class);

/* The same, and must succeed. */
struct run *run_need_classed(frame_reserve_t class);
struct run *run_need(uint64_t count);
struct run *run_need_at(uint64_t at, uint64_t count);

/* Another run, which holds the last frames of this one from now on. */
struct run *run_split(struct run *run, uint64_t count);

/* Gives a run back; must succeed. */
void run_give(struct run *run);

/* Its `count` frames were given back, by whomever. */
void run_gone(struct run *run, uint64_t count);

/* Gives back a run of `count` frames that others may be giving back too; false: they were faster. Nobody may
 * be taking frames meanwhile. */
bool run_try_give(struct run *run, uint64_t count);

/* Tries to free a frame that is in a reserve, and has been since the machine started; must be refused. */
void machine_free_reserved(void);

/* Runs that are held, and their frames. */
unsigned runs_held(void);

#endif
