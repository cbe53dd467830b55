/* SPDX-License-Identifier: MIT
 *
 * `owners`: what frames are used for, and for whom. Types come from whoever has the frames, sites only from the
 * debug modes, which record every allocation. Cost: a look at each descriptor that was ever used.
 */
#include "commands.h"

#include <kernel/console.h>
#include <kernel/symbols.h>
#include <kernel/text.h>
#include <mm/frame_info.h>
#include <stdio.h>
#include <string.h>

typedef unsigned long long ull;

#define SITES_SHOWN 20

static struct tally {
    uint64_t type[FRAME_TYPES];
    uint64_t shared; /* have more than one holder */
    uint64_t site[FRAME_SITES + 1];
    uint8_t site_type[FRAME_SITES + 1]; /* of the site's highest frame */
} tally;

/* Everything in use; what nobody has described is left over for NONE. */
static void count_frames(void)
{
    uint64_t named = 0;
    const struct frame_info *info;
    memset(&tally, 0, sizeof(tally));
    for (pfn_t frame = pfn(0); (info = frame_info_next(&frame)) != NULL; frame.v++) { /* at most all frames */
        unsigned zone, type = info->type, site = info->site;
        if (frame_query(frame, &zone) != FRAME_ALLOCATED || type == FRAME_TYPE_FREE || type >= FRAME_TYPES)
            continue;
        tally.type[type]++;
        named += type != FRAME_TYPE_NONE;
        tally.shared += info->refs > 1;
        if (site <= FRAME_SITES && (info->flags & FRAME_RECORDED) != 0) {
            tally.site[site]++;
            tally.site_type[site] = (uint8_t)type;
        }
    }
    tally.type[FRAME_TYPE_FREE] = frame_free_count();
    tally.type[FRAME_TYPE_NONE] = frame_managed() - tally.type[FRAME_TYPE_FREE] - named;
}

struct site_text {
    char text[64];
};

static const char *site_text(struct site_text *buffer, uint16_t site)
{
    uintptr_t address = frame_site_address(site);
    uint64_t offset;
    const char *name = symbol_find(address, &offset);
    if (address == 0)
        snprintf(buffer->text, sizeof(buffer->text), "not known");
    else if (name != NULL)
        snprintf(buffer->text, sizeof(buffer->text), "%s+%#llx", name, (ull)offset);
    else
        snprintf(buffer->text, sizeof(buffer->text), "%#llx", (ull)address);
    return buffer->text;
}

/* ---- All frames --------------------------------------------------------------------------------------- */

static void print_types(bool json)
{
    unsigned printed = 0;
    struct size_text size;
    if (!json)
        kprintf("  %-12s %10s %10s\n", "type", "frames", "size");
    for (unsigned type = 0; type < FRAME_TYPES; type++) {
        const char *name = frame_type_name((frame_type_t)type);
        ull frames = tally.type[type];
        if (frames == 0)
            continue;
        if (json)
            kprintf("%s{\"type\":\"%s\",\"frames\":%llu}", separator(printed++), name, frames);
        else
            kprintf("  %-12s %10llu %10s\n", name, frames, size_text(&size, frames * FRAME_SIZE));
    }
}

/* The site with the most frames, which is then taken out; -1: none is left. */
static int next_site(uint64_t *frames)
{
    int most = -1;
    for (int i = 0; i <= FRAME_SITES; i++)
        if (tally.site[i] > (most >= 0 ? tally.site[most] : 0))
            most = i;
    if (most >= 0) {
        *frames = tally.site[most];
        tally.site[most] = 0;
    }
    return most;
}

static void print_sites(bool json)
{
    uint64_t frames;
    struct site_text where;
    struct size_text size;
    for (unsigned i = 0; i < SITES_SHOWN; i++) {
        int site = next_site(&frames);
        if (site < 0)
            return;
        const char *type = frame_type_name((frame_type_t)tally.site_type[site]),
                   *text = site_text(&where, (uint16_t)site);
        if (json)
            kprintf("%s{\"site\":\"%s\",\"frames\":%llu,\"type\":\"%s\"}", separator(i), text, (ull)frames,
                    type);
        else
            kprintf("  %-40s %10llu %10s  %s\n", text, (ull)frames, size_text(&size, frames * FRAME_SIZE),
                    type);
    }
}

