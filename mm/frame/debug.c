/* SPDX-License-Identifier: MIT
 *
 * The debug modes: what each frame was allocated for and where, and whether each free is right.
 *
 * A free is judged and recorded in one step, under a lock; after that every other free of the same frames is wrong, so
 * the frames can be filled, and go back to their zone, without the lock. Whoever allocates them records without the
 * lock: until then the descriptors say "free", and what frees them meanwhile is wrong anyhow.
 *
 * Where one allocation ends and the next begins: the first and the last frame of a run are marked. Parts of a
 * run may be freed and handed out again; of two runs that lie side by side the later one has its mark at their border,
 * because it was allocated up to there and no further.
 *
 * A free frame's descriptor keeps type and site of its last allocation where the reference count was.
 * Bounds: each call passes over its frames a constant number of times; the lock is held for O(count) descriptors.
 */
#include <mm/port.h>

#include "cache.h"
#include "debug.h"
#include "reserve.h"

_Atomic unsigned frame_debug_flags;

static spinlock_t judging;
static _Atomic bool caches_wanted = true;

/* ---- Sites --------------------------------------------------------------------------------------------- */

#define SITE_PROBES 64

static _Atomic uintptr_t site_table[FRAME_SITES];

static uint16_t site_number(uintptr_t address)
{
    uint32_t at = (uint32_t)(address * UINT64_C(0x9e3779b97f4a7c15) >> 40);

    for (unsigned i = 0; i < SITE_PROBES && address != 0; i++, at++) {
        _Atomic uintptr_t *entry = &site_table[at % FRAME_SITES];
        uintptr_t found = load_relaxed(entry);

        if (found == address || (found == 0 && compare_exchange(entry, &found, address)) || found == address)
            return (uint16_t)(at % FRAME_SITES + 1);
    }
    return 0;
}

uintptr_t frame_site_address(uint16_t site)
{
    return site == 0 ? 0 : load_relaxed(&site_table[site - 1]);
}

/* ---- Reports ------------------------------------------------------------------------------------------- */

/* A place in the code for port_report: `"%s%s%#llx", PLACE(place)` is "function+0x1c" or "0x1234". */
struct place {
    const char *name, *plus;
    uint64_t offset;
};

#define PLACE(place) (place).name, (place).plus, (unsigned long long)(place).offset

static struct place place_of(uintptr_t address)
{
    uint64_t offset;
    const char *name = port_symbol(address, &offset);

    return name != NULL ? (struct place){name, "+", offset} : (struct place){"", "", address};
}

static struct place place_of_site(uint16_t site)
{
    return place_of(frame_site_address(site));
}

/* What is wrong with a free. */
struct misuse {
    const char *what;
    uint64_t frame; /* of the run, the one that shows it */
    struct {        /* a copy of its descriptor */
        uint64_t owner;
        uint32_t refs;
        uint16_t site;
        uint8_t type, flags;
    } info;
};

static struct frame_info *info_of(uint64_t frame)
{
    return frame_info(pfn(frame));
}

static void misuse_found(struct misuse *misuse, const char *what, uint64_t frame)
{
    const struct frame_info *info = info_of(frame);

    *misuse = (struct misuse){.what = what, .frame = frame};
    if (info == NULL)
        return;
    misuse->info.owner = load_relaxed(&info->owner);
    misuse->info.refs = load_relaxed(&info->refs);
    misuse->info.site = load_relaxed(&info->site);
    misuse->info.type = load_relaxed(&info->type);
    misuse->info.flags = load_relaxed(&info->flags);
}

static uint32_t last_use_of(frame_type_t type, uint16_t site)
{
    return (uint32_t)type << 16 | site;
}

void frame_last_use(const struct frame_info *info, frame_type_t *type, uint16_t *site)
{
    uint32_t use = load_relaxed(&info->refs);

    *type = (frame_type_t)(use >> 16);
    *site = (uint16_t)use;
}

/* The site and the type that the report names: of the allocation, also if it is over. */
static void report(const struct misuse *misuse, uint64_t first, uint64_t count, uintptr_t caller)
{
    unsigned long long run = first, frames = count, frame = misuse->frame, owner = misuse->info.owner;
    struct place now = place_of(caller), then = place_of_site(misuse->info.site), allocated = then;
    frame_type_t type = (frame_type_t)misuse->info.type;

    if ((misuse->info.flags & FRAME_RECORDED) == 0) {
        port_report("frame_free(%#llx, %llu) at %s%s%#llx: frame %#llx %s", run, frames, PLACE(now), frame,
                    misuse->what);
    } else if (type == FRAME_TYPE_FREE) {
        allocated = place_of_site((uint16_t)misuse->info.refs);
        port_report(
            "frame_free(%#llx, %llu) at %s%s%#llx: frame %#llx %s; freed before at %s%s%#llx, allocated at "
            "%s%s%#llx, type %s, owner %#llx",
            run, frames, PLACE(now), frame, misuse->what, PLACE(then), PLACE(allocated),
            frame_type_name((frame_type_t)(misuse->info.refs >> 16)), owner);
    } else {
        port_report("frame_free(%#llx, %llu) at %s%s%#llx: frame %#llx %s; allocated at %s%s%#llx, type %s, "
                    "owner %#llx, "
                    "references %u",
                    run, frames, PLACE(now), frame, misuse->what, PLACE(allocated), frame_type_name(type),
                    owner, misuse->info.refs);
    }
}

