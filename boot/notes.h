/* SPDX-License-Identifier: MIT
 *
 * Notes: warnings kept as text, oldest first, until there is somebody to show them to.
 */
#ifndef BOOT_NOTES_H
#define BOOT_NOTES_H

#include <mm/types.h>

#define NOTES_BYTES 8192
struct notes {
    uint32_t count;   /* lines kept, equal ones once */
    uint32_t dropped; /* lines that found no room */
    uint32_t used;
    char text[NOTES_BYTES]; /* NUL-terminated lines back to back; nothing but printable ASCII */
};

/* A line that is there already is not repeated; one that does not fit is dropped. */
void note(struct notes *notes, const char *format, ...) PRINTF(2, 3);
/* The last word: the reason for giving up, or what all of it amounts to. Room is kept for it; it is cut to
 * what fits. */
void note_final(struct notes *notes, const char *format, ...) PRINTF(2, 3);
/* Line by line: start with NULL; returns NULL after the last. */
const char *note_next(const struct notes *notes, const char *previous);

#endif
