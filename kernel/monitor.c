/* SPDX-License-Identifier: MIT
 *
 * Line editing and dispatch. Keys: left, right, home, end, up, down (history), backspace, delete, ^A ^E ^B ^F
 * ^K ^U ^W ^C ^L, tab completes a command's name. While nobody types, the CPU sleeps between looks at the
 * console.
 */
#include <arch/hal.h>
#include <kernel/console.h>
#include <kernel/cpus.h>
#include <kernel/monitor.h>
#include <kernel/reclaim.h>
#include <mm/port.h>
#include <stdio.h>
#include <string.h>

#define PROMPT "quire> "
#define POLL_NS UINT64_C(10000000)
#define SEQUENCE_NS UINT64_C(100000000)
#define HISTORY 16

enum key {
    KEY_LEFT = 256,
    KEY_RIGHT,
    KEY_UP,
    KEY_DOWN,
    KEY_HOME,
    KEY_END,
    KEY_DELETE,
};
#define CTRL(c) ((c)&0x1f)

static bool finished;
static char history[HISTORY][MONITOR_LINE_MAX];
static unsigned history_count;

struct editor {
    char text[MONITOR_LINE_MAX];
    unsigned length, cursor;
    unsigned back; /* how many lines up in the history; 0: the line being typed */
};

void monitor_finish(void)
{
    finished = true;
}

/* ---- Keys --------------------------------------------------------------------------------------------- */

static int wait_byte(void)
{
    int byte;
    while ((byte = console_poll()) < 0) {
        reclaim_rest();
        cpu_sleep(POLL_NS);
    }
    return byte;
}

/* The next byte of an escape sequence; -1 if none follows soon: it was the key itself. */
static int next_byte(void)
{
    uint64_t deadline = hal_time_ns() + SEQUENCE_NS;
    int byte;
    while ((byte = console_poll()) < 0 && hal_time_ns() < deadline)
        cpu_sleep(POLL_NS);
    return byte;
}

/* Keys that send a number and a tilde; VT220 and rxvt count differently. */
static int tilde_key(int digit)
{
    switch (digit) {
    case '3': return KEY_DELETE;
    case '1':
    case '7': return KEY_HOME;
    case '4':
    case '8': return KEY_END;
    }
    return 0;
}

static int escape_key(void)
{
    int byte = next_byte(), first = 0;
    if (byte != '[' && byte != 'O')
        return 0;
    /* Parameters, up to the final byte. Bound: what is typed. */
    while ((byte = next_byte()) >= 0x20 && byte < 0x40)
        first = first == 0 ? byte : first;
    switch (byte) {
    case 'A': return KEY_UP;
    case 'B': return KEY_DOWN;
    case 'C': return KEY_RIGHT;
    case 'D': return KEY_LEFT;
    case 'H': return KEY_HOME;
    case 'F': return KEY_END;
    case '~': return tilde_key(first);
    }
    return 0;
}

static int read_key(void)
{
    int byte = wait_byte();
    return byte == 0x1b ? escape_key() : byte;
}

/* ---- Editing ------------------------------------------------------------------------------------------ */

static void redraw(const struct editor *line)
{
    kprintf("\r" PROMPT "%.*s\x1b[K", (int)line->length, line->text);
    if (line->cursor < line->length)
        kprintf("\x1b[%uD", line->length - line->cursor);
}

static void insert(struct editor *line, char c)
{
    if (line->length + 1 >= MONITOR_LINE_MAX)
        return;
    memmove(line->text + line->cursor + 1, line->text + line->cursor, line->length - line->cursor);
    line->text[line->cursor++] = c;
    line->length++;
}

static void erase(struct editor *line, unsigned from, unsigned to)
{
    memmove(line->text + from, line->text + to, line->length - to);
    line->length -= to - from;
    line->cursor = from;
}

static void erase_word(struct editor *line)
{
    unsigned from = line->cursor;
    while (from > 0 && line->text[from - 1] == ' ')
        from--;
    while (from > 0 && line->text[from - 1] != ' ')
        from--;
    erase(line, from, line->cursor);
}

static void recall(struct editor *line, int step)
{
    unsigned kept = history_count < HISTORY ? history_count : HISTORY;
    if ((step > 0 && line->back == kept) || (step < 0 && line->back == 0))
        return;
    line->back += (unsigned)step;
    line->length = 0;
    if (line->back > 0) {
        const char *old = history[(history_count - line->back) % HISTORY];
        line->length = (unsigned)strlen(old);
        memcpy(line->text, old, line->length);
    }
    line->cursor = line->length;
}

