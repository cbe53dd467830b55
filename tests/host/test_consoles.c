/* SPDX-License-Identifier: MIT
 *
 * Drivers of consoles on simulated parts, with the properties that no emulator's part has: a line control
 * register that is deaf while a byte is on its way, a scratch register that is missing, a transmitter that is
 * never ready.
 */
#include <boot/machine.h>
#include <kernel/console.h>
#include <string.h>

#include "quire_test.h"
#include "parts/arch/hal.h"
#include "parts/drivers/mmio.h"

#define REGISTERS 32

/* One part at a time. Registers are numbered; the driver under test finds number n at n << shift. */
static struct {
    enum console_kind kind;
    unsigned shift, width;
    uint32_t reg[REGISTERS];
    unsigned writes[REGISTERS];
    unsigned odd;          /* accesses between registers, behind them, or of another width */
    bool scratch;          /* a 16550's register 7 keeps what is written */
    bool busy, stays_busy; /* line control is deaf until the buffers are emptied, or for ever */
    bool keeps_latch;      /* it is deaf once the divisor's latch is open */
    uint32_t divisor;
    unsigned polls_until_room, polls;
    char sent[16];
    unsigned sent_count;
} part;

enum { DATA = 0, IER = 1, FCR = 2, LCR = 3, MCR = 4, LSR = 5, SCRATCH = 7 };
enum { TXDATA = 0, RXDATA = 1, TXCTRL = 2, RXCTRL = 3 };
enum { CR = 0, SR = 11, FIFO = 12 };

static uint32_t full_unless_ready(uint32_t ready, uint32_t full)
{
    part.polls++;
    if (part.polls_until_room == 0)
        return ready;
    part.polls_until_room--;
    return full;
}

static bool reaches(uint64_t offset, unsigned width, unsigned *number)
{
    *number = (unsigned)(offset >> part.shift);
    if (*number >= REGISTERS || offset % (UINT64_C(1) << part.shift) != 0 || width != part.width) {
        part.odd++;
        return false;
    }
    return true;
}

uint32_t part_read(const volatile void *base, uint64_t offset, unsigned width)
{
    unsigned number;
    (void)base;
    if (!reaches(offset, width, &number))
        return UINT32_MAX;
    if (part.kind == CONSOLE_SIFIVE && number == TXDATA)
        return full_unless_ready(0, 1u << 31);
    if (part.kind == CONSOLE_CADENCE && number == SR)
        return full_unless_ready(part.reg[SR], part.reg[SR] | 1u << 4);
    if (part.kind == CONSOLE_NS16550 && number == LSR)
        return full_unless_ready(part.reg[LSR] | 0x20, part.reg[LSR]);
    return part.reg[number];
}

static void send(uint32_t value)
{
    if (part.sent_count < sizeof(part.sent))
        part.sent[part.sent_count] = (char)value;
    part.sent_count++;
}

static void write_16550(unsigned number, uint32_t value)
{
    bool latch = part.reg[LCR] & 0x80;
    if (number == LCR && (part.busy || part.stays_busy || (latch && part.keeps_latch)))
        return;
    if (number == FCR && (value & 6) == 6)
        part.busy = false;
    if (number == SCRATCH && !part.scratch)
        return;
    if (number == DATA && latch)
        part.divisor = (part.divisor & 0xff00) | value;
    else if (number == DATA)
        send(value);
    else if (number == IER && latch)
        part.divisor = (part.divisor & 0xff) | value << 8;
    else
        part.reg[number] = value;
}

void part_write(volatile void *base, uint64_t offset, unsigned width, uint32_t value)
{
    unsigned number;
    (void)base;
    if (!reaches(offset, width, &number))
        return;
    part.writes[number]++;
    if (part.kind == CONSOLE_NS16550)
        write_16550(number, value);
    else if (number == (part.kind == CONSOLE_SIFIVE ? TXDATA : FIFO))
        send(value);
    else
        part.reg[number] = value;
}

const bool hal_has_ports = true;

uint8_t hal_port_read8(uint16_t port)
{
    return (uint8_t)part_read(NULL, port - 0x3f8u, 1);
}

void hal_port_write8(uint16_t port, uint8_t value)
{
    part_write(NULL, port - 0x3f8u, 1, value);
}

