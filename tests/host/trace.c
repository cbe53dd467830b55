/* SPDX-License-Identifier: MIT
 *
 * Reading checks all that can be known without an allocator: that lines have their form and numbers their range, and
 * that only what is allocated is freed. Ids are kept in a hash table, for ever, since most traces use each only
 * once; one with nothing left may be allocated anew.
 */
#include "trace.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <mm/frame.h>

#define EVENTS_MAX (UINT32_MAX - 1u)
#define FIELDS_MAX 6

static const char header[] = "# page-trace-1";

struct known {
    uint64_t id;
    uint32_t run, count, left; /* count 0: the place is empty */
};

struct reader {
    struct trace *trace;
    struct trace_error *error;
    struct known *known; /* places, a power of two; at most half of them used */
    uint64_t places, used, room;
    uint32_t line, runs;
    bool partial;
};

static bool refuse(struct reader *reader, const char *what)
{
    snprintf(reader->error->text, sizeof(reader->error->text), "line %u: %s", reader->line, what);
    return false;
}

static bool refuse_id(struct reader *reader, uint64_t id, const char *what)
{
    snprintf(reader->error->text, sizeof(reader->error->text), "line %u: %" PRIu64 " %s", reader->line, id,
             what);
    return false;
}

/* ---- Ids ----------------------------------------------------------------------------------------------- */

/* The place of an id, or the empty one where it belongs. Half are empty, so that the walk ends. */
static struct known *place_of(const struct reader *reader, uint64_t id)
{
    uint64_t at = id * UINT64_C(0x9e3779b97f4a7c15) >> 20;

    while (reader->known[at & (reader->places - 1)].count != 0 &&
           reader->known[at & (reader->places - 1)].id != id)
        at++;
    return &reader->known[at & (reader->places - 1)];
}

/* Makes sure that one more id finds a place. */
static bool grow_known(struct reader *reader)
{
    struct known *old = reader->known;
    uint64_t places = reader->places;

    if (reader->used < places / 2)
        return true;
    reader->places = places == 0 ? 1024 : 2 * places;
    reader->known = calloc(reader->places, sizeof(*old));
    for (uint64_t i = 0; i < places && reader->known != NULL; i++) {
        if (old[i].count != 0)
            *place_of(reader, old[i].id) = old[i];
    }
    free(old);
    return reader->known != NULL;
}

/* ---- Lines --------------------------------------------------------------------------------------------- */

/* Splits the rest of a line into decimal numbers; false if it holds anything else or too many. */
static bool read_numbers(const char *text, uint64_t field[FIELDS_MAX], unsigned *fields)
{
    for (*fields = 0;; (*fields)++) {
        char *end;

        text += strspn(text, " ");
        if (*text == '\0')
            return true;
        if (!isdigit((unsigned char)*text) || *fields == FIELDS_MAX)
            return false;
        errno = 0;
        field[*fields] = strtoull(text, &end, 10);
        if (*end != ' ' && *end != '\0')
            return false;
        text = end;
        if (errno == ERANGE)
            return false;
    }
}

static bool add_event(struct reader *reader, struct trace_event event)
{
    struct trace *trace = reader->trace;

    if (trace->events == EVENTS_MAX)
        return refuse(reader, "more events than can be counted");
    if (trace->events == reader->room) {
        reader->room = reader->room == 0 ? 4096 : 2 * reader->room;
        trace->event = realloc(trace->event, reader->room * sizeof(event));
        if (trace->event == NULL)
            return refuse(reader, "no memory for so long a trace");
    }
    event.line = reader->line;
    trace->event[trace->events++] = event;
    trace->cpus = event.cpu >= trace->cpus ? event.cpu + 1u : trace->cpus;
    return true;
}

