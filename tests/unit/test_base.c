/* SPDX-License-Identifier: MIT */
#include <string.h>

#include <mm/bits.h>
#include <mm/spinlock.h>

#include "quire_test.h"

TEST(base, every_status_has_a_name)
{
    for (int status = ERR_EXISTS; status <= OK; status++)
        CHECK(strcmp(status_name((status_t)status), "unknown status") != 0);
    CHECK(strcmp(status_name((status_t)-99), "unknown status") == 0);
}

TEST(base, lowest_bit_and_logarithms)
{
    for (unsigned i = 0; i < WORD_BITS; i++) {
        uint64_t bit = UINT64_C(1) << i;

        CHECK_EQ(bit_lowest(bit), i);
        CHECK_EQ(bit_lowest(bit | UINT64_C(1) << 63), i);
        CHECK_EQ(bit_count(bit - 1), i);
        CHECK_EQ(log2_floor(bit), i);
        CHECK_EQ(log2_floor(bit | 1), i);
        CHECK_EQ(log2_ceil(bit), i);
        CHECK(is_power_of_two(bit));
        CHECK(i < 2 || !is_power_of_two(bit + 1));
        CHECK(i < 2 || log2_ceil(bit - 1) == i);
    }
    CHECK_EQ(bit_count(~UINT64_C(0)), 64);
    CHECK(!is_power_of_two(0));
}

TEST(base, bit_ranges)
{
    for (unsigned from = 0; from < WORD_BITS; from++) {
        for (unsigned to = from + 1; to <= WORD_BITS; to++) {
            uint64_t range = bit_range(from, to);

            CHECK_EQ(bit_count(range), to - from);
            CHECK_EQ(bit_lowest(range), from);
            CHECK_EQ(log2_floor(range), to - 1);
        }
    }
}

/* Against a loop over positions, for random words of every density. */
TEST(base, aligned_blocks)
{
    uint64_t seed = 5;

    for (unsigned i = 0; i < 1000; i++) {
        uint64_t word = test_random(&seed);

        for (unsigned density = i % 6; density > 0; density--)
            word |= test_random(&seed) << (i % 7);
        for (unsigned order = 0; order <= 6; order++) {
            uint64_t expected = 0;

            for (unsigned at = 0; at < WORD_BITS; at += 1u << order) {
                uint64_t block = bit_range(at, at + (1u << order));

                expected |= (word & block) == block ? UINT64_C(1) << at : 0;
            }
            CHECK_EQ(bit_blocks(word, order), expected);
            CHECK(word == 0 || (bit_largest_block(word) >= order) == (expected != 0));
        }
    }
}

struct counter {
    spinlock_t lock;
    uint64_t value;
};

static void count_up(void *context, unsigned index)
{
    struct counter *counter = context;

    (void)index;
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t irq = spin_lock(&counter->lock);

        counter->value++;
        spin_unlock(&counter->lock, irq);
    }
}

TEST(base, spinlock_excludes)
{
    static struct counter counter;

    counter.value = 0;
    test_parallel(test_cpus(), count_up, &counter);
    CHECK_EQ(counter.value, 2000 * test_cpus());
}
