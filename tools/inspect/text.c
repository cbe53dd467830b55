/* SPDX-License-Identifier: MIT
 *
 * Text formats: memory maps ("0xSTART 0xEND TYPE" for e820, with a fourth column of attributes for EFI; ends
 * are exclusive) and recorded topologies ("node ID memtotal_kb N cpus LIST", "distance ID ROW…").
 */
#include "inspect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_LINE_MAX 4096
#define EFI_DESC_SIZE 48

/* ---- Lines -------------------------------------------------------------------------------------------- */

struct lines {
    const char *path;
    const char *next; /* NULL at the end */
    unsigned number;
    char text[TEXT_LINE_MAX];
};

/* The next line that is neither empty nor a comment. */
static bool next_line(struct lines *lines)
{
    while (lines->next != NULL) {
        const char *end = strchr(lines->next, '\n');
        size_t length = end != NULL ? (size_t)(end - lines->next) : strlen(lines->next);
        lines->number++;
        if (length >= TEXT_LINE_MAX)
            fail("%s: line %u: longer than %u characters", lines->path, lines->number, TEXT_LINE_MAX - 1);
        memcpy(lines->text, lines->next, length);
        lines->text[length] = '\0';
        lines->text[strcspn(lines->text, "#\r")] = '\0';
        lines->next = end != NULL ? end + 1 : NULL;
        if (strspn(lines->text, " \t") != strlen(lines->text))
            return true;
    }
    return false;
}

static struct lines lines_of(const char *path, struct bytes bytes)
{
    for (size_t i = 0; i < bytes.size; i++)
        if (bytes.data[i] == '\0')
            bytes.data[i] = ' ';
    return (struct lines){.path = path, .next = (const char *)bytes.data};
}

/* The next word as a number; fails if there is none. */
static uint64_t number(const struct lines *lines, char **cursor)
{
    char *end, *word = *cursor + strspn(*cursor, " \t");
    errno = 0;
    unsigned long long value = strtoull(word, &end, 0);
    if (end == word || errno != 0 || word[0] == '-' || strchr(" \t,-", *end) == NULL)
        fail("%s: line %u: \"%.*s\" is not a number of 64 bits", lines->path, lines->number,
             (int)strcspn(word, " \t"), word);
    *cursor = end;
    return value;
}

static void expect_end(const struct lines *lines, const char *cursor)
{
    cursor += strspn(cursor, " \t");
    if (*cursor != '\0')
        fail("%s: line %u: \"%s\" is too much", lines->path, lines->number, cursor);
}

unsigned text_columns(struct bytes bytes)
{
    struct lines lines = lines_of("", bytes);
    unsigned columns = 0;
    if (next_line(&lines))
        for (char *word = strtok(lines.text, " \t"); word != NULL; word = strtok(NULL, " \t"))
            columns++;
    return columns;
}

/* ---- Maps --------------------------------------------------------------------------------------------- */

static void *grow(void *array, size_t count, size_t size)
{
    /* Whenever the count reaches a power of two, room for as many again. */
    if ((count & (count - 1)) == 0)
        array = realloc(array, 2 * (count + 1) * size);
    if (array == NULL)
        fail("out of memory");
    return array;
}

/* An entry that ends before it starts gets the size that leads there around the end of the address space, and
 * the reader refuses it as it would in a binary map. */
void parse_e820(const char *path, struct bytes bytes, struct machine_sources *sources)
{
    struct lines lines = lines_of(path, bytes);
    struct e820_entry *entries = grow(NULL, 0, sizeof(*entries));
    uint32_t count = 0;
    for (; next_line(&lines); count++) {
        char *cursor = lines.text;
        uint64_t start = number(&lines, &cursor), end = number(&lines, &cursor);
        uint64_t type = number(&lines, &cursor);
        expect_end(&lines, cursor);
        if (type > UINT32_MAX)
            fail("%s: line %u: e820: type %llu has more than 32 bits", path, lines.number,
                 (unsigned long long)type);
        entries = grow(entries, count, sizeof(*entries));
        entries[count] = (struct e820_entry){start, end - start, (uint32_t)type};
    }
    sources->e820 = entries;
    sources->e820_count = count;
}

void parse_efi(const char *path, struct bytes bytes, struct machine_sources *sources)
{
    struct lines lines = lines_of(path, bytes);
    uint64_t (*entries)[EFI_DESC_SIZE / 8] = grow(NULL, 0, sizeof(*entries));
    size_t count = 0;
    for (; next_line(&lines); count++) {
        char *cursor = lines.text;
        uint64_t start = number(&lines, &cursor), end = number(&lines, &cursor);
        uint64_t type = number(&lines, &cursor), attributes = number(&lines, &cursor);
        expect_end(&lines, cursor);
        if (!is_aligned(end - start, FRAME_SIZE) || type > UINT32_MAX)
            fail("%s: line %u: efi: not whole pages, or a type of more than 32 bits", path, lines.number);
        entries = grow(entries, count, sizeof(*entries));
        memset(entries[count], 0, sizeof(*entries));
        entries[count][0] = type;
        entries[count][1] = start;
        entries[count][3] = (end - start) >> FRAME_SHIFT;
        entries[count][4] = attributes;
    }
    sources->efi_map = entries;
    sources->efi_map_size = count * EFI_DESC_SIZE;
    sources->efi_desc_size = EFI_DESC_SIZE;
}

/* ---- Topologies --------------------------------------------------------------------------------------- */

static bool take_word(char **cursor, const char *word)
{
    char *at = *cursor + strspn(*cursor, " \t");
    size_t length = strlen(word);
    if (strncmp(at, word, length) != 0 || strchr(" \t", at[length]) == NULL)
        return false;
    *cursor = at + length;
    return true;
}