static bool owners_of_all(bool json)
{
    bool sites = frame_debug() != 0;
    count_frames();
    kprintf(json ? "{\"types\":[" : "");
    print_types(json);
    kprintf(json ? "],\"shared\":%llu,\"recorded\":%s,\"sites\":["
                 : "  %llu frames have more than one holder\n",
            (ull)tally.shared, sites ? "true" : "false");
    if (!json && sites)
        kprintf("  %-40s %10s %10s  %s\n", "allocated at", "frames", "size", "type");
    else if (!json)
        kprintf("  types are as named by their users; debug=owner records sites, too\n");
    print_sites(json);
    kprintf(json ? "]}\n" : "");
    return true;
}

/* ---- One frame ---------------------------------------------------------------------------------------- */

/* A copy of what its descriptor says; of a free frame, about its last use. */
struct description {
    const char *state;
    frame_type_t type;
    uint64_t owner;
    uint32_t refs;
    bool recorded, freed;
    uint16_t site, freed_at;
};

static bool describe(pfn_t frame, struct description *found)
{
    const struct frame_info *info = frame_info(frame);
    unsigned zone;
    frame_state_t state = frame_query(frame, &zone);
    if (info == NULL)
        return false;
    *found = (struct description){.state = state == FRAME_FREE        ? "free"
                                           : state == FRAME_ALLOCATED ? "allocated"
                                                                      : "held back",
                                  .type = (frame_type_t)info->type,
                                  .owner = info->owner,
                                  .refs = info->refs,
                                  .site = info->site,
                                  .recorded = (info->flags & FRAME_RECORDED) != 0};
    found->freed = found->type == FRAME_TYPE_FREE;
    if (found->freed) {
        found->freed_at = found->site;
        found->refs = 0;
        frame_last_use(info, &found->type, &found->site);
    }
    return true;
}

static void print_frame_json(pfn_t frame, const struct description *found)
{
    struct site_text where;
    kprintf("{\"frame\":\"0x%llx\",\"state\":\"%s\",\"type\":\"%s\",\"owner\":\"0x%llx\",\"references\":%u",
            (ull)frame.v, found->state, frame_type_name(found->type), (ull)found->owner, found->refs);
    if (found->recorded)
        kprintf(",\"allocated_at\":\"%s\"", site_text(&where, found->site));
    if (found->freed)
        kprintf(",\"freed_at\":\"%s\"", site_text(&where, found->freed_at));
    kprintf("}\n");
}

static void print_frame_text(pfn_t frame, const struct description *found)
{
    struct site_text where;
    kprintf("  frame %#llx is %s\n", (ull)frame.v, found->state);
    if (found->recorded)
        kprintf("  allocated at %s\n", site_text(&where, found->site));
    if (found->freed)
        kprintf("  freed at %s\n", site_text(&where, found->freed_at));
    kprintf("  type %s, owner %#llx, references %u\n", frame_type_name(found->type), (ull)found->owner,
            found->refs);
}

static bool owners_of_one(const char *text, bool json)
{
    uint64_t address;
    struct description found;
    if (!parse_size(text, &address)) {
        kprintf("  %s: not an address\n", text);
        return false;
    }
    pfn_t frame = pfn_of(paddr(address));
    if (!describe(frame, &found)) {
        kprintf("  %s: not RAM of the allocator\n", text);
        return false;
    }
    if (json)
        print_frame_json(frame, &found);
    else
        print_frame_text(frame, &found);
    return true;
}

bool command_owners(int argc, char **argv)
{
    bool json = argc > 1 && strcmp(argv[argc - 1], "--json") == 0;
    if (json)
        argc--;
    if (argc > 2)
        return usage(argv);
    return argc == 2 ? owners_of_one(argv[1], json) : owners_of_all(json);
}