/* ---- 16550 and relatives ------------------------------------------------------------------------------- */

static struct console console;

static void make(enum console_kind kind, unsigned shift, unsigned width)
{
    memset(&part, 0, sizeof(part));
    part.kind = kind;
    part.shift = shift;
    part.width = width;
    part.scratch = true;
}

static status_t init_16550(enum console_kind kind, uint32_t clock, uint32_t baud)
{
    const struct console_desc desc = {
        .kind = kind, .reg_shift = part.shift, .reg_width = part.width, .clock = clock, .baud = baud};
    return ns16550_init(&console, &desc, &part);
}

TEST(consoles, a_16550_is_told_by_its_scratch_register)
{
    make(CONSOLE_NS16550, 2, 4);
    CHECK_EQ(init_16550(CONSOLE_NS16550, 0, 0), OK);
    CHECK_EQ(part.writes[LCR], 0); /* line settings are the firmware's */
    CHECK_EQ(part.odd, 0);
    part.scratch = false;
    part.reg[SCRATCH] = 0;
    CHECK_EQ(init_16550(CONSOLE_NS16550, 0, 0), ERR_NOT_FOUND);
    CHECK_EQ(init_16550(CONSOLE_DW_APB, 0, 0), OK);
    part.reg[LSR] = 0xff;
    CHECK_EQ(init_16550(CONSOLE_DW_APB, 0, 0), ERR_NOT_FOUND);
}

TEST(consoles, a_16550_on_ports)
{
    make(CONSOLE_NS16550, 0, 1);
    const struct console_desc desc = {.kind = CONSOLE_NS16550, .io_port = true, .base = 0x3f8};
    CHECK_EQ(ns16550_init(&console, &desc, NULL), OK);
    console.put(&console, 'x');
    CHECK(part.sent_count == 1 && part.sent[0] == 'x' && part.odd == 0);
    CHECK_EQ(console.get(&console), -1);
    part.reg[LSR] = 1;
    part.reg[DATA] = 'y';
    CHECK_EQ(console.get(&console), 'y');
}

TEST(consoles, a_busy_dw_apb_uart_gets_its_line_settings)
{
    make(CONSOLE_NS16550, 2, 4);
    part.scratch = false;
    part.busy = true;
    CHECK_EQ(init_16550(CONSOLE_DW_APB, 24000000, 115200), OK);
    CHECK_EQ(part.divisor, 13);
    CHECK_EQ(part.reg[LCR], 3);
    CHECK_EQ(part.sent_count, 0); /* no half of a divisor as a byte */
    CHECK_EQ(part.odd, 0);
}

/* What cannot be set is left alone, and nothing is taken for a divisor. */
TEST(consoles, a_dw_apb_uart_that_stays_busy_is_used_as_it_is)
{
    make(CONSOLE_NS16550, 2, 4);
    part.stays_busy = true;
    part.reg[LCR] = 3;
    CHECK_EQ(init_16550(CONSOLE_DW_APB, 24000000, 115200), OK);
    CHECK_EQ(part.divisor, 0);
    CHECK_EQ(part.sent_count, 0);
    console.put(&console, 'z');
    CHECK_EQ(part.sent_count, 1);
}

/* Its data register is the divisor then: another console is better. What failed leaves nothing behind. */
TEST(consoles, a_16550_that_keeps_its_divisor_latch_open_is_not_used)
{
    make(CONSOLE_NS16550, 2, 4);
    part.keeps_latch = true;
    memset(&console, 0, sizeof(console));
    CHECK_EQ(init_16550(CONSOLE_DW_APB, 24000000, 115200), ERR_NOT_FOUND);
    part.reg[LSR] = 0xff;
    CHECK_EQ(init_16550(CONSOLE_NS16550, 0, 0), ERR_NOT_FOUND);
    CHECK(console.put == NULL && console.port == 0);
    part.keeps_latch = false;
    part.reg[LSR] = part.reg[LCR] = 0;
    CHECK_EQ(init_16550(CONSOLE_DW_APB, 24000000, 115200), OK);
    CHECK_EQ(part.divisor, 13);
}

