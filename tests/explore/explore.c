/* SPDX-License-Identifier: MIT
 *
 * The explorer's engine. Each scheduling point is a step: a list of options, the first of which is to go on.
 * Where there is more than one option, the one taken is recorded as a choice. An execution repeats the
 * recorded choices and takes first options from there on; then the last choice that has an option left takes
 * it, those behind it are forgotten, and the next execution begins. When no choice has an option left, all
 * schedules have run. This is a depth-first search of the tree of schedules, and holds one path of it only.
 *
 * A director, on a stack of its own, sets executions up and looks at how they end; the threads switch among
 * themselves. Fair by construction: a thread that waits in port_cpu_relax() goes on only when it is picked in
 * a preemption, or when all threads that are not waiting have ended or wait too. So no schedule lets two
 * threads wait for a third that never runs, and an execution that is too long is a deadlock or livelock of
 * the scenario.
 *
 * Bounds: EXPLORE_STEPS per execution; some (steps × options) ^ preemptions executions.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mm/atomic.h>
#include <mm/port.h>

#include "explore.h"
#include "fiber.h"

#define STACK_SIZE (128 << 10)
#define PREEMPTIONS 2
#define INTERRUPT 'i' /* as an option; a thread is '0', '1', … */

struct choice {
    unsigned step;
    char option;          /* that was taken */
    uint8_t taken, count; /* its index, and of how many */
};

struct options {
    unsigned count;
    char option[EXPLORE_THREADS + 1];
};

static struct fiber outside, director, thread[EXPLORE_THREADS];
static uint8_t stack[1 + EXPLORE_THREADS][STACK_SIZE] __attribute__((aligned(64)));

/* The exploration. */
static const struct scenario *scenario;
static struct exploration *report;
static unsigned threads;
static struct choice choice[EXPLORE_STEPS];
static unsigned known;     /* choices to repeat */
static bool gave_up;       /* on the stacks there are */
static const char *replay; /* the schedule to repeat instead, or NULL */

/* The execution. */
static bool interleaved; /* the threads run: points are steps */
static unsigned cpu;     /* that runs, or in whose name setup and finish do */
static unsigned step, used, preemptions;
static bool live[EXPLORE_THREADS], waiting[EXPLORE_THREADS], struck[EXPLORE_THREADS];
static bool inside[EXPLORE_THREADS]; /* an interrupt handler */
static unsigned masked[EXPLORE_THREADS];
static unsigned reports;

bool explore_masking = true;

/* NULL in a build without sanitizers. */
void __sanitizer_symbolize_pc(void *pc, const char *format, char *out, size_t size) __attribute__((weak));
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

/* ---- Schedules as text --------------------------------------------------------------------------------- */

/* NAME@STEP:OPTION,… with the choices that were not the first option. */
static void write_schedule(char *text, size_t size)
{
    size_t length = (size_t)snprintf(text, size, "%s@", scenario->name);

    for (unsigned i = 0; i < used && length < size; i++) {
        if (choice[i].taken != 0)
            length +=
                (size_t)snprintf(text + length, size - length, "%u:%c,", choice[i].step, choice[i].option);
    }
}

/* The option that the schedule names for this step, or 0: none. At most as many rounds as it names steps. */
static char replayed_option(void)
{
    const char *at = strchr(replay, '@');

    while (at != NULL && at[1] != '\0') {
        char *end;

        if (strtoul(at + 1, &end, 10) == step && *end == ':')
            return end[1];
        at = strchr(end, ',');
    }
    return 0;
}

static void trace(void *pc, char option)
{
    char where[200] = "";

    if (pc != NULL && __sanitizer_symbolize_pc != NULL)
        __sanitizer_symbolize_pc(pc, "%f %s:%l", where, sizeof(where));
    else if (pc != NULL)
        snprintf(where, sizeof(where), "%p", pc);
    printf("# %5u  cpu %u  %s%s%s%s\n", step, cpu, pc != NULL ? where : "waits or has ended",
           option == '0' + (char)cpu ? "" : " → ", option == '0' + (char)cpu ? "" : (char[]){option, '\0'},
           masked[cpu] != 0 ? "  (masked)" : "");
}

static void on_death(void)
{
    char schedule[sizeof(report->schedule)];

    if (!interleaved)
        return;
    write_schedule(schedule, sizeof(schedule));
    fprintf(stderr, "EXPLORE_SCHEDULE=%s\n", schedule);
}

/* ---- Failing ------------------------------------------------------------------------------------------- */

/* Leaves the stack of whoever runs for good. */
static _Noreturn void give_up(void)
{
    static struct fiber abandoned;

    interleaved = false;
    gave_up = true;
    fiber_switch(&abandoned, &outside);
    abort();
}

