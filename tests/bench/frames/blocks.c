/* SPDX-License-Identifier: MIT
 *
 * How many 2 MiB blocks remain whole, as a percentage of all. Two figures each time: `whole`, the blocks in
 * which this program holds no frame, and `claimed`, those that can really be allocated as order 9 (they
 * are, and are freed again): the one that counts.
 *
 *   frag   memory is filled by order 0 and half of it, chosen at random, freed.
 *          churn: 100 rounds, each frees a tenth of what is held, one random frame at a time, and allocates
 *          one for each.
 *          waves: four times grow to 80 % and free random frames down to 20 %.
 *          freed: all is freed, and no cache emptied by hand.
 *   mix    orders 0–4, 6 and 9 up to 70 %, then exchanged at random: ns_op, and the blocks left.
 */
#include <string.h>

#include "harness.h"
#include "workloads.h"

#define CHURN_ROUNDS 100
#define WAVES 4
#define MIXES UINT64_C(500000)

/* ---- Counting blocks ----------------------------------------------------------------------------------- */

/* What the workers hold; entries are frame << shift, with the order in the lower bits. */
static uint64_t whole_blocks(unsigned shift)
{
    uint64_t blocks = run.frames / HUGE_FRAMES, whole = 0;
    uint16_t *taken = array_new(blocks, sizeof *taken);

    for (unsigned i = 0; i < run.threads; i++) {
        for (uint64_t j = 0; j < worker_of[i].held; j++) {
            uint64_t entry = worker_of[i].frame[j];
            unsigned order = (unsigned)(entry & ((1u << shift) - 1));

            taken[(entry >> shift) / HUGE_FRAMES] += (uint16_t)(1u << order);
        }
    }
    for (uint64_t i = 0; i < blocks; i++)
        whole += taken[i] == 0;
    array_delete(taken, blocks, sizeof *taken);
    return whole;
}

static uint64_t claim_blocks(void)
{
    uint64_t blocks = run.frames / HUGE_FRAMES, n = 0;
    uint64_t *block = array_new(blocks, sizeof *block);

    while (n < blocks && (block[n] = subject->alloc(0, HUGE_ORDER)) != FA_NONE)
        n++;
    for (uint64_t i = 0; i < n; i++)
        subject->free(0, block[i], HUGE_ORDER);
    array_delete(block, blocks, sizeof *block);
    return n;
}

static void emit_blocks(const char *state, unsigned shift)
{
    double blocks = (double)(run.frames / HUGE_FRAMES);

    emitf(100 * (double)whole_blocks(shift) / blocks, "%s_whole", state);
    emitf(100 * (double)claim_blocks() / blocks, "%s_claimed", state);
}

/* ---- frag ---------------------------------------------------------------------------------------------- */

static double share; /* of memory that grow allocates up to, and thin_out frees */

static uint64_t held_sum(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < run.threads; i++)
        sum += worker_of[i].held;
    return sum;
}

static void fill(struct worker *worker)
{
    hold_begin(worker, run.frames);
    barrier();
    hold_fill(worker, run.frames);
}

/* Deals all frames that are held out anew, in random order, so that threads free what others allocated. */
static void deal(uint64_t *random)
{
    uint64_t sum = held_sum(), at = 0;
    uint64_t *all = array_new(sum, sizeof *all);

    for (unsigned i = 0; i < run.threads; i++) {
        memcpy(all + at, worker_of[i].frame, worker_of[i].held * sizeof *all);
        at += worker_of[i].held;
    }
    shuffle(all, sum, random);
    at = 0;
    for (unsigned i = 0; i < run.threads; i++) {
        worker_of[i].held = i + 1 < run.threads ? sum / run.threads : sum - at;
        memcpy(worker_of[i].frame, all + at, worker_of[i].held * sizeof *all);
        at += worker_of[i].held;
    }
    array_delete(all, sum, sizeof *all);
}

static void thin_out(struct worker *worker)
{
    barrier();
    hold_release(worker, (uint64_t)((double)run.frames * share) / run.threads);
}

