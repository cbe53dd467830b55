/* SPDX-License-Identifier: MIT
 *
 * Runs a target without libFuzzer: over each file, and over seeded mutations of it (cut off, bits flipped,
 * words replaced by the values that break arithmetic). The same files give the same runs.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX (1u << 20)
#define MUTATIONS 4000

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void put_word(uint8_t *data, size_t size, uint64_t *random)
{
    static const uint32_t nasty[] = {0,          1,          3,      0x7fffffff, 0x80000000,
                                     0xffffffff, 0xfffffffe, 0xffff, 0x10000};
    uint32_t word = nasty[next_random(random) % ARRAY_LEN(nasty)];
    if ((next_random(random) & 1) != 0)
        word = __builtin_bswap32(word);
    if (size >= 4)
        memcpy(data + next_random(random) % (size - 3), &word, 4);
}

/* Some changes in place; returns the new size. */
static size_t mutate(uint8_t *data, size_t size, uint64_t *random)
{
    unsigned changes = 1 + (unsigned)(next_random(random) % 4);
    if (next_random(random) % 8 == 0)
        size = next_random(random) % (size + 1);
    for (unsigned i = 0; i < changes && size > 0; i++) {
        if ((next_random(random) & 1) != 0)
            put_word(data, size, random);
        else
            data[next_random(random) % size] ^= (uint8_t)(1u << next_random(random) % 8);
    }
    return size;
}

static bool run_file(const char *path)
{
    static uint8_t original[INPUT_MAX], changed[INPUT_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return false;
    }
    size_t size = fread(original, 1, sizeof(original), file);
    fclose(file);
    LLVMFuzzerTestOneInput(original, size);
    uint64_t random = 0x9e3779b97f4a7c15;
    for (unsigned i = 0; i < MUTATIONS; i++) {
        memcpy(changed, original, size);
        LLVMFuzzerTestOneInput(changed, mutate(changed, size, &random));
    }
    return true;
}

int main(int argc, char **argv)
{
    bool all = argc > 1;
    for (int i = 1; i < argc; i++)
        all &= run_file(argv[i]);
    printf("%d files, %d mutations of each\n", argc - 1, MUTATIONS);
    return all ? 0 : 1;
}
