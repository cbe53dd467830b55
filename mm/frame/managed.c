/* SPDX-License-Identifier: MIT
 *
 * Which frames were handed over. RAM that the firmware or the boot stage still uses is held back and may be
 * released later, in any parts. The answer is needed only for chunks in which managed and other frames meet
 * (CHUNK_RAGGED, CHUNK_OFFLINE), so one short sorted table under one lock serves the whole machine.
 */
#include <string.h>

#include "zone.h"

bool ram_piece(uint64_t start, uint64_t end, struct frame_range *piece)
{
    const struct frame_range *ram = range_find(frame_system.ram, frame_system.ram_count, start);

    if (ram == NULL)
        return false;
    *piece = (struct frame_range){start, min_u64(end, ram->end), ram->zone};
    return true;
}

void range_append(struct frame_range *table, uint32_t *count, struct frame_range range)
{
    struct frame_range *last = *count > 0 ? &table[*count - 1] : NULL;

    if (last != NULL && last->end == range.start && last->zone == range.zone)
        last->end = range.end;
    else
        table[(*count)++] = range;
}

bool managed_contains(uint64_t first, uint64_t count)
{
    struct frame_system *system = &frame_system;
    uint64_t irq = spin_lock(&system->managed_lock);
    const struct frame_range *found = range_find(system->managed, system->managed_count, first);
    bool contains = found != NULL && count <= found->end - first;

    spin_unlock(&system->managed_lock, irq);
    return contains;
}

/* Opens a place for a piece that overlaps nothing, then lets range_append write the table from there on:
 * the piece and its neighbours merge where they adjoin. At most managed_count rounds. */
static void insert(struct frame_range piece)
{
    struct frame_range *table = frame_system.managed;
    uint32_t at = 0, count = frame_system.managed_count;

    while (at < count && table[at].end <= piece.start)
        at++;
    memmove(&table[at + 1], &table[at], (count - at) * sizeof(*table));
    count++;
    frame_system.managed_count = at;
    range_append(table, &frame_system.managed_count, piece);
    for (uint32_t i = at + 1; i < count; i++)
        range_append(table, &frame_system.managed_count, table[i]);
}

/* Whether [start, end) can be entered, as managed_add says. The lock is held. */
static status_t may_add(uint64_t start, uint64_t end)
{
    const struct frame_system *system = &frame_system;
    uint32_t pieces = 0;
    struct frame_range piece;

    for (uint64_t at = start; at < end; at = piece.end, pieces++) {
        if (!ram_piece(at, end, &piece))
            return ERR_INVALID;
    }
    for (uint32_t i = 0; i < system->managed_count; i++) {
        if (system->managed[i].start < end && start < system->managed[i].end)
            return ERR_BUSY;
    }
    return pieces <= system->managed_max - system->managed_count ? OK : ERR_FULL;
}

status_t managed_add(uint64_t start, uint64_t end)
{
    uint64_t irq = spin_lock(&frame_system.managed_lock);
    status_t status = may_add(start, end);
    struct frame_range piece;

    for (uint64_t at = start; status == OK && at < end && ram_piece(at, end, &piece); at = piece.end)
        insert(piece);
    spin_unlock(&frame_system.managed_lock, irq);
    return status;
}
