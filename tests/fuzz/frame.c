/* SPDX-License-Identifier: MIT
 *
 * The frame allocator against the plain model (tests/host/frame_model.h). The bytes are, all little endian:
 *
 *   nodes and whether there are caches (1), zone borders (4 × 2), stretches of RAM (1), for each: node (1), gap (2), size (2);
 *   parts held back or lost (1), for each: type (1), start (2), size (2);
 *   then steps until the bytes end: requests, right and wrong frees, late memory.
 *
 * What is missing at the end reads as zero.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mm/frame.h>

#include "frame_model.h"
#include "host.h"
#include "layout.h"

#define STRETCHES_MAX 6u
#define PARTS_MAX 4u
#define STEPS_MAX 400u
#define CPUS 3u
#define TAKEN_MAX 64u
#define ADDRESS_END (MODEL_FRAMES * FRAME_SIZE)

struct input {
    const uint8_t *data;
    size_t left;
};

static void must_hold(const char *wrong)
{
    if (wrong == NULL)
        return;
    fprintf(stderr, "fuzz: %s\n", wrong);
    abort();
}

static uint64_t take(struct input *input, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes && input->left > 0; i++, input->left--)
        value |= (uint64_t)*input->data++ << 8 * i;
    return value;
}

/* ---- The machine --------------------------------------------------------------------------------------- */

/* Two bytes to an address below 36 MiB: the upper bits choose a frame, the lower ones where in it. */
static uint64_t take_address(struct input *input)
{
    uint64_t value = take(input, 2);

    return min_u64((value >> 3) * FRAME_SIZE + (value & 7) * 0x123, ADDRESS_END);
}

static void add_ram(struct input *input, unsigned nodes)
{
    uint64_t at = 0;

    for (unsigned left = (unsigned)(1 + take(input, 1) % STRETCHES_MAX); left > 0; left--) {
        unsigned node = (unsigned)take(input, 1) % nodes;
        uint64_t start = at + take_address(input) / 16;

        at = min_u64(start + take_address(input) / 4, ADDRESS_END);
        if (start < at)
            layout_ram(node, start, at);
    }
}

static void add_parts(struct input *input)
{
    static const mem_type_t types[] = {MEM_RESERVED, MEM_BOOT_RECLAIM, MEM_SPECIFIC, MEM_MMIO};

    for (unsigned left = (unsigned)(take(input, 1) % PARTS_MAX); left > 0; left--) {
        mem_type_t type = types[take(input, 1) % ARRAY_LEN(types)];
        uint64_t start = take_address(input);

        layout_part(start, start + 1 + take_address(input) / 16, type);
    }
}

static void start_machine(struct input *input)
{
    unsigned first = (unsigned)take(input, 1), nodes = 1 + (first & 127) % 3;
    struct zone_limits limits = {0};

    limits.dma_end = take_address(input);
    limits.dma32_end = take_address(input);
    limits.direct_end = take_address(input);
    limits.movable_start = take_address(input);
    layout_begin(nodes);
    layout_cpus(CPUS);
    add_ram(input, nodes);
    add_parts(input);
    if (layout_start(&limits) != OK)
        must_hold("the machine does not start");
    must_hold(model_begin(first >> 7));
}

/* ---- Steps --------------------------------------------------------------------------------------------- */

static struct model_run taken[TAKEN_MAX];

/* Powers of two as exponents, with a way to say something that is none. */
static uint64_t power(uint64_t value)
{
    return value % 32 == 0 ? 0 : value % 32 < 24 ? UINT64_C(1) << (value % 32 - 1) : value;
}

static void step_alloc(struct input *input)
{
    struct frame_request request = {.count = take(input, 2)};
    unsigned shape = (unsigned)take(input, 1), slot = (unsigned)take(input, 1) % TAKEN_MAX;

    /* Small counts most of the time; the rest as it is, zero included. */
    request.count = shape & 1 ? request.count % 8192 : request.count % 64 + 1;
    request.node = shape & 2 ? FRAME_NODE_ANY : (uint16_t)(shape >> 2 & 3);
    request.zone = (zone_kind_t)(shape >> 4 & 7);
    request.flags = (uint32_t)take(input, 1) & (FRAME_THIS_NODE | FRAME_THIS_ZONE | FRAME_AT | FRAME_MOVABLE);
    request.align = power(take(input, 1));
    request.boundary = power(take(input, 1));
    request.at = pfn(take(input, 2) % (MODEL_FRAMES + 100));
    request.limit = shape & 128 ? take_address(input) : 0;
    must_hold(model_alloc(&request, &taken[slot]));
}

/* One that was taken, whole or from some frame on; or anything. */
static void step_free(struct input *input)
{
    unsigned slot = (unsigned)take(input, 1);
    uint64_t first = take(input, 2) % (MODEL_FRAMES + 100), count = take(input, 2) % 2048;
    struct model_run *run = &taken[slot % TAKEN_MAX];

    if (slot < 192 && run->count > 0) {
        count = slot < 128 ? run->count : 1 + count % run->count;
        first = run->first + run->count - count;
        run->count -= count;
    }
    must_hold(model_free(first, count));
}

static void step(struct input *input)
{
    uint64_t first, kind = take(input, 1);

    host_set_cpu((unsigned)(kind >> 4) % CPUS);
    kind %= 16;
    if (kind < 8) {
        step_alloc(input);
    } else if (kind < 14) {
        step_free(input);
    } else if (kind == 14) {
        first = take(input, 2) % (MODEL_FRAMES + 100);
        must_hold(model_release(first, take(input, 2) % 2048));
    } else {
        must_hold(model_compare());
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};

    memset(taken, 0, sizeof(taken));
    start_machine(&input);
    for (unsigned i = 0; i < STEPS_MAX && input.left > 0; i++)
        step(&input);
    must_hold(model_end());
    host_set_cpu(0);
    layout_end();
    return 0;
}
