/* SPDX-License-Identifier: MIT */
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

int main(void)
{
    return test_run_all(NULL, print) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
