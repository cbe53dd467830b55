/* SPDX-License-Identifier: MIT
 *
 * Notes: lines of text back to back in one buffer. A line is written behind the others first and counts only
 * once it is known to be whole and new; the last bytes of the buffer are for final lines alone.
 */
#include "notes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NOTE_FINAL_BYTES 512

static void make_printable(char *line)
{
    for (; *line != '\0'; line++)
        if (*line < ' ' || *line > '~')
            *line = '?';
}

static bool is_there(const struct notes *notes, const char *text)
{
    const char *line = note_next(notes, NULL);
    while (line != NULL && strcmp(line, text) != 0)
        line = note_next(notes, line);
    return line != NULL;
}

/* Writes a line behind the others, where it does not count yet; at most up to `limit`. Returns its length
 * uncut, or `limit` if there is no room at all. */
static PRINTF(3, 0) uint32_t write_line(struct notes *notes, uint32_t limit, const char *format, va_list args)
{
    if (notes->used + 2 > limit)
        return limit;
    int length = vsnprintf(notes->text + notes->used, limit - notes->used, format, args);
    make_printable(notes->text + notes->used);
    return length < 0 ? 0 : (uint32_t)length;
}

void note(struct notes *notes, const char *format, ...)
{
    const uint32_t limit = NOTES_BYTES - NOTE_FINAL_BYTES;
    va_list args;
    va_start(args, format);
    uint32_t length = write_line(notes, limit, format, args);
    va_end(args);
    if (notes->used + length + 1 > limit) {
        notes->dropped++;
    } else if (!is_there(notes, notes->text + notes->used)) {
        notes->used += length + 1;
        notes->count++;
    }
}

void note_final(struct notes *notes, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    uint32_t length = write_line(notes, NOTES_BYTES, format, args);
    va_end(args);
    if (notes->used + 2 > NOTES_BYTES) {
        notes->dropped++;
        return;
    }
    notes->used += (uint32_t)min_u64(length + 1, NOTES_BYTES - notes->used);
    notes->count++;
}

const char *note_next(const struct notes *notes, const char *previous)
{
    const char *next = previous == NULL ? notes->text : previous + strlen(previous) + 1;
    return next < notes->text + notes->used ? next : NULL;
}
