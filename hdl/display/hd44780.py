"""Character displays with an HD44780 or one of its many copies, over four data lines.

Minimum times are those of Hitachi's HD44780U datasheet (ADE-207-272(Z), rev. 0.0): bus timing at
2.7 to 4.5 V, which is never shorter than at 5 V, and the initialisation by instruction with four
data lines (its figure 24). Instructions take their maximum time, that of Samsung's KS0066U where
it is longer, on the slowest oscillator that the datasheet allows, 190 kHz instead of the typical
270.
"""

from fractions import Fraction
from math import ceil

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from gptloom.hdl.display.text import TEXT_LATENCY, TextSignature, printable

US, NS = Fraction(1, 10**6), Fraction(1, 10**9)

SLOWEST = Fraction(270, 190)

EXECUTION = 43 * US * SLOWEST
"""Execution time of all instructions but two: 37 us, 37 + 4 us after a character; 39 and 43 us on
a KS0066U."""

CLEARING = 1530 * US * SLOWEST
"""Execution time of the two slow instructions: 1.52 ms, on a KS0066U 1.53 ms."""

POWER_UP = 40_000 * US
FIRST_WAIT = 4_100 * US
SECOND_WAIT = 100 * US

ENABLE_HIGH = 450 * NS
ENABLE_CYCLE = 1000 * NS
SELECT_SETUP = 60 * NS
SELECT_HOLD = 20 * NS
DATA_SETUP = 195 * NS
DATA_HOLD = 10 * NS

SLOT = EXECUTION * 4 / 3
"""Shortest slot: E falls halfway through it and rises after a quarter of the next one."""

SLOTS = 128
"""Slots per round: in each at most one nibble is written."""

WAITING_ROUNDS = ceil(POWER_UP / (SLOTS * SLOT))
INITIALISING, FIRST, RUNNING = 5, 6, 7
"""Numbers of rounds: initialisation, the first round that writes the text, all later rounds."""


def initial_nibbles() -> dict[int, int]:
    """Return the nibbles that the initialisation round writes, by slot.

    No slot is shorter than `SLOT`, so a wait is a number of slots whatever the clock.
    """

    def slots(wait: Fraction) -> int:
        return ceil(wait / SLOT + Fraction(1, 4))

    # Eight data lines, three times, whatever state the panel was in; then four data lines.
    second = slots(FIRST_WAIT)
    third = second + slots(SECOND_WAIT)
    at = third + 1
    nibbles = {0: 3, second: 3, third: 3, at: 2}
    at += 1
    # Two lines of 5x8 dots; display off; clear.
    for instruction in (0x28, 0x08, 0x01):
        nibbles |= {at: instruction >> 4, at + 1: instruction & 15}
        at += 2
    at += slots(CLEARING) - 1
    # Addresses count up, the display does not shift.
    nibbles |= {at: 0, at + 1: 6}
    return nibbles


