"""Attention weights of each token, buffered for the serial line."""

from amaranth.hdl import Cat, Const, Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.firmware.protocol import LONGEST_DATA, NUMERATOR_BITS, row_bytes, rows_per_frame
from gptloom.hdl.arithmetic import remainder
from gptloom.hdl.attributes import BLOCK_RAM, LOADED, NO_COLLISION
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError


def attended(heads: int) -> data.StructLayout:
    """Return the layout of a core's attention tap, valid cycle by cycle.

    Parameters
    ----------
    heads
        Heads of the model.

    Returns
    -------
    layout
        `start`: a token begins, whose position is `position` until the next one begins. `valid`:
        the softmax numerators of a cached position, `row`, are valid; those of a layer come one
        after the other, with at least one cycle without between two layers.
    """
    return data.StructLayout(
        {
            "start": 1,
            "position": 8,
            "valid": 1,
            "row": 8,
            "numerators": data.ArrayLayout(unsigned(NUMERATOR_BITS), heads),
        }
    )


class AttentionFrames(wiring.Component):
    """Stores the softmax numerators of all layers and heads, and puts them into frames.

    A token waits at the core's output while its numerators are sent; the core computes the next one
    meanwhile and then waits in turn. So two banks are enough, which tokens use alternately.

    Parameters
    ----------
    config
        Shape of the model; without eviction, so that positions are rows of the cache.

    Attributes
    ----------
    i : In
        See :func:`attended`.
    position : In(8)
        Position of the token that waits.
    taken : In(1)
        Pulse: the waiting token is taken.
    left : Out(1)
        Frames of the waiting token are left to send.
    argument : Out(32)
        Argument of the next frame, see :class:`.Numerators`; valid up to the first `step`.
    more, data, step
        Data of the frame, see :class:`.Framer`; `data` follows 3 cycles after `step`.
    sent : In(1)
        Pulse: the frame has been sent.

    Raises
    ------
    UserError
        If the numerators of all heads do not fit a frame.
    """

    def __init__(self, config: ModelConfig):
        self._config = config
        if row_bytes(config.heads) > LONGEST_DATA:
            raise UserError(
                f"the attention of {config.heads} heads does not fit a frame of the serial line: "
                "build it without --instruments"
            )
        super().__init__(
            {
                "i": In(attended(config.heads)),
                "position": In(8),
                "taken": In(1),
                "left": Out(1),
                "argument": Out(32),
                "more": Out(1),
                "data": Out(8),
                "step": In(1),
                "sent": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        size, rows = row_bytes(config.heads), rows_per_frame(config.heads)
        row, layer = Signal(range(config.context)), Signal(range(config.layers))
        m.submodules.memory = memory = Memory(
            shape=unsigned(config.heads * NUMERATOR_BITS),
            depth=2 << len(row) + len(layer),
            init=[],
            attrs=BLOCK_RAM | NO_COLLISION,
        )
        write, read = memory.write_port(), memory.read_port()

        computed = Signal.like(layer, **LOADED)
        valid = Signal()
        m.d.sync += valid.eq(self.i.valid)
        with m.If(valid & ~self.i.valid):
            m.d.sync += computed.eq(computed + 1)
        with m.If(self.i.start):
            m.d.sync += computed.eq(0)
        m.d.comb += [
            write.addr.eq(Cat(self.i.row[: len(row)], computed, self.i.position[0])),
            write.data.eq(self.i.numerators),
            write.en.eq(self.i.valid),
            read.addr.eq(Cat(row, layer, self.position[0])),
        ]

        byte = Signal(range(size))
        # All data of the frame is sent; the frame has the layer's last row; all frames are sent.
        full, through, finished = Signal(), Signal(), Signal()
        word = Cat(read.data, Const(0, 8 * size - len(read.data)))
        # Block RAM is too slow to be used in the cycle in which it is read.
        m.d.sync += self.data.eq(word.word_select(byte, 8))
        m.d.comb += [
            self.left.eq(~finished),
            self.more.eq(~full),
            self.argument.eq(Cat(row, Const(0, 8 - len(row)), self.position, layer)),
        ]
        with m.If(self.step):
            m.d.sync += byte.eq(byte + 1)
            with m.If(byte == size - 1):
                m.d.sync += [
                    byte.eq(0),
                    row.eq(row + 1),
                    through.eq(row == self.position),
                    full.eq((row == self.position) | (remainder(row, rows) == rows - 1)),
                ]
        with m.If(self.sent):
            m.d.sync += full.eq(0)
            with m.If(through):
                m.d.sync += [row.eq(0), layer.eq(layer + 1)]
                with m.If(layer == config.layers - 1):
                    m.d.sync += [layer.eq(0), finished.eq(1)]
        with m.If(self.taken):
            m.d.sync += finished.eq(0)
        return m