/* False: there is no room for more. */
static bool add_cpu(const struct lines *lines, struct recorded_topo *record, uint64_t cpu, uint16_t node)
{
    status_t status = topo_add_cpu(&record->topo, cpu, 0, node, true);
    if (status == ERR_FULL)
        record->too_many_cpus = true;
    else if (status != OK)
        fail("%s: line %u: topo: CPU %llu: %s", lines->path, lines->number, (unsigned long long)cpu,
             status_name(status));
    return status == OK;
}

/* "0-7,16-23", or "-" for none. A node that is left out takes its CPUs along. */
static void parse_cpus(const struct lines *lines, char **cursor, struct recorded_topo *record, uint32_t node)
{
    *cursor += strspn(*cursor, " \t");
    if (**cursor == '-' || **cursor == '\0') {
        *cursor += **cursor == '-';
        return;
    }
    for (;; ++*cursor) {
        uint64_t first = number(lines, cursor), last = first;
        if (**cursor == '-') {
            ++*cursor;
            last = number(lines, cursor);
        }
        if (last < first || last > UINT32_MAX)
            fail("%s: line %u: topo: CPUs %llu-%llu are no range of 32-bit ids", lines->path, lines->number,
                 (unsigned long long)first, (unsigned long long)last);
        /* Ends where the table is full, at the latest. */
        for (uint64_t cpu = first; cpu <= last && node < TOPO_MAX_NODES; cpu++)
            if (!add_cpu(lines, record, cpu, (uint16_t)node))
                break;
        if (**cursor != ',')
            return;
    }
}

/* The index of a node, which may be new. */
static uint32_t record_node(const struct lines *lines, struct recorded_topo *record, uint64_t id)
{
    uint16_t node;
    if (id > UINT32_MAX)
        fail("%s: line %u: topo: node %llu: ids have 32 bits", lines->path, lines->number,
             (unsigned long long)id);
    for (uint32_t i = 0; i < record->node_count; i++)
        if (record->id[i] == id)
            return i;
    if (record->node_count == RECORD_MAX_NODES)
        fail("%s: line %u: topo: more than %u nodes", lines->path, lines->number, RECORD_MAX_NODES);
    record->id[record->node_count] = (uint32_t)id;
    /* The same index in topo; a node that finds no room there is left out of the machine. */
    status_t status = topo_add_node(&record->topo, (uint32_t)id, &node);
    if (status != OK && status != ERR_FULL)
        fail("%s: line %u: topo: node %llu: %s", lines->path, lines->number, (unsigned long long)id,
             status_name(status));
    return record->node_count++;
}

static void parse_node(const struct lines *lines, char *cursor, struct recorded_topo *record)
{
    uint32_t node = record_node(lines, record, number(lines, &cursor));
    uint64_t kib = 0;
    if (take_word(&cursor, "memtotal_kb"))
        kib = number(lines, &cursor);
    if (kib > UINT64_MAX >> 10)
        fail("%s: line %u: topo: no machine has %llu KiB", lines->path, lines->number,
             (unsigned long long)kib);
    record->bytes[node] = kib << 10;
    if (take_word(&cursor, "cpus"))
        parse_cpus(lines, &cursor, record, node);
    expect_end(lines, cursor);
}

/* The node with the lowest id above that of `last` (RECORD_MAX_NODES: of all). */
static uint32_t next_by_id(const struct recorded_topo *record, uint32_t last)
{
    uint32_t next = RECORD_MAX_NODES;
    for (uint32_t i = 0; i < record->node_count; i++)
        if ((last == RECORD_MAX_NODES || record->id[i] > record->id[last]) &&
            (next == RECORD_MAX_NODES || record->id[i] < record->id[next]))
            next = i;
    return next;
}

/* Rows list the distances in rising order of the node ids, which are all known by now. */
static void parse_distances(const struct lines *lines, char *cursor, struct recorded_topo *record)
{
    uint64_t id = number(lines, &cursor);
    uint32_t from = 0, to = RECORD_MAX_NODES;
    while (from < record->node_count && record->id[from] != id)
        from++;
    if (from == record->node_count)
        fail("%s: line %u: topo: there is no node %llu", lines->path, lines->number, (unsigned long long)id);
    for (uint32_t k = 0; k < record->node_count; k++) {
        to = next_by_id(record, to);
        uint64_t distance = number(lines, &cursor);
        if (from >= TOPO_MAX_NODES || to >= TOPO_MAX_NODES)
            continue;
        if (distance > UINT16_MAX ||
            topo_set_distance(&record->topo, (uint16_t)from, (uint16_t)to, (uint32_t)distance) != OK)
            fail("%s: line %u: topo: distance %llu of node %llu", lines->path, lines->number,
                 (unsigned long long)distance, (unsigned long long)id);
    }
    expect_end(lines, cursor);
}

void parse_topo(const char *path, struct bytes bytes, struct recorded_topo *record)
{
    topo_init(&record->topo);
    /* Distances refer to nodes that may come later, so nodes first. */
    for (int pass = 0; pass < 2; pass++) {
        struct lines lines = lines_of(path, bytes);
        while (next_line(&lines)) {
            char *cursor = lines.text;
            bool node = take_word(&cursor, "node"), distance = !node && take_word(&cursor, "distance");
            if (!node && !distance && !take_word(&cursor, "attr"))
                fail("%s: line %u: topo: \"%s\" is neither node, distance nor attr", path, lines.number,
                     cursor);
            if (node && pass == 0)
                parse_node(&lines, cursor, record);
            else if (distance && pass == 1)
                parse_distances(&lines, cursor, record);
        }
    }
}
