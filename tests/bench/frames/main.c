/* SPDX-License-Identifier: MIT
 *
 * frames-bench: measures frame allocators (fa.h) on workloads, each pair in a process of its own. `quire
 * bench frames` runs it and judges; by hand:
 *
 *   frames-bench -w WORKLOAD,… [-a ALLOCATOR,…] [-t THREADS,…] [-m GIB] [-q] [-I]
 *
 * -q times fewer operations. -I is for a run under callgrind: no processes, few operations, and only those
 * counted. Output: lines `allocator,workload,threads,GiB,metric,value`; all times are ns. What an allocator
 * cannot do, or what means nothing for it, is left out silently. A pair that fails has a line `FAILED` with
 * its wait status.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "table.h"
#include "workloads.h"

#define TIME_OUT 120 /* seconds for one process */
#define FRAMES_PER_GIB 262144
#define LIST_MAX 512

#define DECLARE(name) extern const struct fa fa_##name;
FA_TABLE(DECLARE)

#define REFER(name) &fa_##name,
static const struct fa *const allocators[] = {FA_TABLE(REFER)};

/* What an allocator must be for a workload to mean something. */
enum needs {
    ANY = 0,
    ALLOCATES = 1,  /* not `null` */
    HUGE = 2,       /* order 9 */
    ALL_ORDERS = 4, /* those between, too */
    REAL = 8,       /* no baseline */
    TWO_THREADS = 16,
    ONE_THREAD = 32,
};

static const struct workload {
    const char *name;
    void (*function)(void);
    unsigned needs;
} workloads[] = {
    {"repeat", work_repeat, ANY},
    {"repeat50", work_repeat_half, ANY},
    {"repeat3", work_repeat_order_3, HUGE | ALL_ORDERS},
    {"repeat9", work_repeat_order_9, HUGE},
    {"bulk", work_bulk, ANY},
    {"bulk9", work_bulk_order_9, HUGE},
    {"random", work_random, ANY},
    {"randbatch", work_random_batch, ALLOCATES},
    {"nearfull", work_random_near_full, ALLOCATES},
    {"xfree", work_cross_free, TWO_THREADS},
    {"mix", work_mix, REAL | HUGE | ALL_ORDERS},
    {"frag", work_fragment, REAL | HUGE},
    {"lat", work_latency, ANY},
    {"latburst", work_latency_burst, ANY},
    {"latfull", work_latency_full, ALLOCATES},
    {"latsmall", work_latency_small, REAL | HUGE | ALL_ORDERS},
    {"lathuge", work_latency_huge, REAL | HUGE | ALL_ORDERS},
    {"fail", work_failure, REAL | HUGE | ALL_ORDERS | ONE_THREAD},
    {"worst", work_worst, REAL | ONE_THREAD},
    {"verify", work_verify, ALLOCATES},
    {"meta", work_metadata, ALLOCATES},
};

#define COUNT(table) (sizeof(table) / sizeof *(table))

static bool suits(const struct workload *workload, const struct fa *allocator)
{
    unsigned has = 0;

    has |= strcmp(allocator->name, "null") != 0 ? ALLOCATES : 0;
    has |= allocator->max_order >= HUGE_ORDER ? HUGE : 0;
    has |= (allocator->flags & FA_ORD09) == 0 ? ALL_ORDERS : 0;
    has |= (allocator->flags & FA_BASELINE) == 0 ? REAL : 0;
    has |= run.threads == 2 ? TWO_THREADS : 0;
    has |= run.threads == 1 ? ONE_THREAD : 0;
    return (workload->needs & ~has) == 0;
}

/* Measures here (under callgrind) or in a process of its own, with whatever it ends. */
static void measure(const struct workload *workload, const struct fa *allocator)
{
    int status;
    pid_t child;

    run.workload = workload->name;
    subject = allocator;
    if (run.count) {
        workload->function();
        return;
    }
    child = fork();
    if (child < 0)
        die("no process");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(TIME_OUT);
        workload->function();
        fflush(stdout);
        _exit(EXIT_SUCCESS);
    }
    waitpid(child, &status, 0);
    if (status != 0)
        emit("FAILED", status);
}