static _Noreturn void fail(const char *format, va_list args)
{
    report->failed = true;
    vsnprintf(report->why, sizeof(report->why), format, args);
    write_schedule(report->schedule, sizeof(report->schedule));
    give_up();
}

void explore_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fail(format, args);
}

void port_panic(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (interleaved && scenario->misuse)
        give_up();
    if (scenario != NULL)
        fail(format, args);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    abort();
}

void port_report(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (!scenario->misuse)
        fail(format, args);
    va_end(args);
    reports++;
}

unsigned explore_reports(void)
{
    return reports;
}

/* ---- Choosing ------------------------------------------------------------------------------------------ */

static void offer(struct options *options, char option)
{
    options->option[options->count++] = option;
}

static char repeat_schedule(const struct options *options, void *pc)
{
    char wanted = replayed_option(), option = options->option[0];

    if (wanted != 0) {
        if (memchr(options->option, wanted, options->count) == NULL)
            explore_fail("the schedule does not fit: step %u has no option %c", step, wanted);
        option = wanted;
    }
    trace(pc, option);
    return option;
}

/* One step. pc: where the running thread is, NULL if it cannot go on. */
static char choose(const struct options *options, void *pc)
{
    struct choice *here = &choice[used];

    if (++step == EXPLORE_STEPS)
        explore_fail("deadlock or livelock: %u steps", step);
    if (replay != NULL)
        return repeat_schedule(options, pc);
    if (options->count == 1)
        return options->option[0];
    if (used == known)
        *here = (struct choice){.count = (uint8_t)options->count}, known++;
    else if (here->count != options->count)
        explore_fail("the scenario is not deterministic: step %u", step);
    here->step = step;
    here->option = options->option[here->taken];
    used++;
    return here->option;
}

/* On to the next schedule; false: there is none. */
static bool next_schedule(void)
{
    while (known > 0 && choice[known - 1].taken + 1 == choice[known - 1].count)
        known--;
    if (known > 0)
        choice[known - 1].taken++;
    return known > 0;
}

static void switch_to(char option)
{
    unsigned from = cpu, to = (unsigned)(option - '0');

    waiting[to] = false;
    cpu = to;
    if (from != to)
        fiber_switch(&thread[from], &thread[to]);
}

/* The threads that could go on in place of one that cannot. If all wait, any of them may find that what it
 * waits for has happened; one that waits alone stays. */
static struct options successors(void)
{
    struct options options = {0};

    for (unsigned i = 0; i < threads; i++) {
        if (live[i] && !waiting[i])
            offer(&options, '0' + (char)i);
    }
    if (options.count > 0)
        return options;
    for (unsigned i = 0; i < threads; i++) {
        waiting[i] = waiting[i] && i == cpu;
        if (live[i] && i != cpu)
            offer(&options, '0' + (char)i);
    }
    if (options.count == 0)
        offer(&options, '0' + (char)cpu);
    return options;
}

/* ---- Points -------------------------------------------------------------------------------------------- */

static bool may_strike(void)
{
    return scenario->interrupt != NULL && !struck[cpu] && (masked[cpu] == 0 || !explore_masking);
}

static void strike(void)
{
    struck[cpu] = true;
    masked[cpu]++;
    inside[cpu] = true;
    scenario->interrupt();
    inside[cpu] = false;
    masked[cpu]--;
}

/* Lets another thread run, or an interrupt strike; after an interrupt, once more. */
static void point(bool other_threads, void *pc)
{
    char chosen = INTERRUPT;

    while (interleaved && chosen == INTERRUPT) {
        struct options options = {.count = 1, .option = {'0' + (char)cpu}};

        for (unsigned i = 0; other_threads && preemptions > 0 && i < threads; i++) {
            if (live[i] && i != cpu)
                offer(&options, '0' + (char)i);
        }
        if (preemptions > 0 && may_strike())
            offer(&options, INTERRUPT);
        chosen = choose(&options, pc);
        preemptions -= chosen != options.option[0];
        if (chosen == INTERRUPT)
            strike();
        else
            switch_to(chosen);
    }
}

void explore_point(void)
{
    point(true, __builtin_return_address(0));
}

/* What the compiler calls in each basic block of sources that ask for it. Where interrupts are masked a lock is held, so
 * it would only be in vain that others ran: that the lock is one shows at its atomic accesses. */
void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
    if (masked[cpu] == 0)
        point(true, __builtin_return_address(0));
}

const char *port_symbol(uintptr_t address, uint64_t *offset)
{
    (void)address;
    (void)offset;
    return NULL;
}

