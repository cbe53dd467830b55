/* SPDX-License-Identifier: MIT
 *
 * printf's conversions d i u x X o c s p and %, with flags - 0 + space #, width and precision (also *),
 * lengths hh h l ll z j t. No floating point. Anything else is printed as it stands.
 */
#include <mm/types.h>
#include <stdio.h>
#include <string.h>

struct spec {
    bool left, zero, plus, space, alternate;
    int width, precision; /* precision < 0: not given */
    int longs;            /* -2 char, -1 short, 0 int, 1 long and wider */
};

struct sink {
    void (*put)(void *context, char c);
    void *context;
    int count;
};

static void emit(struct sink *sink, char c)
{
    sink->put(sink->context, c);
    sink->count++;
}

static void pad(struct sink *sink, char c, int count)
{
    while (count-- > 0)
        emit(sink, c);
}

static void emit_text(struct sink *sink, const struct spec *spec, const char *text)
{
    if (text == NULL)
        text = "(null)";
    size_t limit = spec->precision < 0 ? SIZE_MAX : (size_t)spec->precision;
    int length = (int)strnlen(text, limit);
    pad(sink, ' ', spec->left ? 0 : spec->width - length);
    for (int i = 0; i < length; i++)
        emit(sink, text[i]);
    pad(sink, ' ', spec->left ? spec->width - length : 0);
}

static void emit_number(struct sink *sink, const struct spec *spec, uint64_t value, unsigned base, bool upper,
                        const char *prefix)
{
    char digits[24]; /* 2^64 has 22 octal digits */
    int length = 0;
    const char *alphabet = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    for (; value != 0; value /= base)
        digits[length++] = alphabet[value % base];
    int wanted = spec->precision >= 0 ? spec->precision : 1;
    int prefix_length = (int)strlen(prefix);
    if (spec->zero && !spec->left && spec->precision < 0 && spec->width - prefix_length > wanted)
        wanted = spec->width - prefix_length;
    int zeroes = wanted > length ? wanted - length : 0;
    int blanks = spec->width - prefix_length - zeroes - length;
    pad(sink, ' ', spec->left ? 0 : blanks);
    while (*prefix != '\0')
        emit(sink, *prefix++);
    pad(sink, '0', zeroes);
    while (length > 0)
        emit(sink, digits[--length]);
    pad(sink, ' ', spec->left ? blanks : 0);
}

static const char *parse_spec(const char *at, struct spec *spec, va_list *args)
{
    *spec = (struct spec){.precision = -1};
    for (;; at++) {
        if (*at == '-')
            spec->left = true;
        else if (*at == '0')
            spec->zero = true;
        else if (*at == '+')
            spec->plus = true;
        else if (*at == ' ')
            spec->space = true;
        else if (*at == '#')
            spec->alternate = true;
        else
            break;
    }
    int *number = &spec->width;
    for (;; at++) {
        if (*at == '*')
            *number = va_arg(*args, int);
        else if (*at >= '0' && *at <= '9')
            *number = *number * 10 + (*at - '0');
        else if (*at == '.' && number == &spec->width)
            *(number = &spec->precision) = 0;
        else
            break;
    }
    if (spec->width < 0) {
        spec->left = true;
        spec->width = -spec->width;
    }
    for (; *at == 'h' || *at == 'l' || *at == 'z' || *at == 'j' || *at == 't'; at++)
        spec->longs += *at == 'h' ? -1 : 1;
    return at;
}

static uint64_t take_unsigned(const struct spec *spec, va_list *args)
{
    if (spec->longs > 0)
        return va_arg(*args, unsigned long);
    unsigned value = va_arg(*args, unsigned);
    return spec->longs == 0 ? value : spec->longs == -1 ? (unsigned short)value : (unsigned char)value;
}

static void emit_signed(struct sink *sink, const struct spec *spec, va_list *args)
{
    int64_t value;
    if (spec->longs > 0) {
        value = va_arg(*args, long);
    } else {
        int narrow = va_arg(*args, int);
        value = spec->longs == 0 ? narrow : spec->longs == -1 ? (short)narrow : (signed char)narrow;
    }
    uint64_t magnitude = value < 0 ? -(uint64_t)value : (uint64_t)value;
    emit_number(sink, spec, magnitude, 10, false,
                value < 0     ? "-"
                : spec->plus  ? "+"
                : spec->space ? " "
                              : "");
}

static void emit_conversion(struct sink *sink, char kind, struct spec *spec, va_list *args)
{
    switch (kind) {
    case 'd':
    case 'i': emit_signed(sink, spec, args); break;
    case 'u': emit_number(sink, spec, take_unsigned(spec, args), 10, false, ""); break;
    case 'o': emit_number(sink, spec, take_unsigned(spec, args), 8, false, spec->alternate ? "0" : ""); break;
    case 'x':
    case 'X': {
        uint64_t value = take_unsigned(spec, args);
        emit_number(sink, spec, value, 16, kind == 'X', spec->alternate && value != 0 ? "0x" : "");
        break;
    }
    case 'p': emit_number(sink, spec, (uintptr_t)va_arg(*args, void *), 16, false, "0x"); break;
    case 'c':
        emit_text(sink, &(struct spec){.width = spec->width, .left = spec->left, .precision = 1},
                  (char[2]){(char)va_arg(*args, int), '\0'});
        break;
    case 's': emit_text(sink, spec, va_arg(*args, const char *)); break;
    default:
        emit(sink, '%');
        if (kind != '%')
            emit(sink, kind);
    }
}

int format_text(void (*put)(void *context, char c), void *context, const char *format, va_list args)
{
    struct sink sink = {put, context, 0};
    va_list copy;
    va_copy(copy, args);
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            emit(&sink, *format);
            continue;
        }
        struct spec spec;
        format = parse_spec(format + 1, &spec, &copy);
        if (*format == '\0')
            break;
        emit_conversion(&sink, *format, &spec, &copy);
    }
    va_end(copy);
    return sink.count;
}

struct memory_sink {
    char *to;
    size_t size, used;
};

static void put_memory(void *context, char c)
{
    struct memory_sink *memory = context;
    if (memory->used + 1 < memory->size)
        memory->to[memory->used] = c;
    memory->used++;
}

int vsnprintf(char *to, size_t size, const char *format, va_list args)
{
    struct memory_sink memory = {to, size, 0};
    int count = format_text(put_memory, &memory, format, args);
    if (size > 0)
        to[memory.used < size ? memory.used : size - 1] = '\0';
    return count;
}

int snprintf(char *to, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int count = vsnprintf(to, size, format, args);
    va_end(args);
    return count;
}
