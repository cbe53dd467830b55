/* SPDX-License-Identifier: MIT
 *
 * The one test harness. A test source runs unchanged in the hosted build under sanitizers and inside the
 * kernel on every ISA; results are KTAP. TEST bodies end at the first failed CHECK.
 */
#ifndef QUIRE_TEST_H
#define QUIRE_TEST_H

#include <mm/types.h>

struct test_result {
    bool failed;
    bool skipped;
    const char *file;
    int line;
    char message[120];
};

struct test_case {
    const char *suite; /* "frame", "pt", … for --suite */
    const char *name;
    void (*run)(struct test_result *result);
};

/* Defines and registers a test: TEST(frame, refill_counts_equal) { … CHECK(…); } */
#define TEST(suite_, name_)                                                                                  \
    static void test_##suite_##_##name_(struct test_result *test_result_ __attribute__((unused)));           \
    static const struct test_case *const case_##suite_##_##name_ __attribute__((used, section("quire_tests"))) = \
        &(const struct test_case){#suite_, #name_, test_##suite_##_##name_};                                 \
    static void test_##suite_##_##name_(struct test_result *test_result_ __attribute__((unused)))

/* Ends the test as failed unless the condition holds. */
#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            test_fail(test_result_, __FILE__, __LINE__, "%s", #condition);                                   \
            return;                                                                                          \
        }                                                                                                    \
    } while (0)

/* The same for two integers, with both values in the message. */
#define CHECK_EQ(actual, expected)                                                                           \
    do {                                                                                                     \
        unsigned long long actual_ = (unsigned long long)(actual), expected_ = (unsigned long long)(expected); \
        if (actual_ != expected_) {                                                                          \
            test_fail(test_result_, __FILE__, __LINE__, "%s is %llu (%#llx), expected %llu (%#llx)", #actual, \
                      actual_, actual_, expected_, expected_);                                               \
            return;                                                                                          \
        }                                                                                                    \
    } while (0)

/* Ends the test as not applicable here, with the reason. */
#define SKIP(reason)                                                                                         \
    do {                                                                                                     \
        test_skip(test_result_, reason);                                                                     \
        return;                                                                                              \
    } while (0)

void test_fail(struct test_result *result, const char *file, int line, const char *format, ...) PRINTF(4, 5);
void test_skip(struct test_result *result, const char *reason);

/* Whether there is a test whose suite matches (NULL: any). */
bool test_suite_exists(const char *suite);

/* Runs the tests whose suite matches (NULL: all) and prints KTAP through port `print`. Returns failures. */
unsigned test_run_all(const char *suite, void (*print)(const char *format, ...));

/* ---- What tests may ask of the place they run in (hosted: threads; kernel: CPUs) ------------------------ */

/* Runs body(context, i) for i = 0 … n-1 at the same time, one per CPU, n ≤ test_cpus(); returns when all have
 * returned. */
unsigned test_cpus(void);
void test_parallel(unsigned n, void (*body)(void *context, unsigned index), void *context);

/* Calls of port_report so far, and the text of the last one. */
unsigned test_reports(void);
const char *test_last_report(void);

/* A deterministic generator: xorshift64*, never 0. */
static inline uint64_t test_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

#endif
