/* SPDX-License-Identifier: MIT
 *
 * Inside mm/frame: the debug modes. Whoever hands frames out or takes them back calls debug_allocated() and
 * debug_freeing() if debugging(). All calls come this way then, because the caches are off.
 */
#ifndef MM_FRAME_DEBUG_H
#define MM_FRAME_DEBUG_H

#include <mm/frame_info.h>

#include "zone.h"

extern _Atomic unsigned frame_debug_flags;

static inline bool debugging(void)
{
    return load_relaxed(&frame_debug_flags) != 0;
}

/* A run was taken from its zone and is about to be handed out: verifies and records. caller counts unless the request
 * names a site. */
void debug_allocated(const struct frame_request *request, uint64_t first, uintptr_t caller);

/* A run is about to be given back: judges, records and fills. Anything but OK, with a report: it must not. */
MUST_CHECK status_t debug_freeing(uint64_t first, uint64_t count, uintptr_t caller);

/* Whether caches may be on, if the embedder wants so. */
bool debug_lets_cache(bool wanted);

/* A report about a call that names one frame. */
void debug_report_frame(uint64_t frame, const char *call, const char *why, uintptr_t caller);

/* NULL or what is wrong with the records. Nobody may allocate or free meanwhile. */
const char *debug_check(void);

/* frame.c's: frame_free without debug_freeing. */
MUST_CHECK status_t free_judged(uint64_t first, uint64_t count);

#endif