void debug_report_frame(uint64_t frame, const char *call, const char *why, uintptr_t caller)
{
    struct place place = place_of(caller);

    port_report("%s(%#llx) at %s%s%#llx: %s", call, (unsigned long long)frame, PLACE(place), why);
}

/* ---- Frees --------------------------------------------------------------------------------------------- */

/* By the zone. Of a run that may not be freed finds the first frame that is why. */
static status_t judge_state(const struct zone *zone, uint64_t first, uint64_t count, struct misuse *misuse)
{
    status_t status = zone_may_free(zone, first, count);
    frame_state_t wrong = status == ERR_BUSY ? FRAME_FREE : FRAME_UNMANAGED;
    uint64_t frame = first;

    if (status == OK)
        return OK;
    while (frame < first + count - 1 && zone_query(zone, frame) != wrong)
        frame++;
    misuse_found(misuse, wrong == FRAME_FREE ? "is free" : "is held back, and nobody's to free", frame);
    return status;
}

/* By the records of one frame. */
static status_t judge_frame(uint64_t frame, bool first, bool last, struct misuse *misuse)
{
    const struct frame_info *info = info_of(frame);
    unsigned flags = load_relaxed(&info->flags);
    const char *what = NULL;

    if (load_relaxed(&info->type) == FRAME_TYPE_FREE)
        what = "is free";
    else if (load_relaxed(&info->refs) != 0)
        what = "is still referenced";
    if (what != NULL) {
        misuse_found(misuse, what, frame);
        return ERR_BUSY;
    }
    if (load_relaxed(&info->type) == FRAME_TYPE_RESERVED)
        what = "is reserved";
    else if ((flags & FRAME_FIRST) != 0 && !first)
        what = "begins another allocation";
    else if ((flags & FRAME_LAST) != 0 && !last)
        what = "ends its allocation";
    if (what == NULL)
        return OK;
    misuse_found(misuse, what, frame);
    return ERR_INVALID;
}

static status_t judge(uint64_t first, uint64_t count, struct misuse *misuse)
{
    const struct frame_range *ram = range_find(frame_system.ram, frame_system.ram_count, first);
    status_t status;

    if (ram == NULL || count == 0 || count > ram->end - first) {
        if (count == 0 || ram == NULL)
            misuse_found(misuse, count == 0 ? "comes with a count of 0" : "is not RAM", first);
        else
            misuse_found(misuse, "is of another zone or not RAM", ram->end);
        return ERR_INVALID;
    }
    status = judge_state(&frame_system.zone[ram->zone], first, count, misuse);
    for (uint64_t i = 0; i < count && status == OK; i++)
        status = judge_frame(first + i, i == 0, i == count - 1, misuse);
    return status;
}

static void record_free(uint64_t frame, uint16_t site)
{
    struct frame_info *info = info_of(frame);
    uint16_t allocated = (load_relaxed(&info->flags) & FRAME_RECORDED) != 0 ? load_relaxed(&info->site) : 0;

    store_relaxed(&info->refs, last_use_of((frame_type_t)load_relaxed(&info->type), allocated));
    store_relaxed(&info->site, site);
    store_relaxed(&info->type, FRAME_TYPE_FREE);
    store_relaxed(&info->flags, FRAME_RECORDED);
}

static void fill(uint64_t frame)
{
    struct frame_info *info = info_of(frame);
    uint64_t *word = port_frame_map(pfn(frame));

    if (word == NULL)
        return;
    for (unsigned i = 0; i < FRAME_SIZE / sizeof(*word); i++)
        word[i] = FRAME_POISON;
    port_frame_unmap(word);
    store_relaxed(&info->flags, FRAME_RECORDED | FRAME_POISONED);
}

status_t debug_freeing(uint64_t first, uint64_t count, uintptr_t caller)
{
    uint16_t site = site_number(caller);
    struct misuse misuse;
    uint64_t irq = spin_lock(&judging);
    status_t status = judge(first, count, &misuse);

    for (uint64_t i = 0; i < count && status == OK; i++)
        record_free(first + i, site);
    spin_unlock(&judging, irq);
    if (status != OK)
        report(&misuse, first, count, caller);
    for (uint64_t i = 0; i < count && status == OK && (frame_debug() & FRAME_DEBUG_POISON) != 0; i++)
        fill(first + i);
    return status;
}

/* ---- Allocations --------------------------------------------------------------------------------------- */

