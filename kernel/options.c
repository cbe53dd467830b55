/* SPDX-License-Identifier: MIT */
#include <arch/hal.h>
#include <kernel/console.h>
#include <kernel/options.h>
#include <kernel/text.h>
#include <mm/frame_info.h>
#include <mm/pt.h>
#include <stdlib.h>
#include <string.h>

struct options options;

static bool parse_number(const char *text, unsigned long long max, unsigned long long *value)
{
    char *end;
    *value = strtoull(text, &end, 0);
    return end != text && *end == '\0' && *value <= max;
}

/* By number of levels ("4") or by the mode's own name ("sv48"). */
static bool set_paging(const char *value)
{
    unsigned long long number;
    if (parse_number(value, PT_MAX_LEVELS, &number) && number >= 3) {
        options.paging_levels = (unsigned)number;
        return true;
    }
    for (unsigned levels = 3; levels <= PT_MAX_LEVELS; levels++) {
        if (strcasecmp(value, hal_mmu_mode_name(levels)) == 0) {
            options.paging_levels = levels;
            return true;
        }
    }
    return false;
}

static bool set_cpus(const char *value)
{
    unsigned long long number;
    if (!parse_number(value, UINT16_MAX, &number) || number == 0)
        return false;
    options.cpus = (unsigned)number;
    return true;
}

/* 256M, 1G, 0x10000000: more than 0. */
static bool set_size(const char *value, uint64_t *size)
{
    uint64_t number;
    if (!parse_size(value, &number) || number == 0)
        return false;
    *size = number;
    return true;
}

/* "owner", "poison", or both with a comma between. */
static bool set_debug(const char *value)
{
    static const struct {
        const char *name;
        unsigned flag;
    } modes[] = {{"owner", FRAME_DEBUG_OWNER}, {"poison", FRAME_DEBUG_POISON}};
    unsigned flags = 0;
    for (;;) { /* a word each time */
        const char *comma = strchr(value, ',');
        size_t length = comma != NULL ? (size_t)(comma - value) : strlen(value);
        unsigned flag = 0;
        for (unsigned i = 0; i < ARRAY_LEN(modes); i++)
            if (strlen(modes[i].name) == length && strncmp(value, modes[i].name, length) == 0)
                flag = modes[i].flag;
        if (flag == 0)
            return false;
        flags |= flag;
        if (comma == NULL)
            break;
        value = comma + 1;
    }
    options.debug = flags;
    return true;
}

static bool set_option(char *word)
{
    char *value = strchr(word, '=');
    if (value == NULL) {
        options.qemu_exit |= strcmp(word, "qemu-exit") == 0;
        return strcmp(word, "qemu-exit") == 0;
    }
    *value++ = '\0';
    bool known = strcmp(word, "BOOT_IMAGE") == 0  ? true /* which GRUB says of itself */
                 : strcmp(word, "paging") == 0    ? set_paging(value)
                 : strcmp(word, "cpus") == 0      ? set_cpus(value)
                 : strcmp(word, "directmap") == 0 ? set_size(value, &options.directmap)
                 : strcmp(word, "movable") == 0   ? set_size(value, &options.movable)
                 : strcmp(word, "threshold") == 0 ? set_size(value, &options.threshold)
                 : strcmp(word, "debug") == 0     ? set_debug(value)
                                                  : false;
    value[-1] = '=';
    return known;
}

void options_parse(char *line)
{
    char *at = line;
    while (*at != '\0') {
        while (*at == ' ')
            at++;
        char *word = at;
        while (*at != '\0' && *at != ' ')
            at++;
        if (at == word)
            break;
        if (*at == ' ')
            *at++ = '\0';
        if (strcmp(word, "--") == 0) {
            options.script = at;
            break;
        }
        if (!set_option(word))
            kprintf("warning: option \"%s\" is not known (paging=MODE, cpus=N, directmap=SIZE, movable=SIZE, "
                    "threshold=N, debug=owner|poison, qemu-exit)\n",
                    word);
    }
}
