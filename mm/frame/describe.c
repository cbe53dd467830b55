/* SPDX-License-Identifier: MIT */
#include <string.h>

#include <mm/port.h>

#include "debug.h"
#include "describe.h"

/* Descriptors in a frame. */
#define PAGE_INFOS (FRAME_SIZE / sizeof(struct frame_info))

static struct {
    struct frame_info *info;
    uint64_t frames;
    uint64_t *first;        /* for each range of RAM, the index of its first descriptor */
    _Atomic uint64_t *used; /* a bit per PAGE_INFOS */
    spinlock_t opening;
} table;

/* ---- Making --------------------------------------------------------------------------------------------- */

static uint64_t used_words(uint64_t frames)
{
    return (frames + PAGE_INFOS * WORD_BITS - 1) / (PAGE_INFOS * WORD_BITS);
}

uint64_t describe_own_bytes(uint64_t frames, uint64_t ranges)
{
    return (ranges + used_words(frames)) * sizeof(uint64_t);
}

void describe_start(void *own, struct frame_info *info, uint64_t frames)
{
    uint64_t index = 0;

    table.info = info;
    table.frames = frames;
    table.first = own;
    for (uint32_t i = 0; i < frame_system.ram_count; i++) {
        table.first[i] = index;
        index += frame_system.ram[i].end - frame_system.ram[i].start;
    }
    table.used = (_Atomic uint64_t *)(table.first + frame_system.ram_count);
    ASSERT(index <= frames);
}

uint64_t frame_descriptor_bytes(void)
{
    return align_up(table.frames * sizeof(struct frame_info), FRAME_SIZE);
}

/* ---- Finding -------------------------------------------------------------------------------------------- */

static bool page_used(uint64_t page)
{
    return load_acquire(&table.used[page / WORD_BITS]) >> page % WORD_BITS & 1;
}

static void page_open(uint64_t page)
{
    uint64_t irq = spin_lock(&table.opening);

    if (!page_used(page)) {
        memset(&table.info[page * PAGE_INFOS], 0, FRAME_SIZE);
        fetch_or(&table.used[page / WORD_BITS], UINT64_C(1) << page % WORD_BITS);
    }
    spin_unlock(&table.opening, irq);
}

struct frame_info *frame_info(pfn_t frame)
{
    const struct frame_range *ram = range_find(frame_system.ram, frame_system.ram_count, frame.v);
    uint64_t index;

    if (ram == NULL)
        return NULL;
    index = table.first[ram - frame_system.ram] + frame.v - ram->start;
    if (!page_used(index / PAGE_INFOS))
        page_open(index / PAGE_INFOS);
    return &table.info[index];
}

struct frame_info *frame_info_next(pfn_t *frame)
{
    for (uint32_t i = 0; i < frame_system.ram_count; i++) {
        const struct frame_range *ram = &frame_system.ram[i];

        for (uint64_t at = max_u64(frame->v, ram->start);
             at < ram->end;) { /* a page of descriptors each time */
            uint64_t index = table.first[i] + at - ram->start;

            if (page_used(index / PAGE_INFOS)) {
                frame->v = at;
                return &table.info[index];
            }
            at += PAGE_INFOS - index % PAGE_INFOS;
        }
    }
    return NULL;
}

/* ---- Reference counts ---------------------------------------------------------------------------------- */

/* The descriptor whose count is to change; NULL, and reported: there is none. */
static struct frame_info *counted(pfn_t frame, const char *call, uintptr_t caller)
{
    struct frame_info *info = frame_info(frame);

    if (info == NULL)
        debug_report_frame(frame.v, call, "it is not RAM", caller);
    else if (load_relaxed(&info->type) == FRAME_TYPE_FREE)
        debug_report_frame(frame.v, call, "it is free", caller);
    else
        return info;
    return NULL;
}

status_t frame_ref(pfn_t frame)
{
    uintptr_t caller = (uintptr_t)__builtin_return_address(0);
    struct frame_info *info = counted(frame, "frame_ref", caller);
    uint32_t refs;

    if (info == NULL)
        return ERR_INVALID;
    refs = load_relaxed(&info->refs);
    do { /* bound: another CPU has counted each time */
        if (refs == UINT32_MAX) {
            debug_report_frame(frame.v, "frame_ref", "its count is at its end", caller);
            return ERR_FULL;
        }
    } while (!compare_exchange(&info->refs, &refs, refs + 1));
    return OK;
}

/* What the last holder leaves behind; in debug modes reports still name it. */
static void forget(struct frame_info *info)
{
    if (debugging())
        return;
    store_relaxed(&info->owner, 0);
    store_relaxed(&info->site, 0);
    store_relaxed(&info->type, FRAME_TYPE_NONE);
    store_relaxed(&info->flags, 0);
}

status_t frame_unref(pfn_t frame)
{
    uintptr_t caller = (uintptr_t)__builtin_return_address(0);
    struct frame_info *info = counted(frame, "frame_unref", caller);
    status_t status;
    uint32_t refs;

    if (info == NULL)
        return ERR_INVALID;
    refs = load_relaxed(&info->refs);
    do { /* bound: another CPU has counted each time */
        if (refs == 0) {
            debug_report_frame(frame.v, "frame_unref", "nobody holds it", caller);
            return ERR_INVALID;
        }
    } while (!compare_exchange(&info->refs, &refs, refs - 1));
    if (refs > 1)
        return OK;
    forget(info);
    if (!debugging())
        return frame_free(frame, 1);
    status = debug_freeing(frame.v, 1, caller);
    return status == OK ? free_judged(frame.v, 1) : status;
}

/* ---- Names --------------------------------------------------------------------------------------------- */

const char *frame_type_name(frame_type_t type)
{
    static const char *const name[FRAME_TYPES] = {
        [FRAME_TYPE_NONE] = "unnamed",      [FRAME_TYPE_FREE] = "free",
        [FRAME_TYPE_RESERVED] = "reserved", [FRAME_TYPE_KERNEL] = "kernel",
        [FRAME_TYPE_STACK] = "stack",       [FRAME_TYPE_PAGE_TABLE] = "page table",
        [FRAME_TYPE_SLAB] = "slab",         [FRAME_TYPE_HEAP] = "heap",
        [FRAME_TYPE_DMA] = "DMA",           [FRAME_TYPE_ANONYMOUS] = "anonymous",
        [FRAME_TYPE_PAGED] = "paged",       [FRAME_TYPE_TEST] = "test",
    };

    return (unsigned)type < FRAME_TYPES ? name[type] : "unknown";
}
