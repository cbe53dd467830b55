/* SPDX-License-Identifier: MIT */
#include <mm/port.h>

#include "frame_support.h"

static uint64_t link_mark(const struct link *link)
{
    return (uint64_t)(uintptr_t)link ^ link->count ^ UINT64_C(0x5bd1e995a5a5a5a5);
}

void chain_push(struct chain *chain, pfn_t first, uint64_t count)
{
    struct link *link = port_phys_to_virt(paddr_of(first));

    *link = (struct link){.next = chain->top, .count = count};
    link->mark = link_mark(link);
    chain->top = link;
    chain->runs++;
    chain->frames += count;
}

void chain_pop(struct chain *chain)
{
    struct link *link = chain->top;
    uint64_t count = link->count;

    if (link->mark != link_mark(link)) { /* whatever follows is lost */
        chain->damaged = true;
        chain->top = NULL;
        return;
    }
    link->mark = 0;
    chain->top = link->next;
    chain->runs--;
    chain->frames -= count;
    if (frame_free(pfn_of(port_virt_to_phys(link)), count) != OK)
        chain->damaged = true;
}

void chain_free_all(struct chain *chain)
{
    while (chain->top != NULL)
        chain_pop(chain);
}

static void take_kind(struct chain *chain, struct frame_request request, unsigned order)
{
    for (;;) {
        pfn_t first;

        request.count = UINT64_C(1) << order;
        if (frame_alloc(&request, &first) == OK)
            chain_push(chain, first, request.count);
        else if (order-- == 0)
            return;
    }
}

void chain_take_all(struct chain *chain, struct frame_request request, unsigned order)
{
    unsigned lowest = (request.flags & FRAME_THIS_ZONE) != 0 ? request.zone : ZONE_DMA;

    for (unsigned kind = request.zone + 1; kind-- > lowest;) {
        request.zone = (zone_kind_t)kind;
        take_kind(chain, request, order);
    }
}

static uint64_t *frame_word(pfn_t frame)
{
    return (uint64_t *)port_phys_to_virt(paddr_of(frame)) + 8;
}

void mark_frames(pfn_t first, uint64_t count, uint64_t salt)
{
    for (uint64_t i = 0; i < count; i++)
        *frame_word(pfn(first.v + i)) = (first.v + i) ^ salt;
}

bool marks_intact(pfn_t first, uint64_t count, uint64_t salt)
{
    for (uint64_t i = 0; i < count; i++) {
        if (*frame_word(pfn(first.v + i)) != ((first.v + i) ^ salt))
            return false;
    }
    return true;
}

static uint64_t free_where(uint16_t node)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < frame_zone_count(); i++) {
        struct frame_zone_info info;
        struct frame_zone_stats stats;

        frame_zone_info(i, &info);
        frame_zone_stats(i, &stats);
        if (info.kind <= ZONE_NORMAL && (node == FRAME_NODE_ANY || node == info.node))
            sum += stats.free;
    }
    return sum;
}

uint64_t free_mapped(void)
{
    return free_where(FRAME_NODE_ANY);
}

uint64_t free_on_node(uint16_t node)
{
    return free_where(node);
}

uint16_t node_of(pfn_t frame)
{
    struct frame_zone_info info;
    unsigned zone = 0;

    (void)frame_query(frame, &zone);
    frame_zone_info(zone, &info);
    return info.node;
}

unsigned zone_find(uint16_t node, zone_kind_t kind)
{
    unsigned index = 0;

    for (; index < frame_zone_count(); index++) {
        struct frame_zone_info info;

        frame_zone_info(index, &info);
        if (info.node == node && info.kind == kind)
            break;
    }
    return index;
}

bool test_last_report_says(const char *what)
{
    const char *text = test_last_report();

    for (size_t length = strlen(what); *text != '\0'; text++) {
        if (strncmp(text, what, length) == 0)
            return true;
    }
    return false;
}
