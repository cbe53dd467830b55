/* SPDX-License-Identifier: MIT
 *
 * The interleaving explorer: runs a small scenario of 2 or 3 threads under every schedule with at most so
 * many preemptions, one execution after the other, each from the same start. What runs is the shipped code:
 * built with MM_EXPLORE, every atomic access of mm/ calls explore_point() first, and there the scheduler
 * decides who goes on.
 *
 * An execution is sequentially consistent: accesses take effect one by one, in the order of the schedule.
 * Memory orders are therefore not tested here (the TSan build is for that), nor can a switch fall between two
 * plain accesses that have no atomic one between them. mm/slab guards plain data by locks, so there each basic block outside
 * of them is a point as well (-fsanitize-coverage=trace-pc): a lock that is forgotten shows.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <mm/types.h>

#include "quire_test.h"

#define EXPLORE_THREADS 3

/* Scheduler decisions in one execution; more are a deadlock or a livelock. */
#define EXPLORE_STEPS 10000

struct scenario {
    const char *suite, *name;
    void (*setup)(void);                 /* makes the state that every execution starts from */
    void (*body[EXPLORE_THREADS])(void); /* thread i plays CPU i; NULL from the first that is missing */
    void (*interrupt)(void); /* NULL: none. May strike each CPU once while it has not masked them */
    void (*finish)(void);    /* when all bodies have ended: is all as it must be? */
    bool misuse;             /* port_panic() is a right end of an execution, and port_report() no failure */
};

struct exploration {
    uint64_t executions;
    unsigned steps;       /* of the longest */
    unsigned preemptions; /* allowed */
    bool failed;
    char why[160];
    char schedule[200]; /* the failing one, as EXPLORE_SCHEDULE takes it */
};

/* Runs all schedules, or those up to the first that fails. An interrupt that strikes counts as a preemption.
 * A switch because a thread ended, or waits in port_cpu_relax(), is free. */
void explore(const struct scenario *scenario, struct exploration *result);

/* Ends execution and exploration as failed. Only from a scenario's functions and what they call. */
_Noreturn void explore_fail(const char *format, ...) PRINTF(1, 2);

/* Fails the execution unless the condition holds. */
#define EXPLORE_CHECK(condition)                                                                             \
    ((condition) ? (void)0 : explore_fail("%s:%d: %s", __FILE__, __LINE__, #condition))

/* Within setup and finish: the CPU to be from now on. */
void explore_be_cpu(unsigned cpu);

/* Reports so far in an execution of a scenario that is misuse. */
unsigned explore_reports(void);

/* Whether masking keeps interrupts away, as it should. False is for the test that plants this bug. */
extern bool explore_masking;

/* What a test makes of an exploration that must not fail: one line about it, and how to repeat a failure.
 * With EXPLORE_SCHEDULE=NAME@STEP:CHOICE,… in the environment only that schedule of that scenario runs, with
 * a trace; EXPLORE_PREEMPTIONS is how many to allow instead of 2. */
void explore_test(const struct scenario *scenario, struct test_result *result);

/* Defines a scenario and the test that it must not fail. SCENARIO(suite, name, .setup = …, .body = {…}, …); */
#define SCENARIO(suite_, name_, ...)                                                                         \
    static const struct scenario scenario_##name_ = {.suite = #suite_, .name = #name_, __VA_ARGS__};                           \
    static const struct scenario *const listed_##name_ __attribute__((used, section("explore_scenarios"))) = \
        &scenario_##name_;                                                                                   \
    TEST(suite_, name_)                                                                                      \
    {                                                                                                        \
        explore_test(&scenario_##name_, test_result_);                                                       \
    }                                                                                                        \
    _Static_assert(true, "")

/* All that SCENARIO defined. */
extern const struct scenario *const __start_explore_scenarios[], *const __stop_explore_scenarios[];

#endif
