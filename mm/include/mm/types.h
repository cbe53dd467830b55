/* SPDX-License-Identifier: MIT
 *
 * The vocabulary of mm/: addresses, frames, status codes.
 *
 * Physical addresses and frame numbers are one-field structs, so that mixing one up with the other, or
 * with a pointer, does not compile. All ranges in this project are half open: [start, end).
 */
#ifndef MM_TYPES_H
#define MM_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define TIB(n) ((uint64_t)(n) << 40)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* A frame is 4 KiB on every ISA; a chunk is the 512 frames (2 MiB) that one bitmap covers and that one
 * level-1 leaf maps. */
#define FRAME_SHIFT 12
#define FRAME_SIZE (UINT64_C(1) << FRAME_SHIFT)
#define CHUNK_SHIFT 9
#define CHUNK_FRAMES (UINT64_C(1) << CHUNK_SHIFT)

/* Every fallible function returns one of these and hands results out through pointers; no result value
 * ever means failure. Zero is success, failures are negative. */
typedef enum status {
    OK = 0,
    ERR_INVALID = -1,   /* an argument is out of its documented range; nothing was changed */
    ERR_NO_MEMORY = -2, /* nothing that meets the request is free */
    ERR_FULL = -3,      /* a fixed table has no room left */
    ERR_CORRUPT = -4,   /* firmware data that contradicts its own format */
    ERR_NOT_FOUND = -5,
    ERR_BUSY = -6,      /* the thing is in use, or already in the state asked for */
    ERR_UNSUPPORTED = -7,
    ERR_EXISTS = -8,    /* a mapping is already there */
} status_t;

/* The name of a status ("out of memory"), for people. Never NULL. */
const char *status_name(status_t status);

typedef uintptr_t vaddr_t;

typedef struct paddr {
    uint64_t v;
} paddr_t;

typedef struct pfn {
    uint64_t v;
} pfn_t;

_Static_assert(sizeof(paddr_t) == 8 && sizeof(pfn_t) == 8, "boxed integers cost nothing");

static inline paddr_t paddr(uint64_t address)
{
    return (paddr_t){address};
}

static inline pfn_t pfn(uint64_t number)
{
    return (pfn_t){number};
}

/* The frame that holds a byte; the first byte of a frame. */
static inline pfn_t pfn_of(paddr_t address)
{
    return (pfn_t){address.v >> FRAME_SHIFT};
}

static inline paddr_t paddr_of(pfn_t frame)
{
    return (paddr_t){frame.v << FRAME_SHIFT};
}

static inline paddr_t paddr_add(paddr_t address, uint64_t bytes)
{
    return (paddr_t){address.v + bytes};
}

/* align is a power of two; align_up of a value within align of 2^64 wraps, so check ranges first. */
static inline uint64_t align_down(uint64_t value, uint64_t align)
{
    return value & ~(align - 1);
}

static inline uint64_t align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

static inline bool is_aligned(uint64_t value, uint64_t align)
{
    return (value & (align - 1)) == 0;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
