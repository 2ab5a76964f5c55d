"""Rows of every stream's KV cache: a token's row, the rows it attends to, and their distances."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import less
from gptloom.hdl.delay import late
from gptloom.hdl.tally import Tally
from gptloom.model.config import ModelConfig
from gptloom.model.positions import MAX_DISTANCE


def place_of(config: ModelConfig) -> data.StructLayout:
    """Return the layout of a token's place in its stream's cache.

    ``row`` is the token's own row. With eviction there is ``full``: all rows held tokens before it.
    With sinks there is ``age``: the number of tokens before it, saturated.
    """
    fields = {"row": range(config.context)}
    if config.endless:
        fields["full"] = 1
    if config.sinks:
        fields["age"] = range(MAX_DISTANCE + config.sinks + 1)
    return data.StructLayout(fields)


def seen(config: ModelConfig, place: data.View, row: Value) -> Value:
    """Return whether a row holds a token of the stream, its own included."""
    older = row <= place.row
    return older | place.full if config.endless else older


def farthest(config: ModelConfig) -> int:
    """Return the largest :func:`distance`; a sink's grows beyond the window."""
    return MAX_DISTANCE if config.sinks else min(config.context - 1, MAX_DISTANCE)


def distance(config: ModelConfig, place: data.View, row: Value) -> Value:
    """Return the distance to the token of a row, as :func:`.positions.penalty` counts.

    It follows from the order of the rows, whose number is a power of two. For rows that are not
    seen it is undefined.
    """
    if not config.sinks:
        # A negative difference wraps to a row of the lap before.
        around = (place.row - row)[: (config.context - 1).bit_length()]
        return _at_most(around, farthest(config))
    lap = Mux(less(place.row, row), config.context - config.sinks, 0)
    in_ring = (place.row - row + lap)[: config.context.bit_length()]
    since = (place.age - row)[: len(place.age)]
    return _at_most(Mux(row < config.sinks, since, in_ring), farthest(config))


def _at_most(value: Value, limit: int) -> Value:
    return value if len(value) <= limit.bit_length() else Mux(value > limit, limit, value)


def tallied(m: Module, config: ModelConfig, enter: Value, place: data.View) -> Tally:
    """Return a tally of all streams' rows; every token attends to all rows of its stream."""
    rows = config.context
    tally = Tally(rows, rows * config.layers, evicts=config.endless, keeps=False)
    occupied = Signal(range(rows + 1))
    full = place.full if config.endless else Const(0)
    m.d.comb += [
        occupied.eq(Mux(full, rows, place.row + 1)),
        tally.start.eq(enter),
        tally.evicts.eq(enter & full),
        tally.occupied.eq(late(m, occupied)),
        tally.attended.eq(Mux(enter, occupied * config.layers, 0)),
    ]
    return tally


class Rows(wiring.Component):
    """Assigns every token of every stream a row of its cache, as :meth:`.KVCache.admit` does.

    The rows of a window are a ring, after the sinks.

    Parameters
    ----------
    config
        Configuration of the model, with eviction.
    streams
        Number of streams.

    Attributes
    ----------
    enter, turn : In(1), In
        A token of stream `turn` enters.
    fresh : In(1)
        It is the first token in its stream's cache.
    o : Out(:func:`place_of`)
        The token's place, in the same cycle.
    """

    def __init__(self, config: ModelConfig, streams: int):
        self._config, self._streams = config, streams
        super().__init__(
            {
                "enter": In(1),
                "turn": In(range(streams)),
                "fresh": In(1),
                "o": Out(place_of(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.places = places = Memory(shape=self.o.shape(), depth=self._streams, init=[])
        read, write = places.read_port(domain="comb"), places.write_port()
        before, final = read.data, Signal()
        m.d.comb += [
            read.addr.eq(self.turn),
            write.addr.eq(self.turn),
            write.en.eq(self.enter),
            write.data.eq(self.o),
            final.eq(before.row == config.context - 1),
        ]
        with m.If(~self.fresh):
            m.d.comb += [
                self.o.row.eq(Mux(final, config.sinks, before.row + 1)),
                self.o.full.eq(before.full | final),
            ]
            if config.sinks:
                most = MAX_DISTANCE + config.sinks
                m.d.comb += self.o.age.eq(before.age + (before.age != most))
        return m
