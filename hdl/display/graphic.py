"""Graphic displays: a panel is described by a table, and one driver draws text on all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import enum, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Out
from amaranth.utils import exact_log2

from gptloom.hdl.attributes import BLOCK_RAM
from gptloom.hdl.display.font import COLUMNS as GLYPH_COLUMNS
from gptloom.hdl.display.font import GROUP, ROM_WORDS, TABLE_AT, font_rom
from gptloom.hdl.display.spi import Serialiser, SerialTiming
from gptloom.hdl.display.text import COLUMNS, TextSignature, printable

TABLE = ROM_WORDS - TABLE_AT
"""Bytes available for a panel's commands."""

PAUSES = 16
"""Pauses before the first command; during the first one the panel is reset."""

Commands = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Panel:
    """Parameters of a panel that the driver needs.

    Attributes
    ----------
    name
        Name of its controller.
    height
        Rows of dots. All `16 * cell` columns are sent one after the other, each from end to end.
    bits
        Bits of a dot: 1, 8 or 16.
    cell
        Columns of a character, at most 16.
    widen, heighten
        A dot of the font is ``2**widen`` columns and ``2**heighten`` rows.
    bands
        Positions of the two lines, in character heights from the row that is ``2**n - height``
        rows above the first one; the second line is in the upper half of ``2**n``.
    reversed_bytes
        A byte is 8 rows, the lowest one in its most significant bit, which is sent first.
    ink, paper
        Colours of dots.
    timing
        Minimum times of the serial line.
    pause_ms
        Shortest pause, in milliseconds: after the reset, which is followed by 15 pauses, and after
        the first command.
    initial, frame
        Commands sent once, and before every frame, each a code and its parameters. Together they
        have at most 32 bytes.
    hide, show
        One-byte commands that switch the picture off and on.
    idle
        A command that does nothing.
    data_parameters
        Parameters are sent as data.
    """

    name: str
    height: int
    bits: int
    cell: int
    widen: int
    heighten: int
    bands: tuple[int, int]
    reversed_bytes: bool
    ink: int
    paper: int
    timing: SerialTiming
    pause_ms: int
    initial: Commands
    frame: Commands
    hide: int
    show: int
    idle: int
    data_parameters: bool

    def commands(self) -> list[tuple[int, bool]]:
        """Return the table: bytes, and whether they are sent as data.

        The command to hide is there twice before the frame's commands: the driver replaces it by
        the one to show when the text may be seen.

        Raises
        ------
        ValueError
            If the table is too long.
        """
        first, *others = self.initial
        fixed = [*others, (self.hide,), (self.hide,), *self.frame]
        free = TABLE - sum(len(command) for command in [first, *fixed])
        if free < 0:
            raise ValueError(f"the commands of {self.name} are {-free} bytes too long")
        return [
            (byte, self.data_parameters and i > 0)
            for command in [first, *[(self.idle,)] * free, *fixed]
            for i, byte in enumerate(command)
        ]

    @property
    def loop(self) -> int:
        """Index in the table of the first byte sent before every frame."""
        return TABLE - 2 - sum(len(command) for command in self.frame)


class State(enum.Enum, shape=2):
    """Item being sent."""

    REST = 0
    BYTE = 1
    DOTS = 2