/* ---- The command line ---------------------------------------------------------------------------------- */

static bool listed(const char *list, const char *name)
{
    size_t length = strlen(name);

    /* Every turn starts further on in the list. */
    for (const char *at = list; (at = strstr(at, name)) != NULL; at += length) {
        if ((at == list || at[-1] == ',') && (at[length] == '\0' || at[length] == ','))
            return true;
    }
    return false;
}

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: frames-bench -w WORKLOAD,… [-a ALLOCATOR,…] [-t THREADS,…] [-m GIB] [-q] [-I]\n");
    fprintf(stderr, "GIB is a power of two, also below 1\nworkloads:");
    for (unsigned i = 0; i < COUNT(workloads); i++)
        fprintf(stderr, " %s", workloads[i].name);
    fprintf(stderr, "\nallocators:");
    for (unsigned i = 0; i < COUNT(allocators); i++)
        fprintf(stderr, " %s", allocators[i]->name);
    fprintf(stderr, "\n");
    exit(2);
}

static bool workload_known(const char *name)
{
    for (unsigned i = 0; i < COUNT(workloads); i++) {
        if (strcmp(workloads[i].name, name) == 0)
            return true;
    }
    return false;
}

static bool allocator_known(const char *name)
{
    for (unsigned i = 0; i < COUNT(allocators); i++) {
        if (strcmp(allocators[i]->name, name) == 0)
            return true;
    }
    return false;
}

static void check_list(const char *list, bool (*known)(const char *name))
{
    char copy[LIST_MAX];

    if (list == NULL || strlen(list) >= sizeof copy)
        usage();
    strcpy(copy, list);
    for (char *name = strtok(copy, ","); name != NULL; name = strtok(NULL, ",")) {
        if (!known(name)) {
            fprintf(stderr, "frames-bench: %s is not known\n", name);
            usage();
        }
    }
}

/* All that was asked for, with allocators one after the other on each workload. */
static void measure_all(const char *names, const char *subjects, const char *threads)
{
    for (unsigned w = 0; w < COUNT(workloads); w++) {
        const char *at = threads;

        if (!listed(names, workloads[w].name))
            continue;
        while (*at != '\0') { /* each turn reads a number or ends the program */
            char *end;

            run.threads = (unsigned)strtoul(at, &end, 10);
            if (end == at || run.threads == 0 || run.threads > MAX_THREADS)
                usage();
            run.cpus = run.threads > 2 ? run.threads : 2;
            for (unsigned i = 0; i < COUNT(allocators); i++) {
                if ((subjects == NULL || listed(subjects, allocators[i]->name)) &&
                    suits(&workloads[w], allocators[i]))
                    measure(&workloads[w], allocators[i]);
            }
            at = end + (*end == ',');
        }
    }
}

int main(int argc, char **argv)
{
    const char *names = NULL, *subjects = NULL, *threads = "1,2";
    int option;

    run.gib = 8;
    while ((option = getopt(argc, argv, "a:w:t:m:qI")) != -1) {
        switch (option) {
        case 'a': subjects = optarg; break;
        case 'w': names = optarg; break;
        case 't': threads = optarg; break;
        case 'm': run.gib = atof(optarg); break;
        case 'q': run.quick = true; break;
        case 'I': run.count = true; break;
        default: usage();
        }
    }
    run.frames = (uint64_t)(run.gib * FRAMES_PER_GIB);
    if (optind != argc || run.frames < HUGE_FRAMES || (run.frames & (run.frames - 1)) != 0)
        usage();
    check_list(names, workload_known);
    if (subjects != NULL)
        check_list(subjects, allocator_known);
    if (!run.count)
        stamp_calibrate();
    measure_all(names, subjects, threads);
    return EXIT_SUCCESS;
}