static void grow(struct worker *worker)
{
    barrier();
    hold_fill(worker, (uint64_t)((double)run.frames * share) / run.threads);
}

static void churn(struct worker *worker)
{
    uint64_t n = worker->held / 10;

    barrier();
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = random_below(&worker->random, worker->held), frame;

        subject->free(worker->id, worker->frame[at], 0);
        frame = subject->alloc(worker->id, 0);
        if (frame == FA_NONE)
            die("no memory at 50 %%");
        worker->frame[at] = frame;
    }
}

static void all_with(void (*body)(struct worker *worker), double of_share)
{
    share = of_share;
    parallel(body);
}

void work_fragment(void)
{
    uint64_t random = 12345;

    fresh();
    parallel(fill);
    if (held_sum() < run.frames / 1000 * 999)
        die("only %llu frames could be had", (unsigned long long)held_sum());
    deal(&random);
    all_with(thin_out, 0.5);
    for (unsigned i = 0; i < CHURN_ROUNDS; i++)
        parallel(churn);
    emit_blocks("churn", 0);
    for (unsigned i = 0; i < WAVES; i++) {
        all_with(grow, 0.8);
        if (held_sum() < run.frames / 1000 * 799)
            die("no memory at 80 %%");
        deal(&random);
        all_with(thin_out, 0.6);
    }
    emit_blocks("waves", 0);
    all_with(thin_out, 1);
    emit_blocks("freed", 0);
}

/* ---- mix ----------------------------------------------------------------------------------------------- */

/* Of a hundred requests; 5 is left out, as it was when the figures that the bars come from were taken. */
static unsigned pick_order(uint64_t *random)
{
    static const struct {
        unsigned below, order;
    } table[] = {{70, 0}, {78, 1}, {84, 2}, {90, 3}, {94, 4}, {99, 6}, {100, 9}};
    unsigned drawn = (unsigned)(random_next(random) % 100), i = 0;

    while (drawn >= table[i].below) /* ends at 100 */
        i++;
    return table[i].order;
}

/* Allocates until `want` frames are used; each failure ends the attempt. Returns the frames used. */
static uint64_t mix_up_to(struct worker *worker, uint64_t used, uint64_t want)
{
    while (used < want && worker->held < worker->capacity) {
        unsigned order = pick_order(&worker->random);
        uint64_t frame = subject->alloc(worker->id, order);

        if (frame == FA_NONE) {
            worker->failures++;
            break;
        }
        worker->frame[worker->held++] = frame << ORDER_BITS | order;
        used += UINT64_C(1) << order;
    }
    return used;
}

static void mix(struct worker *worker)
{
    uint64_t want = run.frames / 10 * 7 / run.threads, n = scaled(MIXES), used, i;

    hold_begin(worker, run.frames / run.threads);
    used = mix_up_to(worker, 0, want);
    clock_warm();
    barrier();
    clock_begin(worker, 128);
    for (i = 0; i < n && !worker->clock.stop && worker->held > 0; i++) {
        uint64_t at = random_below(&worker->random, worker->held), entry = worker->frame[at];
        unsigned order = (unsigned)(entry & ORDER_MASK);

        worker->frame[at] = worker->frame[--worker->held];
        subject->free(worker->id, entry >> ORDER_BITS, order);
        used = mix_up_to(worker, used - (UINT64_C(1) << order), want);
        clock_tick(worker, i);
    }
    worker->figure[0] = clock_end(worker, i);
    if (used < want / 1000 * 995)
        die("only %llu frames of %llu are used", (unsigned long long)used, (unsigned long long)want);
    barrier();
}

void work_mix(void)
{
    struct figure sum;

    fresh();
    parallel(mix);
    sum = figure_sum(0);
    figure_emit("ns_op", &sum);
    if (run.count)
        return;
    emit("failed", (double)failures_sum());
    emit_blocks("mix", ORDER_BITS);
}