TEST(consoles, a_16550_is_accessed_as_wide_as_it_is)
{
    for (unsigned width = 1; width <= 4; width *= 2) {
        make(CONSOLE_NS16550, 2, width);
        CHECK_EQ(init_16550(CONSOLE_NS16550, 24000000, 115200), OK);
        console.put(&console, 'w');
        CHECK(part.odd == 0 && part.sent_count == 1 && part.divisor == 13);
    }
}

TEST(consoles, a_bcm2835_auxiliary_uart_keeps_all_but_its_interrupts)
{
    make(CONSOLE_NS16550, 2, 4);
    CHECK_EQ(init_16550(CONSOLE_BCM2835_AUX, 500000000, 115200), OK);
    for (unsigned i = 0; i < REGISTERS; i++)
        CHECK_EQ(part.writes[i], i == IER);
}

/* ---- All ----------------------------------------------------------------------------------------------- */

static status_t init_word(enum console_kind kind)
{
    const struct console_desc desc = {.kind = kind, .reg_width = 4};
    make(kind, 2, 4);
    part.reg[CR] = kind == CONSOLE_CADENCE ? 0x128 : 0; /* receiver and transmitter off, as after a reset */
    part.reg[SR] = 1u << 1;
    if (kind == CONSOLE_SIFIVE) {
        part.reg[RXDATA] = 1u << 31;
        part.reg[TXCTRL] = 3u << 16; /* a watermark */
    }
    return kind == CONSOLE_SIFIVE ? sifive_init(&console, &desc, &part)
                                  : cadence_init(&console, &desc, &part);
}

TEST(consoles, sifive_and_cadence_are_turned_on_and_keep_what_was_set)
{
    CHECK_EQ(init_word(CONSOLE_SIFIVE), OK);
    CHECK(part.reg[TXCTRL] == (3u << 16 | 1) && part.reg[RXCTRL] == 1 && part.odd == 0);
    CHECK_EQ(console.get(&console), -1);
    part.reg[RXDATA] = 'a';
    CHECK_EQ(console.get(&console), 'a');
    CHECK_EQ(init_word(CONSOLE_CADENCE), OK);
    CHECK(part.reg[CR] == 0x114 && part.odd == 0);
    CHECK_EQ(console.get(&console), -1);
    part.reg[SR] = 0;
    part.reg[FIFO] = 'b';
    CHECK_EQ(console.get(&console), 'b');
    memset(part.reg, 0xff, sizeof(part.reg));
    CHECK_EQ(cadence_init(&console, &(struct console_desc){.kind = CONSOLE_CADENCE}, &part), ERR_NOT_FOUND);
    CHECK_EQ(sifive_init(&console, &(struct console_desc){.kind = CONSOLE_SIFIVE}, &part), ERR_NOT_FOUND);
}

/* Each of three parts with a driver of its own, by number. */
static status_t init_part(unsigned number)
{
    if (number > 0)
        return init_word(number == 1 ? CONSOLE_SIFIVE : CONSOLE_CADENCE);
    make(CONSOLE_NS16550, 2, 4);
    return init_16550(CONSOLE_NS16550, 0, 0);
}

TEST(consoles, a_byte_waits_for_room_but_not_for_ever)
{
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(init_part(i), OK);
        part.polls_until_room = 7;
        console.put(&console, 'q');
        CHECK(part.polls_until_room == 0 && part.sent_count == 1 && part.sent[0] == 'q');
        part.polls_until_room = UINT32_MAX;
        console.put(&console, 'r');
        CHECK_EQ(part.sent_count, 2);
    }
}

/* A log of 16 KiB at a million looks per byte would take hours; a line that moves is waited for again. */
TEST(consoles, a_stuck_line_is_waited_for_once)
{
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(init_part(i), OK);
        part.polls_until_room = UINT32_MAX;
        console.put(&console, 's');
        part.polls = 0;
        for (unsigned byte = 0; byte < 1000; byte++)
            console.put(&console, 's');
        CHECK_EQ(part.polls, 1000);
        part.polls_until_room = 0;
        console.put(&console, 't');
        part.polls_until_room = 7;
        console.put(&console, 'u');
        CHECK_EQ(part.polls_until_room, 0);
    }
}
