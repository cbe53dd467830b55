/* SPDX-License-Identifier: MIT
 *
 * A plain model of the frame allocator: one byte per frame, and everything found by looking at all of them. Each call
 * asks the allocator and the model, and returns NULL or what the allocator did wrong. One simulated machine
 * (layout.h) at a time, below MODEL_FRAMES.
 */
#ifndef FRAME_MODEL_H
#define FRAME_MODEL_H

#include <mm/frame.h>

#define MODEL_FRAMES 9000u

/* Reads the machine that was just started, and checks it: every whole usable frame is free, in the zone of its node
 * and address. Without caches every judgement is exact. With them, wrong frees are left out (they are reported later,
 * or not noticed), and half of the time a zone may be passed over that has what is asked for. */
const char *model_begin(bool caches);

/* *taken: the first frame if the request was served; count says how many. */
struct model_run {
    uint64_t first, count; /* 0: not served */
};
const char *model_alloc(const struct frame_request *request, struct model_run *taken);

/* Any range, right or wrong. */
const char *model_free(uint64_t first, uint64_t count);
const char *model_release(uint64_t first, uint64_t count);

/* Whether a frame is allocated. Any number. */
bool model_used(uint64_t frame);

/* Drains the caches, compares statistics with counted ones, and runs frame_check. */
const char *model_compare(void);

/* Frees all that is allocated, run by run, and compares. Caches are on afterwards. */
const char *model_end(void);

#endif
