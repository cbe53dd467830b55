/* SPDX-License-Identifier: MIT
 *
 * The monitor: a prompt on the console, or a script from the command line. kernel/commands_*.c hold its
 * commands.
 */
#ifndef KERNEL_MONITOR_H
#define KERNEL_MONITOR_H

#include <mm/types.h>

#define MONITOR_ARGS_MAX 12
#define MONITOR_LINE_MAX 256

struct command {
    const char *name;
    const char *usage; /* arguments, or "" */
    const char *help;  /* one line */
    /* argv[0] is the name; argv ends with NULL. False: the command failed, and has said why. */
    bool (*run)(int argc, char **argv);
};

extern const struct command monitor_commands[]; /* name NULL ends */

/* Reads and runs lines until `poweroff`, also after one that failed; true if all succeeded. */
bool monitor_prompt(void);

/* Runs commands separated by ';' until one fails; true if all were run and succeeded. */
bool monitor_script(const char *script);

/* Runs one line. An empty line succeeds. */
bool monitor_run(char *line);

/* `poweroff` was asked for. */
void monitor_finish(void);

#endif
