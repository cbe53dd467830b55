/* SPDX-License-Identifier: MIT
 *
 * Runs the tests that the linker gathered in section quire_tests. Output is KTAP: a plan, then one line per
 * test; why a test failed stands in a comment line before its result.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "quire_test.h"

extern const struct test_case *const __start_quire_tests[], *const __stop_quire_tests[];

void test_fail(struct test_result *result, const char *file, int line, const char *format, ...)
{
    va_list args;

    result->failed = true;
    result->file = file;
    result->line = line;
    va_start(args, format);
    vsnprintf(result->message, sizeof(result->message), format, args);
    va_end(args);
}

void test_skip(struct test_result *result, const char *reason)
{
    result->skipped = true;
    snprintf(result->message, sizeof(result->message), "%s", reason);
}

static bool selected(const struct test_case *test, const char *suite)
{
    return suite == NULL || strcmp(test->suite, suite) == 0;
}

bool test_suite_exists(const char *suite)
{
    const struct test_case *const *test = __start_quire_tests;

    while (test < __stop_quire_tests && !selected(*test, suite))
        test++;
    return test < __stop_quire_tests;
}

unsigned test_run_all(const char *suite, void (*print)(const char *format, ...))
{
    const struct test_case *const *test;
    unsigned planned = 0, number = 0, failed = 0, skipped = 0;

    for (test = __start_quire_tests; test < __stop_quire_tests; test++)
        planned += selected(*test, suite);
    print("KTAP version 1\n1..%u\n", planned);

    for (test = __start_quire_tests; test < __stop_quire_tests; test++) {
        struct test_result result = {0};

        if (!selected(*test, suite))
            continue;
        (*test)->run(&result);
        if (result.failed)
            print("# %s:%d: %s\n", result.file, result.line, result.message);
        print("%s %u %s.%s%s%s\n", result.failed ? "not ok" : "ok", ++number, (*test)->suite, (*test)->name,
              result.skipped ? " # SKIP " : "", result.skipped ? result.message : "");
        failed += result.failed;
        skipped += result.skipped;
    }
    print("# totals: pass:%u fail:%u skip:%u\n", number - failed - skipped, failed, skipped);
    return failed;
}

bool test_last_report_says(const char *what)
{
    const char *text = test_last_report();

    for (size_t length = strlen(what); *text != '\0'; text++) {
        if (strncmp(text, what, length) == 0)
            return true;
    }
    return false;
}
