/* SPDX-License-Identifier: MIT */
#include "machine_support.h"

#include <string.h>

struct machine test_machine;

void machine_clear(void)
{
    memset(&test_machine, 0, sizeof(test_machine));
    memmap_init(&test_machine.map);
    topo_init(&test_machine.topo);
}

static bool contains(const char *line, const char *text)
{
    size_t length = strlen(text);
    for (; strlen(line) >= length; line++)
        if (strncmp(line, text, length) == 0)
            return true;
    return false;
}

bool machine_noted(const char *text)
{
    const struct notes *notes = &test_machine.notes;
    for (const char *line = note_next(notes, NULL); line != NULL; line = note_next(notes, line))
        if (contains(line, text))
            return true;
    return false;
}

const char *machine_check(void)
{
    const char *broken = memmap_check(&test_machine.map);
    return broken != NULL ? broken : topo_check(&test_machine.topo);
}
