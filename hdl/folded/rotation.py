"""Rotary positions: cosine and sine of every pair's angle, anew for each token."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import SPEED_BYTES, Machine
from gptloom.firmware.regions import Region, table_words
from gptloom.hdl.arithmetic import quotient
from gptloom.hdl.delay import delayed
from gptloom.hdl.folded.table import Table
from gptloom.model.arithmetic import ROTARY_FRACTION
from gptloom.model.tables import PHASE_BITS, SINE_TABLE, SPEED_FRACTION

Turn = data.StructLayout(
    {"cosine": signed(ROTARY_FRACTION + 1), "sine": signed(ROTARY_FRACTION + 1)}
)
"""Cosine and sine of an angle, ``ROTARY_FRACTION`` fraction bits."""

Turns = data.ArrayLayout(Turn, 2)
"""Those of a quad's two pairs."""

_QUARTER_BITS = PHASE_BITS - 2


class Rotation(wiring.Component):
    """Equals :func:`gptloom.model.tables.rotation`, pair after pair.

    An angle grows by its pair's speed with every token, in turns, so that whole turns fall away by
    themselves and no position is too large. The speeds are the model's; a table has a quarter of
    the sine.

    Attributes
    ----------
    latency
        From `start` until every pair's cosine and sine can be read: ``8 + head_width`` cycles.
    speeds
        Turns per position, ``SPEED_FRACTION`` fraction bits, by pair (:class:`.Table`).
    start, first : In(1)
        A token begins; its position is 0.
    quad : In
        Quad of a head's elements; `turns` follow one cycle later.
    turns : Out
        Cosine and sine of its pairs.
    reading, read_address : In
        Between documents: read the speed at a byte address instead.
    """

    def __init__(self, machine: Machine, init: Sequence[int] = ()):
        self._pairs = machine.head_width // 2
        self._quads = -(-self._pairs // 2)
        self.latency = 8 + machine.head_width
        words = table_words(machine)[Region.POSITIONS]
        self.speeds = Table(words, SPEED_BYTES, init)
        super().__init__(
            {
                "start": In(1),
                "first": In(1),
                "quad": In(range(max(2, self._quads))),
                "turns": Out(Turns),
                "reading": In(1),
                "read_address": In(range(words * SPEED_BYTES)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.speeds = speeds = self.speeds
        m.submodules.phases = phases = Memory(
            shape=unsigned(SPEED_FRACTION), depth=max(2, self._pairs), init=[]
        )
        was, becomes = phases.read_port(), phases.write_port()

        # Two cycles for each pair: its cosine, then its sine.
        busy, sine, begins = Signal(), Signal(), Signal()
        pair = Signal(range(max(2, self._pairs)))
        with m.If(self.start):
            m.d.sync += [busy.eq(1), sine.eq(0), pair.eq(0), begins.eq(self.first)]
        with m.Elif(busy):
            m.d.sync += [sine.eq(~sine), pair.eq(pair + sine)]
            with m.If(sine & (pair == self._pairs - 1)):
                m.d.sync += busy.eq(0)
        read = quotient(self.read_address, SPEED_BYTES)
        m.d.comb += [speeds.address.eq(Mux(self.reading, read, pair)), was.addr.eq(pair)]

        phase = Signal(SPEED_FRACTION)
        m.d.comb += [
            # Block RAM is slow: its words are registered before they are used.
            phase.eq(Mux(begins, 0, delayed(m, was.data) + delayed(m, speeds.word))),
            becomes.addr.eq(delayed(m, pair, 2)),
            becomes.data.eq(phase),
            becomes.en.eq(delayed(m, busy & sine, 2)),
        ]
        angle = Signal(PHASE_BITS)
        half = 1 << SPEED_FRACTION - PHASE_BITS - 1
        turned = (phase + half)[SPEED_FRACTION - PHASE_BITS :]
        # A cosine is the sine a quarter of a turn later.
        m.d.sync += angle.eq(turned + Mux(delayed(m, sine, 2), 0, 1 << _QUARTER_BITS))
        value = self._sine(m, angle)

        m.submodules.found = found = Memory(
            shape=unsigned(Turns.size), depth=max(2, self._quads), init=[]
        )
        write, turns = found.write_port(granularity=ROTARY_FRACTION + 1), found.read_port()
        late_pair, late_sine = delayed(m, pair, 6), delayed(m, sine, 6)
        m.d.comb += [
            write.addr.eq(late_pair[1:]),
            write.data.eq(value.as_unsigned().replicate(4)),
            write.en.eq(Mux(delayed(m, busy, 6), Mux(late_sine, 2, 1) << (late_pair[0] << 1), 0)),
            turns.addr.eq(self.quad),
            self.turns.eq(turns.data),
        ]
        return m

    def _sine(self, m: Module, angle) -> Signal:
        """Return an angle's sine, three cycles later."""
        quarter = 1 << _QUARTER_BITS
        m.submodules.sines = sines = Memory(
            shape=unsigned(ROTARY_FRACTION), depth=quarter, init=SINE_TABLE[:quarter].tolist()
        )
        read = sines.read_port()
        within, falls, negative = angle[:_QUARTER_BITS], angle[_QUARTER_BITS], angle[-1]
        m.d.comb += read.addr.eq(Mux(falls, -within, within)[:_QUARTER_BITS])
        # The peak would be the entry after the last.
        peak = delayed(m, falls & (within == 0))
        size = delayed(m, Mux(peak, int(SINE_TABLE[quarter]), read.data))
        value = Signal(signed(ROTARY_FRACTION + 1))
        m.d.sync += value.eq(Mux(delayed(m, negative, 2), -size, size))
        return value