class HD44780(wiring.Component):
    r"""A panel of two lines of 16 characters, rewritten continuously; R/W is tied low.

    Time is divided into slots of a power of two of cycles, in each of which at most one nibble is
    written: RS and data change at its start, E is high in its second quarter. Every instruction
    has been executed long before the next slot, and the only other waits are rounds and slots in
    which nothing is written: the cycle counter of a slot is the only timer.

    A round of 128 slots writes the whole text, in 10 to 20 ms. After `changed` the display is off
    for a round; only every other round begins a refresh, so a text that changes all the time is
    still seen half of the time.

    Parameters
    ----------
    clock_hz
        Frequency of the domain ``sync``.

    Attributes
    ----------
    slot_bits
        A slot lasts ``2**slot_bits`` cycles.
    text : Out(TextSignature)
        The text to show. The ROM of most panels has a yen sign for ``\`` and an arrow for ``~``.
    rs, e : Out(1)
        Register select and enable pins.
    d : Out(4)
        Data pins DB4 to DB7.

    Raises
    ------
    ValueError
        If the clock is not positive.
    """

    def __init__(self, clock_hz: float):
        if clock_hz <= 0:
            raise ValueError(f"clock_hz is {clock_hz}, but must be positive")
        self.clock_hz = Fraction(clock_hz)
        quarter = max(
            # Characters arrive and are registered in the first quarter.
            TEXT_LATENCY + 1 + ceil(SELECT_SETUP * self.clock_hz),
            *(ceil(t * self.clock_hz) for t in (ENABLE_HIGH, DATA_SETUP, SELECT_HOLD, DATA_HOLD)),
        )
        cycles = max(4 * quarter, *(ceil(t * self.clock_hz) for t in (SLOT, ENABLE_CYCLE)))
        self.slot_bits = (cycles - 1).bit_length()
        super().__init__({"text": Out(TextSignature()), "rs": Out(1), "e": Out(1), "d": Out(4)})

    def timing(self) -> dict[str, tuple[Fraction, Fraction]]:
        """Return minimum and actual times in seconds, by their names in the datasheet."""
        cycle = 1 / self.clock_hz
        slot = cycle * (1 << self.slot_bits)
        quarter = slot / 4
        # From the end of a nibble's E to the beginning of the next one's.
        rest = slot - quarter
        first, second, third, *_, clear, after, _ = sorted(initial_nibbles())
        return {
            "VCC to first instruction": (POWER_UP, WAITING_ROUNDS * SLOTS * slot + quarter),
            "after first function set": (FIRST_WAIT, (second - first - 1) * slot + rest),
            "after second function set": (SECOND_WAIT, (third - second - 1) * slot + rest),
            "clear display": (CLEARING, (after - clear - 1) * slot + rest),
            "other instructions": (EXECUTION, rest),
            "tcycE": (ENABLE_CYCLE, slot),
            "PWEH": (ENABLE_HIGH, quarter),
            "tAS": (SELECT_SETUP, quarter - TEXT_LATENCY * cycle),
            "tAH": (SELECT_HOLD, slot / 2),
            "tDSW": (DATA_SETUP, slot / 2 - TEXT_LATENCY * cycle),
            "tH": (DATA_HOLD, slot / 2),
        }

    def elaborate(self, platform):
        m = Module()
        timer = Signal(self.slot_bits)
        slot = Signal(range(SLOTS))
        round_ = Signal(range(RUNNING + 1), init=INITIALISING - WAITING_ROUNDS)
        # Every second round rewrites a text that is already shown.
        rewriting = Signal(init=(FIRST - round_.init) & 1)
        ends = Signal()
        # High in the last cycle, computed one cycle ahead: a carry through the timer is slow.
        m.d.sync += [timer.eq(timer + 1), ends.eq(timer == (1 << self.slot_bits) - 2)]
        with m.If(ends):
            m.d.sync += slot.eq(slot + 1)
            with m.If(slot.all()):
                m.d.sync += rewriting.eq(~rewriting)
                with m.If(round_ != RUNNING):
                    m.d.sync += round_.eq(round_ + 1)
        m.d.comb += self.text.begin.eq(ends & slot.all() & rewriting)

        low, place, line = slot[0], slot[1:6], slot[6]
        character = printable(self.text.character)
        m.d.comb += self.text.address.eq(Cat(place[:4], line))
        is_character, writes, nibble = place[4], Signal(), Signal(4)
        writes_text = round_ >= FIRST
        with m.If(writes_text):
            with m.If(is_character):
                m.d.comb += [writes.eq(1), nibble.eq(Mux(low, character[:4], character[4:]))]
            with m.Elif(place == 15):
                # Address 0 or 0x40: the line's first character.
                m.d.comb += [writes.eq(1), nibble.eq(Mux(low, 0, Cat(Const(0, 2), line, Const(1))))]
            with m.Elif(place == 14):
                shown = rewriting | (round_ == RUNNING) & ~self.text.changed
                m.d.comb += [
                    writes.eq(1),
                    nibble.eq(Mux(low, Cat(Const(0, 2), shown, Const(1)), 0)),
                ]
        with m.Elif(round_ == INITIALISING):
            table = initial_nibbles()
            with m.Switch(slot):
                for at, value in table.items():
                    with m.Case(at):
                        m.d.comb += [writes.eq(1), nibble.eq(value)]
        m.d.sync += [
            self.rs.eq(writes_text & is_character),
            self.d.eq(nibble),
            self.e.eq(writes & (timer[-2:] == 1)),
        ]
        return m
