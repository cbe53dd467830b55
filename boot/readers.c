/* SPDX-License-Identifier: MIT
 *
 * What the readers of firmware tables share: claims and nodes, with a note where one finds no room.
 */
#include "readers.h"

status_t reader_claim(struct machine *machine, const char *what, const struct mem_claim *claim, uint64_t size)
{
    const uint32_t usable_max = MEMMAP_MAX_CLAIMS - CLAIMS_KEPT_FOR_RESERVATIONS;
    if (size == 0)
        return OK;
    if (claim->type == MEM_USABLE && machine->map.claim_count >= usable_max) {
        note(&machine->notes, "memory map: more than %u ranges; further usable memory is left out",
             usable_max);
        return OK;
    }
    status_t status = memmap_claim(&machine->map, claim->start.v, size, claim->type, claim->source,
                                   claim->detail, claim->ram);
    if (status == ERR_INVALID) {
        note(&machine->notes, "%s 0x%x: 0x%llx + 0x%llx wraps around; left out", what,
             claim->detail, (unsigned long long)claim->start.v, (unsigned long long)size);
        return OK;
    }
    if (status == ERR_FULL)
        note_final(&machine->notes, "%s 0x%x: more than %u memory ranges", what, claim->detail,
                   MEMMAP_MAX_CLAIMS);
    return status;
}

bool reader_node(struct machine *machine, const char *what, uint32_t id, uint16_t *node)
{
    if (topo_add_node(&machine->topo, id, node) == OK)
        return true;
    note(&machine->notes, "%s: node %u is left out, this kernel knows %u nodes at most", what, id,
         TOPO_MAX_NODES);
    return false;
}
