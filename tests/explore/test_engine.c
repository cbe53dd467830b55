/* SPDX-License-Identifier: MIT
 *
 * The explorer against toys whose schedules can be counted by hand, and whose bugs it must find.
 */
#include <string.h>

#include <mm/atomic.h>
#include <mm/spinlock.h>

#include "explore.h"

static _Atomic uint64_t counter;
static _Atomic uint64_t flag[2];
static spinlock_t lock;
static unsigned inside;
static bool struck; /* the interrupt did */

static void clear(void)
{
    struck = false;
    inside = 0;
    atomic_store(&counter, 0);
    atomic_store(&flag[0], 0);
    atomic_store(&flag[1], 0);
    atomic_store(&lock.held, 0);
}

static void nothing(void) {}

static struct exploration run(struct scenario scenario)
{
    struct exploration result;

    scenario.setup = clear;
    if (scenario.finish == NULL)
        scenario.finish = nothing;
    explore(&scenario, &result);
    return result;
}

static void expect_two(void)
{
    EXPLORE_CHECK(atomic_load(&counter) == 2);
}

static void add_one(void)
{
    fetch_add(&counter, 1);
}

static void add_one_torn(void)
{
    store_relaxed(&counter, load_relaxed(&counter) + 1);
}

static void add_two(void)
{
    fetch_add(&counter, 1);
    fetch_add(&counter, 1);
}

/* With p preemptions left, a thread that is about to make the first of its i accesses, and another that is
 * about to make the first of its j: f(i, j, 0) = 1, f(i, j, p) = (i = 1 ? 1 : f(i - 1, j, p)) + f(j, i, p -
 * 1). Either may be the one that begins, so there are 2 f(1, 1, 2) = 6 and 2 f(2, 2, 2) = 14 schedules. */
TEST(planted, schedules_are_counted)
{
    struct exploration one =
        run((struct scenario){.name = "one", .body = {add_one, add_one}, .finish = expect_two});
    struct exploration two = run((struct scenario){.name = "two", .body = {add_two, add_two}});

    CHECK(!one.failed && !two.failed);
    CHECK_EQ(one.preemptions, 2);
    CHECK_EQ(one.executions, 6);
    CHECK_EQ(two.executions, 14);
}

TEST(planted, torn_increment)
{
    struct exploration result =
        run((struct scenario){.name = "torn", .body = {add_one_torn, add_one_torn}, .finish = expect_two});

    CHECK(result.failed);
    CHECK(strstr(result.why, "counter") != NULL);
    CHECK(strncmp(result.schedule, "torn@", 5) == 0);
}

/* ---- Locks --------------------------------------------------------------------------------------------- */

static void critical(void)
{
    EXPLORE_CHECK(inside++ == 0);
    load_relaxed(&counter); /* a place to be preempted */
    inside--;
}

/* Looks at the other's flag before it raises its own. */
static void enter_by_flag(void)
{
    unsigned me = port_cpu();

    while (load_relaxed(&flag[1 - me]) != 0)
        port_cpu_relax();
    store_relaxed(&flag[me], 1);
    critical();
    store_relaxed(&flag[me], 0);
}

/* Raises its own first; both may then wait for ever. */
static void enter_by_flag_politely(void)
{
    unsigned me = port_cpu();

    store_relaxed(&flag[me], 1);
    while (load_relaxed(&flag[1 - me]) != 0)
        port_cpu_relax();
    critical();
    store_relaxed(&flag[me], 0);
}

static void enter_by_lock(void)
{
    uint64_t irq = spin_lock(&lock);

    critical();
    spin_unlock(&lock, irq);
}

TEST(planted, lock_without_recheck)
{
    struct exploration result =
        run((struct scenario){.name = "flags", .body = {enter_by_flag, enter_by_flag}});

    CHECK(result.failed);
    CHECK(strstr(result.why, "inside") != NULL);
}

TEST(planted, deadlock)
{
    struct exploration result =
        run((struct scenario){.name = "polite", .body = {enter_by_flag_politely, enter_by_flag_politely}});

    CHECK(result.failed);
    CHECK(strstr(result.why, "deadlock") != NULL);
}

TEST(planted, spinlock_holds)
{
    struct exploration result =
        run((struct scenario){.name = "lock", .body = {enter_by_lock, enter_by_lock, enter_by_lock}});

    CHECK(!result.failed);
    CHECK(result.executions > 100);
}

/* ---- Interrupts ---------------------------------------------------------------------------------------- */

static void add_five_torn(void)
{
    struck = true;
    store_relaxed(&counter, load_relaxed(&counter) + 5);
}

/* One access; with the interrupt before it, or not at all. */
TEST(planted, interrupts_are_counted)
{
    struct exploration result =
        run((struct scenario){.name = "interrupt", .body = {add_one}, .interrupt = add_five_torn});

    CHECK(!result.failed);
    CHECK_EQ(result.executions, 2);
}

static void expect_both_added(void)
{
    EXPLORE_CHECK(atomic_load(&counter) == (struck ? 6 : 1));
}

TEST(planted, interrupted_increment)
{
    struct exploration result = run((struct scenario){.name = "interrupted",
                                                      .body = {add_one_torn},
                                                      .interrupt = add_five_torn,
                                                      .finish = expect_both_added});

    CHECK(result.failed);
}

/* A lock that does not mask interrupts is waited for by the interrupt that struck its holder. */
TEST(planted, unmasked_lock)
{
    const struct scenario scenario = {
        .name = "unmasked", .body = {enter_by_lock}, .interrupt = enter_by_lock};
    struct exploration masked = run(scenario), unmasked;

    explore_masking = false;
    unmasked = run(scenario);
    explore_masking = true;
    CHECK(!masked.failed);
    CHECK(unmasked.failed);
    CHECK(strstr(unmasked.why, "deadlock") != NULL);
}
