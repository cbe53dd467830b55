/* SPDX-License-Identifier: MIT
 *
 * Arguments, and the machine from the sources. `quire` knows the help, so that it needs no build.
 */
#include "inspect.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("quire inspect: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

/* ---- The machine -------------------------------------------------------------------------------------- */

static const char *last_note(const struct notes *notes)
{
    const char *last = "no reason given";
    for (const char *line = note_next(notes, NULL); line != NULL; line = note_next(notes, line))
        last = line;
    return last;
}

static void note_record(struct machine *machine, const struct recorded_topo *record)
{
    uint64_t end;
    for (uint32_t i = TOPO_MAX_NODES; i < record->node_count; i++)
        note(&machine->notes, "topo: node %u is left out, this kernel knows %u nodes at most", record->id[i],
             TOPO_MAX_NODES);
    if (memmap_ram_bytes(&machine->map, &end) > 0 && record->node_count > 0)
        note(&machine->notes, "topo: sizes of nodes are not used, since a map says what memory there is; "
                              "no node but the first has any, for want of addresses");
    if (record->too_many_cpus)
        note(&machine->notes, "topo: more CPUs than the %u that this kernel knows; the rest is left out",
             TOPO_MAX_CPUS);
}

/* A recorded topology serves where firmware tables say nothing. */
static void apply_record(struct subject *subject)
{
    struct machine *machine = &subject->machine;
    if (machine->topo.cpu_count > 0 || machine->topo.range_count > 0 || machine->topo.node_count > 1) {
        note(&machine->notes, "topo: not used, since the firmware's tables have a topology");
        subject->recorded = false;
        return;
    }
    note_record(machine, &subject->record);
    machine->topo = subject->record.topo;
    if (machine_settle(machine) != OK)
        fail("%s: %s", subject->paths, last_note(&machine->notes));
}

static void describe(struct subject *subject)
{
    struct machine *machine = &subject->machine;
    if (machine_describe(machine, &subject->sources) != OK)
        fail("%s: %s", subject->paths, last_note(&machine->notes));
    if (subject->recorded)
        apply_record(subject);
    if (memmap_bytes(&machine->map, MEM_USABLE, UINT64_MAX) == 0)
        note_final(&machine->notes, "no usable memory: %s",
                   machine->map.claim_count == 0 ? "nothing here says what memory the machine has"
                                                 : "all that is described is reserved or not memory");
}

/* ---- Arguments ---------------------------------------------------------------------------------------- */

static uint32_t parse_desc_size(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 0);
    if (end == text || *end != '\0' || text[0] == '-' || value > 4096)
        fail("--efi-desc-size: \"%s\" is not a number up to 4096", text);
    return (uint32_t)value;
}

int main(int argc, char **argv)
{
    static struct subject subject;
    uint32_t efi_desc_size = 48;
    bool json = false, options = true;
    int files = 0;
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        if (!options || argument[0] != '-')
            argv[files++] = argv[i];
        else if (strcmp(argument, "--") == 0)
            options = false;
        else if (strcmp(argument, "--json") == 0)
            json = true;
        else if (strcmp(argument, "--efi-desc-size") == 0 && i + 1 == argc)
            fail("--efi-desc-size needs a value: bytes per descriptor");
        else if (strcmp(argument, "--efi-desc-size") == 0)
            efi_desc_size = parse_desc_size(argv[++i]);
        else if (strncmp(argument, "--efi-desc-size=", 16) == 0)
            efi_desc_size = parse_desc_size(argument + 16);
        else
            fail("\"%s\" is not an option; see quire inspect --help", argument);
    }
    if (files == 0)
        fail("no file given; see quire inspect --help");
    for (int i = 0; i < files; i++)
        load(&subject, argv[i], efi_desc_size);
    describe(&subject);
    (json ? print_json : print_text)(&subject);
    if (fflush(stdout) != 0 || ferror(stdout))
        fail("the output could not be written");
    return 0;
}
