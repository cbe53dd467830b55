/* SPDX-License-Identifier: MIT
 *
 * quire inspect: what the kernel would make of a machine, from files, through the kernel's own readers.
 *
 * Files become sources (load.c), the readers make a machine of them (boot/machine.c), figures.c works out
 * what is printed, and one of two printers prints it.
 */
#ifndef INSPECT_H
#define INSPECT_H

#include "machine.h"

enum kind { KIND_UNKNOWN, KIND_FDT, KIND_ACPI, KIND_PHYS, KIND_E820, KIND_EFI, KIND_TOPO };

struct bytes {
    uint8_t *data; /* aligned for anything, NUL after the last byte */
    size_t size;
};

/* A physical memory image: blobs by address. */
struct phys_image {
    const uint8_t *data;
    uint64_t size, count;
};

/* A recorded topology: no addresses, only how much memory each node has. Nodes beyond those that the kernel
 * knows are kept by id, since rows of distances count them too. */
#define RECORD_MAX_NODES 256
struct recorded_topo {
    struct topo topo;
    uint64_t bytes[RECORD_MAX_NODES]; /* in the file's order, as are topo's nodes before it settles */
    uint32_t id[RECORD_MAX_NODES];
    uint32_t node_count;
    bool too_many_cpus; /* for topo, which has the first of them */
};

struct subject {
    struct machine_sources sources;
    struct phys_image image;
    bool recorded;              /* record holds a topology */
    struct recorded_topo record;
    struct machine machine;
    char paths[4096];           /* the files, for messages */
    char title[4096];           /* what was read, a line each, for people */
};

/* Prints one line to stderr and ends with status 1. */
_Noreturn void fail(const char *format, ...) PRINTF(1, 2);

/* ---- Files -------------------------------------------------------------------------------------------- */

const char *kind_name(enum kind kind); /* for people */

/* Adds a file, or a folder of ACPI tables; argument is [KIND:]FILE. Fails with a message. */
void load(struct subject *subject, const char *argument, uint32_t efi_desc_size);

/* By content, then by file and folder name. */
enum kind detect(const char *path, struct bytes bytes, uint32_t efi_desc_size);

/* Nothing but printable characters, of UTF-8 too, and blanks; a stray NUL, as logs have them, is a blank. */
bool text_is(struct bytes bytes);

/* A signature that is known, or a header whose length is that of the file. */
bool acpi_is(struct bytes bytes);

/* Text formats of the corpus. Each fails with path and line number. */
unsigned text_columns(struct bytes bytes); /* of the first line that is not a comment */
void parse_e820(const char *path, struct bytes bytes, struct machine_sources *sources);
void parse_efi(const char *path, struct bytes bytes, struct machine_sources *sources);
void parse_topo(const char *path, struct bytes bytes, struct recorded_topo *record);

/* Checks an image's table of blobs and finds the ACPI root pointer in it. */
void phys_open(const char *path, struct bytes bytes, struct phys_image *image, uint64_t *rsdp);
const void *phys_map(void *image, uint64_t address, uint64_t size);

/* ---- Figures ------------------------------------------------------------------------------------------ */

struct range {
    uint64_t start, end;
};

/* The memory of a node before reservations, in order: installed RAM, or what the firmware's ranges say if
 * nothing says what is installed. Starts at *from = 0 and moves it on; false: no more. */
bool node_range_next(const struct machine *machine, uint16_t node, uint64_t *from, struct range *range);
uint64_t node_bytes(const struct subject *subject, uint16_t node);
uint64_t node_frames(const struct subject *subject, uint16_t node);
bool node_is_memory_only(const struct subject *subject, uint16_t node);

struct zone_figures {
    uint64_t start, end, frames; /* frames 0: no such zone */
};
struct zone_figures zone_figures(const struct machine *machine, uint16_t node, zone_kind_t kind);

uint64_t highest_end(const struct machine *machine);

/* The name that a claim of the device tree has there, or NULL. */
const char *claim_name(const struct subject *subject, const struct mem_claim *claim);

/* A reservation: something said that these bytes are not free. */
bool is_reservation(const struct mem_claim *claim);

/* ---- Output ------------------------------------------------------------------------------------------- */

void print_json(const struct subject *subject);
void print_text(const struct subject *subject);

#endif
