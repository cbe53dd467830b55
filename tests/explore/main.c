/* SPDX-License-Identifier: MIT
 *
 * Runs one suite: `frame`, `caches`, `reserve` or `slab`, scenarios that must not fail, or `planted`, what must be found.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "quire_test.h"

static void print(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 2 || !test_suite_exists(argv[1])) {
        fputs("usage: explore SUITE\n", stderr);
        return EXIT_FAILURE;
    }
    return test_run_all(argv[1], print) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