class GraphicDisplay(wiring.Component):
    """A panel on a serial line, redrawn continuously.

    The whole frame is sent column by column, a mode every controller has: a column of a character
    is one byte of the font, so fetching needs no steps of its own. Font and commands share a block
    RAM.

    Before each frame, commands set the panel's address to its beginning, so a disturbance on the
    line lasts for one frame only. After `changed` the panel is dark until the new text is complete;
    only every other frame begins a refresh, so a text that changes all the time is still seen half
    of the time.

    Parameters
    ----------
    panel
        The panel.
    clock_hz
        Frequency of the domain ``sync``.

    Attributes
    ----------
    half, pause_bits
        Cycles per half bit; a pause is ``2**pause_bits`` bits.
    text : Out(TextSignature)
        The text to show.
    sck, mosi, dc : Out(1)
        Clock, data, data (1) or command.
    cs, res : Out(1)
        Chip select and reset, both active low.

    Raises
    ------
    ValueError
        If the clock is not positive, or the panel's commands are too long.
    """

    def __init__(self, panel: Panel, clock_hz: float):
        if clock_hz <= 0:
            raise ValueError(f"clock_hz is {clock_hz}, but must be positive")
        self.panel = panel
        self.clock_hz = Fraction(clock_hz)
        self.half = panel.timing.half(self.clock_hz)
        pause = Fraction(panel.pause_ms, 1000) * self.clock_hz / (2 * self.half)
        # A pause begins with the sending of a byte.
        self.pause_bits = (ceil(pause) + 8 - 1).bit_length()
        self._commands = panel.commands()
        pins = {"sck": 0, "mosi": 0, "dc": 0, "cs": 1, "res": 0}
        super().__init__(
            {"text": Out(TextSignature())} | {n: Out(1, init=i) for n, i in pins.items()}
        )

    def timing(self) -> dict[str, tuple[Fraction, Fraction]]:
        """Return minimum and actual times in seconds, by their names in the datasheet."""
        half = self.half / self.clock_hz
        pause = 2 * half * (1 << self.pause_bits)
        return self.panel.timing.table(half) | {
            "reset to first command": (
                Fraction(self.panel.pause_ms * (PAUSES - 1), 1000),
                pause * (PAUSES - 1),
            ),
            "after first command": (Fraction(self.panel.pause_ms, 1000), pause - 16 * half),
        }

    def elaborate(self, platform):
        m = Module()
        panel = self.panel
        m.submodules.spi = spi = Serialiser(self.half)
        m.submodules.rom = rom = Memory(
            shape=unsigned(8),
            depth=ROM_WORDS,
            init=[*font_rom(), *(byte for byte, _ in self._commands)],
            attrs=BLOCK_RAM,
        )
        byte = (port := rom.read_port()).data

        state = Signal(State)
        bit = Signal(max(3, exact_log2(panel.bits)))
        # Pauses, then indices of the table.
        index = Signal(range(2 * TABLE), init=TABLE - PAUSES)
        in_table, place = index[5], index[:5]
        pause = Signal(self.pause_bits)
        running, rewriting = Signal(), Signal()
        column, within = Signal(range(COLUMNS)), Signal(range(panel.cell))
        rows = (panel.height - 1).bit_length()
        top = (1 << rows) - panel.height
        row = Signal(rows, init=top)

        # Registered, so a cycle late, which is early enough: a bit lasts two cycles or more.
        goes_on, byte_ends, table_ends, starts_frame = Signal(), Signal(), Signal(), Signal()
        dot_ends, at_bottom, at_edge, at_end = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            goes_on.eq(in_table & (index[1:5] != 0) | pause.all()),
            byte_ends.eq(bit[:3] == 7),
            table_ends.eq(place == TABLE - 1),
            starts_frame.eq(place == panel.loop),
            dot_ends.eq(bit[: exact_log2(panel.bits)].all()),
            at_bottom.eq(row.all()),
            at_edge.eq(within == panel.cell - 1),
            at_end.eq((within == panel.cell - 1) & column.all()),
        ]

        with m.If(spi.ends):
            m.d.sync += pause.eq(pause + 1)
            with m.Switch(state):
                with m.Case(State.REST):
                    m.d.sync += bit.eq(0)
                    with m.If(goes_on & in_table):
                        m.d.sync += state.eq(State.BYTE)
                    with m.Elif(goes_on):
                        m.d.sync += index.eq(index + 1)
                with m.Case(State.BYTE):
                    m.d.sync += bit.eq(bit + 1)
                    with m.If(byte_ends):
                        m.d.sync += [bit.eq(0), index.eq(index + 1), state.eq(State.REST)]
                        m.d.comb += self.text.begin.eq(starts_frame & ~rewriting)
                        with m.If(table_ends):
                            m.d.sync += [
                                state.eq(State.DOTS),
                                running.eq(1),
                                index.eq(TABLE + panel.loop),
                            ]
                with m.Case(State.DOTS):
                    m.d.sync += bit.eq(bit + 1)
                    with m.If(dot_ends):
                        m.d.sync += [bit.eq(0), row.eq(row + 1)]
                        with m.If(at_bottom):
                            m.d.sync += [row.eq(top), within.eq(within + 1)]
                            with m.If(at_edge):
                                m.d.sync += [within.eq(0), column.eq(column + 1)]
                            with m.If(at_end):
                                m.d.sync += [state.eq(State.REST), rewriting.eq(~rewriting)]

        # The font: the text's line changes far above its rows, so no character is late.
        dots = state == State.DOTS
        character = printable(self.text.character)
        glyph_column = within[panel.widen :]
        group = Array(
            Const(3 * min(i, GLYPH_COLUMNS - 1) + max(0, g - 1), 4)
            for i in range(8)
            for g in range(4)
        )[Cat(character[5:], glyph_column[:3])]
        drawn = row if not panel.reversed_bytes else Cat(~row[:3], row[3:])
        glyph_row = drawn[panel.heighten :][:3]
        band = row[panel.heighten + 3 :]
        in_glyph = glyph_column < GLYPH_COLUMNS
        in_line = (band == panel.bands[0]) | (band == panel.bands[1])
        chosen = byte.bit_select(Mux(dots, glyph_row, ~bit[:3]), 1)
        command = Cat(place, Const(TABLE_AT // GROUP, 4))
        m.d.comb += [
            self.text.address.eq(Cat(column, row[-1])),
            port.addr.eq(Mux(dots, Cat(character[:5], group), command)),
        ]

        # While the text may be seen, `show` replaces `hide`; they differ in late bits only.
        shows = Signal()
        still = (place == panel.loop + 1) & (rewriting | ~self.text.changed)
        m.d.sync += shows.eq(running & (starts_frame | still))
        ink, paper, turned = (
            Array(Const(value >> i & 1, 1) for i in reversed(range(width)))[
                bit[: exact_log2(width)]
            ]
            for value, width in (
                (panel.ink, panel.bits),
                (panel.paper, panel.bits),
                (panel.hide ^ panel.show, 8),
            )
        )
        m.d.comb += [
            spi.select.eq(state != State.REST),
            spi.data.eq(dots | Array(Const(data, 1) for _, data in self._commands)[place]),
            spi.level.eq(
                Mux(dots, Mux(chosen & in_glyph & in_line, ink, paper), chosen ^ (shows & turned))
            ),
            self.sck.eq(spi.sck),
            self.mosi.eq(spi.mosi),
            self.dc.eq(spi.dc),
            self.cs.eq(spi.cs),
        ]
        m.d.sync += self.res.eq(index != TABLE - PAUSES)
        return m
