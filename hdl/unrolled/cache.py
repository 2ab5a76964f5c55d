"""The KV cache of all streams: one row written per token, several read per cycle."""

from amaranth.hdl import Cat, Module, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from gptloom.hdl.arithmetic import quotient, remainder
from gptloom.hdl.attributes import BLOCK_RAM, NO_COLLISION


class Cache(wiring.Component):
    """Rows of all positions of all streams, `positions` of them read side by side in a cycle.

    A beat is one cycle's read: beat b has the rows of positions ``b * positions`` up to
    ``(b + 1) * positions - 1``. Rows come one cycle after their address. Reading a row in the cycle
    in which it is written gives an undefined value.

    Parameters
    ----------
    streams
        Documents in progress at the same time.
    context
        Positions in a document.
    positions
        Rows in a beat; a power of two that divides the context.
    bits
        Width of a row.

    Attributes
    ----------
    write, write_stream, write_position, write_row : In
        Write port for a token's row.
    stream, beat : In
        Read address.
    rows : Out(bits) of every position of the beat
        Rows read.
    """

    def __init__(self, streams: int, context: int, positions: int, bits: int):
        if context & context - 1 or positions & positions - 1 or positions > context:
            raise ValueError(
                f"{positions} of {context} positions a cycle: both must be powers of two"
            )
        self._depth = streams * (context // positions)
        super().__init__(
            {
                "write": In(1),
                "write_stream": In(range(streams)),
                "write_position": In(range(context)),
                "write_row": In(bits),
                "stream": In(range(streams)),
                "beat": In(range(context // positions)),
                "rows": Out(bits).array(positions),
            }
        )

    def elaborate(self, platform):
        m = Module()
        positions = len(self.rows)
        beat_bits = len(self.beat)
        for lane, row in enumerate(self.rows):
            m.submodules[f"lane_{lane}"] = memory = Memory(
                shape=unsigned(len(row)),
                depth=self._depth,
                init=[],
                attrs=BLOCK_RAM | NO_COLLISION,
            )
            write, read = memory.write_port(), memory.read_port()
            beat = quotient(self.write_position, positions)[:beat_bits]
            place = remainder(self.write_position, positions)[: exact_log2(positions)]
            m.d.comb += [
                write.en.eq(self.write & (place == lane)),
                write.addr.eq(Cat(beat, self.write_stream)),
                write.data.eq(self.write_row),
                read.addr.eq(Cat(self.beat, self.stream)),
                row.eq(read.data),
            ]
        return m