/* A id order flags node type cpu; R id count flags node type cpu */
static bool read_alloc(struct reader *reader, bool by_order, const uint64_t field[FIELDS_MAX])
{
    struct trace *trace = reader->trace;
    uint64_t count = field[1];
    struct known *known;

    if (by_order && count >= FRAME_ORDERS)
        return refuse(reader, "the order is above 20");
    count = by_order ? UINT64_C(1) << count : count;
    if (count == 0 || count > UINT64_C(1) << (FRAME_ORDERS - 1))
        return refuse(reader, "the count is not 1 to 1048576 frames");
    if (field[3] >= TOPO_MAX_NODES)
        return refuse(reader, "the node is above 63");
    if (field[5] >= TOPO_MAX_CPUS)
        return refuse(reader, "the CPU is above 1023");
    if (!grow_known(reader))
        return refuse(reader, "no memory for so many ids");
    known = place_of(reader, field[0]);
    if (known->left != 0)
        return refuse_id(reader, field[0], "is allocated already");
    reader->used += known->count == 0;
    *known = (struct known){field[0], reader->runs++, (uint32_t)count, (uint32_t)count};
    trace->allocs++;
    trace->live_runs++;
    trace->live_pages += count;
    trace->peak_pages = max_u64(trace->peak_pages, trace->live_pages);
    trace->nodes = field[3] >= trace->nodes ? (unsigned)field[3] + 1 : trace->nodes;
    return add_event(reader, (struct trace_event){.run = known->run,
                                                  .count = known->count,
                                                  .aligned = by_order,
                                                  .movable = field[4] == 1,
                                                  .node = (uint16_t)field[3],
                                                  .cpu = (uint16_t)field[5]});
}

/* F id cpu; F id cpu offset count */
static bool read_free(struct reader *reader, unsigned fields, const uint64_t field[FIELDS_MAX])
{
    struct known *known = reader->places == 0 ? NULL : place_of(reader, field[0]);
    struct trace_event event = {.kind = TRACE_FREE, .cpu = (uint16_t)field[1]};

    if (field[1] >= TOPO_MAX_CPUS)
        return refuse(reader, "the CPU is above 1023");
    if (known == NULL || known->left == 0) {
        reader->trace->strangers++;
        return reader->partial || refuse_id(reader, field[0], "is not allocated");
    }
    if (fields == 4) {
        if (field[3] == 0 || field[3] > known->left || field[2] > known->count - field[3])
            return refuse_id(reader, field[0], "has no such frames left");
        event.offset = (uint32_t)field[2];
        event.count = (uint32_t)field[3];
    }
    event.run = known->run;
    reader->trace->live_pages -= event.count != 0 ? event.count : known->left;
    known->left -= event.count != 0 ? event.count : known->left;
    reader->trace->live_runs -= known->left == 0;
    reader->trace->frees++;
    return add_event(reader, event);
}

static bool read_line(struct reader *reader, const char *text)
{
    uint64_t field[FIELDS_MAX];
    unsigned fields;
    bool numbers;

    if (text[0] == '#' || text[0] == '\0')
        return true;
    numbers = text[1] == ' ' && read_numbers(text + 1, field, &fields);
    if (text[0] == 'A' || text[0] == 'R')
        return numbers && fields == 6
                   ? read_alloc(reader, text[0] == 'A', field)
                   : refuse(reader, text[0] == 'A' ? "not `A id order flags node type cpu`"
                                                   : "not `R id count flags node type cpu`");
    if (text[0] == 'F')
        return numbers && (fields == 2 || fields == 4)
                   ? read_free(reader, fields, field)
                   : refuse(reader, "not `F id cpu` or `F id cpu offset count`");
    return refuse(reader, "begins with none of A, R, F and #");
}

/* Skips what stands before the header (a console says much before), reads up to `# end` or the end of the file. */
static bool read_lines(struct reader *reader, FILE *file)
{
    bool begun = false, good = true;
    size_t room = 0;
    char *text = NULL;

    for (ssize_t bytes; good && (bytes = getline(&text, &room, file)) >= 0;) {
        bool zero = memchr(text, '\0', (size_t)bytes) != NULL;

        reader->line++;
        text[strcspn(text, "\r\n")] = '\0';
        if (!begun) {
            begun = strncmp(text, header, strlen(header)) == 0;
            reader->partial = begun && strstr(text, " partial") != NULL;
        } else if (strcmp(text, "# end") == 0) {
            break;
        } else {
            good = zero ? refuse(reader, "holds a zero byte") : read_line(reader, text);
        }
    }
    free(text);
    if (!begun)
        snprintf(reader->error->text, sizeof(reader->error->text),
                 "not a page trace: no line begins with `%s`", header);
    return good && begun;
}

bool trace_read(FILE *file, struct trace *trace, struct trace_error *error)
{
    struct reader reader = {.trace = trace, .error = error};
    bool good;

    memset(trace, 0, sizeof(*trace));
    good = read_lines(&reader, file);
    free(reader.known);
    if (!good)
        trace_drop(trace);
    return good;
}

void trace_drop(struct trace *trace)
{
    free(trace->event);
    trace->event = NULL;
}