static void complete(struct editor *line)
{
    const struct command *only = NULL;
    unsigned matches = 0;
    for (const struct command *c = monitor_commands; c->name != NULL; c++) {
        if (strncmp(c->name, line->text, line->cursor) == 0) {
            only = c;
            matches++;
        }
    }
    if (matches == 1) {
        for (const char *rest = only->name + line->cursor; *rest != '\0'; rest++)
            insert(line, *rest);
        insert(line, ' ');
    } else if (matches > 1) {
        kprintf("\n");
        for (const struct command *c = monitor_commands; c->name != NULL; c++)
            if (strncmp(c->name, line->text, line->cursor) == 0)
                kprintf("%s  ", c->name);
        kprintf("\n");
    }
}

/* False: the key ended the line. */
static bool edit(struct editor *line, int key)
{
    switch (key) {
    case '\r':
    case '\n': return false;
    case CTRL('C'):
        line->length = line->cursor = 0;
        kprintf("^C");
        return false;
    case KEY_LEFT:
    case CTRL('B'): line->cursor -= line->cursor > 0; break;
    case KEY_RIGHT:
    case CTRL('F'): line->cursor += line->cursor < line->length; break;
    case KEY_HOME:
    case CTRL('A'): line->cursor = 0; break;
    case KEY_END:
    case CTRL('E'): line->cursor = line->length; break;
    case KEY_UP:
    case CTRL('P'): recall(line, 1); break;
    case KEY_DOWN:
    case CTRL('N'): recall(line, -1); break;
    case CTRL('K'): line->length = line->cursor; break;
    case CTRL('U'): erase(line, 0, line->cursor); break;
    case CTRL('W'): erase_word(line); break;
    case CTRL('L'): kprintf("\x1b[H\x1b[J"); break;
    case '\t': complete(line); break;
    case 0x7f:
    case '\b':
        if (line->cursor > 0)
            erase(line, line->cursor - 1, line->cursor);
        break;
    case KEY_DELETE:
    case CTRL('D'):
        if (line->cursor < line->length)
            erase(line, line->cursor, line->cursor + 1);
        break;
    default:
        if (key < ' ' || key >= 0x7f)
            return true;
        insert(line, (char)key);
        if (line->cursor == line->length) { /* no need to draw the line again */
            kprintf("%c", key);
            return true;
        }
    }
    redraw(line);
    return true;
}

static void remember(const char *text)
{
    if (text[0] == '\0' || (history_count > 0 && strcmp(history[(history_count - 1) % HISTORY], text) == 0))
        return;
    snprintf(history[history_count++ % HISTORY], MONITOR_LINE_MAX, "%s", text);
}

static char *read_line(void)
{
    static struct editor line;
    line = (struct editor){.length = 0};
    redraw(&line);
    while (edit(&line, read_key()))
        continue;
    line.text[line.length] = '\0';
    kprintf("\n");
    remember(line.text);
    return line.text;
}

/* ---- Dispatch ----------------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static const char *skip_blanks(const char *text)
{
    while (is_blank(*text))
        text++;
    return text;
}

/* Splits into words; their number, or -1 if there are more than MONITOR_ARGS_MAX. */
static int split(char *line, char **argv)
{
    int argc = 0;
    for (char *at = line; *at != '\0';) {
        while (is_blank(*at))
            *at++ = '\0';
        if (*at == '\0')
            break;
        if (argc == MONITOR_ARGS_MAX)
            return -1;
        argv[argc++] = at;
        while (*at != '\0' && !is_blank(*at))
            at++;
    }
    argv[argc] = NULL;
    return argc;
}

bool monitor_run(char *line)
{
    char *argv[MONITOR_ARGS_MAX + 1];
    int argc = split(line, argv);
    if (argc == 0)
        return true;
    if (argc < 0) {
        kprintf("%s: more than %d words\n", argv[0], MONITOR_ARGS_MAX);
        return false;
    }
    for (const struct command *c = monitor_commands; c->name != NULL; c++)
        if (strcmp(c->name, argv[0]) == 0)
            return c->run(argc, argv);
    kprintf("%s: no such command; `help` lists them\n", argv[0]);
    return false;
}

bool monitor_script(const char *script)
{
    while (*script != '\0' && !finished) {
        char line[MONITOR_LINE_MAX];
        const char *end = strchr(script, ';');
        size_t length = end == NULL ? strlen(script) : (size_t)(end - script);
        if (length >= sizeof(line)) {
            kprintf("script: a command is longer than %d bytes\n", MONITOR_LINE_MAX - 1);
            return false;
        }
        memcpy(line, script, length);
        line[length] = '\0';
        kprintf(PROMPT "%s\n", skip_blanks(line));
        if (!monitor_run(line))
            return false;
        script += length + (end != NULL);
    }
    if (*skip_blanks(script) != '\0')
        kprintf("script: poweroff came before \"%s\"\n", skip_blanks(script));
    return *skip_blanks(script) == '\0';
}

bool monitor_prompt(void)
{
    bool ok = true;
    kprintf("Type `help` for the commands.\n");
    while (!finished)
        ok = monitor_run(read_line()) && ok;
    return ok;
}
