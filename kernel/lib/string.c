/* SPDX-License-Identifier: MIT
 *
 * Memory and string functions, word by word where alignment allows. Compiled so that the compiler does not
 * turn these loops into calls of themselves.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t __attribute__((may_alias)) word_t;

static int both_aligned(const void *a, const void *b)
{
    return (((uintptr_t)a | (uintptr_t)b) & (sizeof(word_t) - 1)) == 0;
}

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    unsigned char *out = to;
    const unsigned char *in = from;
    if (both_aligned(to, from))
        for (; count >= sizeof(word_t); count -= sizeof(word_t), out += sizeof(word_t), in += sizeof(word_t))
            *(word_t *)(void *)out = *(const word_t *)(const void *)in;
    while (count-- > 0)
        *out++ = *in++;
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    unsigned char *out = to;
    const unsigned char *in = from;
    if (out <= in || out >= in + count)
        return memcpy(to, from, count);
    while (count-- > 0)
        out[count] = in[count];
    return to;
}

void *memset(void *to, int value, size_t count)
{
    unsigned char *out = to;
    if (both_aligned(to, to)) {
        word_t pattern = UINT64_C(0x0101010101010101) * (unsigned char)value;
        for (; count >= sizeof(word_t); count -= sizeof(word_t), out += sizeof(word_t))
            *(word_t *)(void *)out = pattern;
    }
    while (count-- > 0)
        *out++ = (unsigned char)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t count)
{
    const unsigned char *x = a, *y = b;
    for (; count > 0; count--, x++, y++)
        if (*x != *y)
            return *x < *y ? -1 : 1;
    return 0;
}

void *memchr(const void *where, int value, size_t count)
{
    const unsigned char *bytes = where;
    for (size_t i = 0; i < count; i++)
        if (bytes[i] == (unsigned char)value)
            return (void *)(uintptr_t)(bytes + i);
    return NULL;
}

size_t strlen(const char *text)
{
    size_t length = 0;
    while (text[length] != '\0')
        length++;
    return length;
}

size_t strnlen(const char *text, size_t limit)
{
    const char *end = memchr(text, '\0', limit);
    return end == NULL ? limit : (size_t)(end - text);
}

int strncmp(const char *a, const char *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned char x = (unsigned char)a[i], y = (unsigned char)b[i];
        if (x != y)
            return x < y ? -1 : 1;
        if (x == '\0')
            break;
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

static int lower(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

int strcasecmp(const char *a, const char *b)
{
    while (*a != '\0' && lower(*a) == lower(*b))
        a++, b++;
    return lower(*a) - lower(*b);
}

char *strchr(const char *text, int value)
{
    return memchr(text, value, strlen(text) + 1);
}

char *strrchr(const char *text, int value)
{
    for (size_t i = strlen(text) + 1; i-- > 0;)
        if (text[i] == (char)value)
            return (char *)(uintptr_t)(text + i);
    return NULL;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    int letter = lower(c);
    return letter >= 'a' && letter <= 'z' ? letter - 'a' + 10 : 99;
}

unsigned long long strtoull(const char *text, char **end, int base)
{
    const char *at = text;
    unsigned long long value = 0;
    if ((base == 0 || base == 16) && at[0] == '0' && lower(at[1]) == 'x' && digit_of(at[2]) < 16) {
        at += 2;
        base = 16;
    } else if (base == 0) {
        base = at[0] == '0' ? 8 : 10;
    }
    const char *first = at;
    for (; digit_of(*at) < base; at++)
        if (__builtin_mul_overflow(value, (unsigned)base, &value) ||
            __builtin_add_overflow(value, (unsigned)digit_of(*at), &value))
            value = ~0ull;
    if (end != NULL)
        *end = (char *)(uintptr_t)(at == first ? text : at);
    return value;
}

unsigned long strtoul(const char *text, char **end, int base)
{
    return (unsigned long)strtoull(text, end, base);
}
