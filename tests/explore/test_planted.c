/* SPDX-License-Identifier: MIT
 *
 * Whether the scenarios of mm/frame would see a broken mm/frame: with one kind of read-modify-write torn
 * (torn.h) at least one of them must fail.
 */
#include <stdio.h>

#include "explore.h"
#include "torn.h"

enum torn torn_kind;
unsigned long torn_accesses;

/* The scenario that fails for this reason alone, or NULL. */
static const struct scenario *find(enum torn kind, struct exploration *result)
{
    const struct scenario *const *scenario = __start_explore_scenarios;

    torn_accesses = 0;
    for (; scenario < __stop_explore_scenarios; scenario++) {
        struct exploration whole;

        torn_kind = kind;
        explore(*scenario, result);
        torn_kind = TORN_NONE;
        if (!result->failed)
            continue;
        explore(*scenario, &whole);
        if (!whole.failed)
            return *scenario;
    }
    return NULL;
}

#define TORN_TEST(name_, kind_)                                                                              \
    TEST(planted, torn_##name_)                                                                              \
    {                                                                                                        \
        struct exploration result;                                                                           \
        const struct scenario *scenario = find(kind_, &result);                                              \
                                                                                                             \
        if (torn_accesses == 0)                                                                              \
            SKIP("mm/frame has none");                                                                       \
        CHECK(scenario != NULL);                                                                             \
        printf("# %s, execution %llu: %s\n", scenario->name, (unsigned long long)result.executions + 1,      \
               result.why);                                                                                  \
    }

TORN_TEST(compare_exchange, TORN_COMPARE_EXCHANGE)
TORN_TEST(exchange, TORN_EXCHANGE)
TORN_TEST(fetch_add, TORN_ADD)
TORN_TEST(fetch_or, TORN_OR)
TORN_TEST(fetch_and, TORN_AND)