/* Whether a frame still is as it was filled; if not, the word that differs first, and the byte in it. */
static bool intact(uint64_t frame, uint64_t *value, unsigned *offset)
{
    uint64_t *word = port_frame_map(pfn(frame));
    unsigned i = 0;

    if (word == NULL)
        return true;
    while (i < FRAME_SIZE / sizeof(*word) && word[i] == FRAME_POISON)
        i++;
    if (i < FRAME_SIZE / sizeof(*word)) {
        const uint8_t *byte = (const uint8_t *)&word[i];

        *value = word[i];
        for (*offset = i * (unsigned)sizeof(*word); *byte == (uint8_t)FRAME_POISON; (*offset)++)
            byte++; /* bound: one of the eight differs */
    }
    port_frame_unmap(word);
    return i == FRAME_SIZE / sizeof(*word);
}

static void report_written(uint64_t frame, unsigned offset, uint64_t value)
{
    const struct frame_info *info = info_of(frame);
    struct place freed = place_of_site(load_relaxed(&info->site)), allocated;
    frame_type_t type;
    uint16_t site;

    frame_last_use(info, &type, &site);
    allocated = place_of_site(site);
    port_report("frame %#llx was written after it was freed: offset %#x, in word %#llx; freed at %s%s%#llx, "
                "allocated at "
                "%s%s%#llx, type %s, owner %#llx",
                (unsigned long long)frame, offset, (unsigned long long)value, PLACE(freed), PLACE(allocated),
                frame_type_name(type), (unsigned long long)load_relaxed(&info->owner));
}

/* Reports the first frame of the run that was written. */
static void verify(uint64_t first, uint64_t count)
{
    for (uint64_t frame = first; frame < first + count; frame++) {
        uint64_t value;
        unsigned offset;

        if ((load_relaxed(&info_of(frame)->flags) & FRAME_POISONED) != 0 && !intact(frame, &value, &offset)) {
            report_written(frame, offset, value);
            return;
        }
    }
}

void debug_allocated(const struct frame_request *request, uint64_t first, uintptr_t caller)
{
    uint16_t site = site_number(request->site != 0 ? request->site : caller);

    verify(first, request->count);
    for (uint64_t i = 0; i < request->count; i++) {
        struct frame_info *info = info_of(first + i);
        unsigned flags =
            FRAME_RECORDED | (i == 0 ? FRAME_FIRST : 0u) | (i == request->count - 1 ? FRAME_LAST : 0u);

        store_relaxed(&info->owner, request->owner);
        store_relaxed(&info->refs, 0);
        store_relaxed(&info->site, site);
        store_relaxed(&info->type, request->type);
        store_relaxed(&info->flags, (uint8_t)flags);
    }
}

/* ---- Switching ----------------------------------------------------------------------------------------- */

bool debug_lets_cache(bool wanted)
{
    store_relaxed(&caches_wanted, wanted);
    return wanted && !debugging();
}

/* Records end here: without them they would grow old. What users have written stays. */
static void drop_records(void)
{
    pfn_t frame = pfn(0);

    for (struct frame_info *info; (info = frame_info_next(&frame)) != NULL;
         frame.v++) { /* bound: all frames */
        if (load_relaxed(&info->type) == FRAME_TYPE_FREE) {
            store_relaxed(&info->owner, 0);
            store_relaxed(&info->refs, 0);
            store_relaxed(&info->type, FRAME_TYPE_NONE);
        }
        if ((load_relaxed(&info->flags) & FRAME_RECORDED) != 0) {
            store_relaxed(&info->site, 0);
            store_relaxed(&info->flags, 0);
        }
    }
}

status_t frame_debug_set(unsigned flags)
{
    bool was_on = debugging();

    if ((flags & ~(unsigned)(FRAME_DEBUG_OWNER | FRAME_DEBUG_POISON)) != 0)
        return ERR_INVALID;
    if (flags != 0)
        cache_switch(false);
    store_relaxed(&frame_debug_flags, flags);
    if (flags == 0 && was_on) {
        drop_records();
        cache_switch(load_relaxed(&caches_wanted));
    }
    return OK;
}

unsigned frame_debug(void)
{
    return load_relaxed(&frame_debug_flags);
}

/* The reserves fill themselves behind the records' back: what they hold is free for everybody who asks. */
static bool in_reserve(pfn_t frame)
{
    const struct frame_range *ram = range_find(frame_system.ram, frame_system.ram_count, frame.v);

    return ram != NULL && reserve_holds(&frame_system.zone[ram->zone], frame.v, 1);
}

const char *debug_check(void)
{
    pfn_t frame = pfn(0);

    for (const struct frame_info *info; (info = frame_info_next(&frame)) != NULL;
         frame.v++) { /* bound: all frames */
        unsigned zone, flags = load_relaxed(&info->flags);
        bool free = load_relaxed(&info->type) == FRAME_TYPE_FREE;

        if ((free || flags != 0) && !debugging())
            return "there is a record though nobody keeps records";
        if ((flags & FRAME_RECORDED) != 0 && free != (frame_query(frame, &zone) == FRAME_FREE) && !in_reserve(frame))
            return "a frame and its record differ in whether it is free";
        if ((flags & FRAME_POISONED) != 0 && !free)
            return "a frame is in use and marked as poisoned";
    }
    return NULL;
}
