/* SPDX-License-Identifier: MIT
 *
 * Whether the scenarios of mm/frame and mm/slab would see what is broken there: with one bug planted (planted.h) at least
 * one of them must fail.
 */
#include <stdio.h>
#include <string.h>

#include "explore.h"
#include "planted.h"

enum planted planted;
unsigned long planted_met;

/* The scenario that fails for this reason alone, or NULL; of all (NULL), or of one suite, those
 * left out whose failure could be another report. */
static const struct scenario *find(enum planted bug, const char *suite, struct exploration *result)
{
    const struct scenario *const *scenario = __start_explore_scenarios;

    planted_met = 0;
    for (; scenario < __stop_explore_scenarios; scenario++) {
        struct exploration whole;

        if (suite != NULL && ((*scenario)->misuse || strcmp((*scenario)->suite, suite) != 0))
            continue;
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
#define PLANTED_TEST(name_, bug_, suite_)                                                                          \
    TEST(planted, name_)                                                                                     \
    {                                                                                                        \
        struct exploration result;                                                                           \
        const struct scenario *scenario = find(bug_, suite_, &result);                                               \
                                                                                                             \
        CHECK(planted_met > 0);                                                                              \
        CHECK(scenario != NULL);                                                                             \
        printf("# %s, execution %llu: %s\n", scenario->name, (unsigned long long)result.executions + 1,      \
               result.why);                                                                                  \
    }

PLANTED_TEST(torn_compare_exchange, TORN_COMPARE_EXCHANGE, NULL)
PLANTED_TEST(torn_exchange, TORN_EXCHANGE, NULL)
PLANTED_TEST(torn_fetch_add, TORN_ADD, NULL)
PLANTED_TEST(torn_fetch_or, TORN_OR, NULL)
PLANTED_TEST(torn_fetch_and, TORN_AND, NULL)
PLANTED_TEST(drainer_does_not_wait, HASTY_DRAINER, NULL)
PLANTED_TEST(owner_ignores_attention, DEAF_OWNER, NULL)
PLANTED_TEST(slab_without_lock, FORGOTTEN_LOCK, "slab")
PLANTED_TEST(magazines_are_shared, SHARED_MAGAZINES, "slab")
PLANTED_TEST(handler_uses_magazines, RECKLESS_HANDLER, "slab")
PLANTED_TEST(cpu_gives_nothing_back, DEAF_CPU, "slab")
PLANTED_TEST(magazine_is_kept, KEPT_MAGAZINE, "slab")