void port_fence_cpus(void)
{
    point(true, __builtin_return_address(0));
}

void port_tlb_flush(vaddr_t start, uint64_t size)
{
    port_panic("flush of %#llx bytes at %#llx", (unsigned long long)size, (unsigned long long)start);
}

void explore_wait(void)
{
    struct options options;

    if (!interleaved)
        explore_fail("waits, and nobody else runs");
    waiting[cpu] = true;
    options = successors();
    switch_to(choose(&options, NULL));
}

unsigned explore_cpu(void)
{
    return cpu;
}

bool explore_in_interrupt(void)
{
    return inside[cpu];
}

void explore_be_cpu(unsigned cpu_)
{
    cpu = cpu_;
}

/* The state is the depth of nesting, so that restore can tell whether it is its turn. What other threads do
 * just before or after matters no more than at the next access. */
uint64_t explore_irq_save(void)
{
    point(false, __builtin_return_address(0));
    return masked[cpu]++;
}

void explore_irq_restore(uint64_t state)
{
    if (masked[cpu] == 0 || state != masked[cpu] - 1)
        explore_fail("interrupt state %u restored at depth %u", (unsigned)state, masked[cpu]);
    masked[cpu]--;
    point(false, __builtin_return_address(0));
}

/* ---- Executions ---------------------------------------------------------------------------------------- */

/* Every thread is this; from one execution to the next it stays in the switch at the end. */
static void run_thread(void)
{
    fiber_entered(NULL);
    for (;;) {
        struct options options;

        scenario->body[cpu]();
        live[cpu] = false;
        options = successors();
        if (options.option[0] == '0' + (char)cpu) /* nobody else */
            fiber_switch(&thread[cpu], &director);
        else
            switch_to(choose(&options, NULL));
    }
}

static void run_execution(void)
{
    struct options options = {0};

    step = used = cpu = reports = 0;
    preemptions = report->preemptions;
    memset(masked, 0, sizeof(masked));
    scenario->setup();
    for (unsigned i = 0; i < threads; i++) {
        live[i] = true;
        waiting[i] = struck[i] = inside[i] = false;
        offer(&options, '0' + (char)i);
    }
    cpu = 0;
    interleaved = true;
    cpu = (unsigned)(choose(&options, NULL) - '0');
    fiber_switch(&director, &thread[cpu]);
    interleaved = false;
    for (unsigned i = 0; i < threads; i++)
        EXPLORE_CHECK(masked[i] == 0);
    cpu = 0;
    scenario->finish();
}

static void direct(void)
{
    fiber_entered(&outside);
    for (;;) {
        run_execution();
        fiber_switch(&director, &outside);
    }
}

/* All stacks anew: something was given up on them. */
static void make_fibers(void)
{
    fiber_make(&director, stack[0], STACK_SIZE, direct);
    for (unsigned i = 0; i < threads; i++)
        fiber_make(&thread[i], stack[1 + i], STACK_SIZE, run_thread);
}

void explore(const struct scenario *scenario_, struct exploration *result)
{
    const char *allowed = getenv("EXPLORE_PREEMPTIONS");

    *result = (struct exploration){.preemptions = PREEMPTIONS};
    if (allowed != NULL)
        result->preemptions = (unsigned)strtoul(allowed, NULL, 10);
    scenario = scenario_;
    report = result;
    known = threads = 0;
    gave_up = true;
    while (threads < EXPLORE_THREADS && scenario->body[threads] != NULL)
        threads++;
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(on_death);
    do {
        if (gave_up)
            make_fibers();
        gave_up = false;
        fiber_switch(&outside, &director);
        if (result->failed)
            break;
        result->executions++;
        result->steps = step > result->steps ? step : result->steps;
    } while (replay == NULL && next_schedule());
    scenario = NULL;
}

void explore_test(const struct scenario *scenario_, struct test_result *test_result_)
{
    struct exploration result;
    size_t length = strlen(scenario_->name);

    replay = getenv("EXPLORE_SCHEDULE");
    if (replay != NULL && (strncmp(replay, scenario_->name, length) != 0 || replay[length] != '@')) {
        replay = NULL;
        SKIP("EXPLORE_SCHEDULE is another scenario's");
    }
    explore(scenario_, &result);
    replay = NULL;
    printf("# %s: %llu executions, at most %u steps, %u preemptions\n", scenario_->name,
           (unsigned long long)result.executions, result.steps, result.preemptions);
    if (!result.failed)
        return;
    printf("# repeat it with EXPLORE_SCHEDULE=%s\n", result.schedule);
    test_fail(test_result_, __FILE__, __LINE__, "execution %llu: %s",
              (unsigned long long)result.executions + 1, result.why);
}
