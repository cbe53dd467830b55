/* SPDX-License-Identifier: MIT
 *
 * Whether the scenarios of mm/frame would see a broken mm/frame: with one bug planted (planted.h) at least one of them
 * must fail.
 */
#include <stdio.h>

#include "explore.h"
#include "planted.h"

enum planted planted;
unsigned long planted_met;

/* The scenario that fails for this reason alone, or NULL. */
static const struct scenario *find(enum planted bug, struct exploration *result)
{
    const struct scenario *const *scenario = __start_explore_scenarios;

    planted_met = 0;
    for (; scenario < __stop_explore_scenarios; scenario++) {
        struct exploration whole;

        planted = bug;
        explore(*scenario, result);
        planted = PLANTED_NONE;
        if (!result->failed)
            continue;
        explore(*scenario, &whole);
        if (!whole.failed)
            return *scenario;
    }
    return NULL;
}

/* A bug that was met nowhere is not in the sources any more: then this test proves nothing. */
#define PLANTED_TEST(name_, bug_)                                                                            \
    TEST(planted, name_)                                                                                     \
    {                                                                                                        \
        struct exploration result;                                                                           \
        const struct scenario *scenario = find(bug_, &result);                                               \
                                                                                                             \
        CHECK(planted_met > 0);                                                                              \
        CHECK(scenario != NULL);                                                                             \
        printf("# %s, execution %llu: %s\n", scenario->name, (unsigned long long)result.executions + 1,      \
               result.why);                                                                                  \
    }

PLANTED_TEST(torn_compare_exchange, TORN_COMPARE_EXCHANGE)
PLANTED_TEST(torn_exchange, TORN_EXCHANGE)
PLANTED_TEST(torn_fetch_add, TORN_ADD)
PLANTED_TEST(torn_fetch_or, TORN_OR)
PLANTED_TEST(torn_fetch_and, TORN_AND)
PLANTED_TEST(drainer_does_not_wait, HASTY_DRAINER)
PLANTED_TEST(owner_ignores_attention, DEAF_OWNER)
