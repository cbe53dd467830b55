/* SPDX-License-Identifier: MIT
 *
 * Runs the tests that the linker gathered in section quire_tests. Output is KTAP: a plan, then one line per
 * test, printed at once; why a test failed stands in a comment line before its result. The last line has the CRC-32
 * of plan and results, so that a console which drops or mixes bytes cannot turn a failure into a success.
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

/* The CRC-32 of IEEE 802.3 and zlib, goes on from `crc`, which is 0 at first. */
static uint32_t crc32(uint32_t crc, const char *text)
{
    crc = ~crc;
    for (; *text != '\0'; text++) {
        crc ^= (uint8_t)*text;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
    }
    return ~crc;
}

struct report {
    void (*print)(const char *format, ...);
    unsigned number, failed, skipped;
    uint32_t crc;
};

/* A line that counts. One that is too long is cut, and its sum with it. */
static void report_line(struct report *report, const char *format, ...) PRINTF(2, 3);
static void report_line(struct report *report, const char *format, ...)
{
    char line[240];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    memcpy(line + strlen(line), "\n", 2);
    report->crc = crc32(report->crc, line);
    report->print("%s", line);
}

static void run_one(struct report *report, const struct test_case *test)
{
    struct test_result result = {0};

    test->run(&result);
    if (result.failed)
        report->print("# %s:%d: %s\n", result.file, result.line, result.message);
    report_line(report, "%s %u %s.%s%s%s", result.failed ? "not ok" : "ok", ++report->number, test->suite, test->name,
                result.skipped ? " # SKIP " : "", result.skipped ? result.message : "");
    report->failed += result.failed;
    report->skipped += result.skipped;
}

unsigned test_run_all(const char *suite, void (*print)(const char *format, ...))
{
    const struct test_case *const *test;
    struct report report = {.print = print};
    unsigned planned = 0;

    for (test = __start_quire_tests; test < __stop_quire_tests; test++)
        planned += selected(*test, suite);
    print("KTAP version 1\n");
    report_line(&report, "1..%u", planned);
    for (test = __start_quire_tests; test < __stop_quire_tests; test++)
        if (selected(*test, suite))
            run_one(&report, *test);
    print("# totals: pass:%u fail:%u skip:%u crc:%08x\n", report.number - report.failed - report.skipped,
          report.failed, report.skipped, report.crc);
    return report.failed;
}
