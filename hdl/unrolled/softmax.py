"""Softmax over the positions of a document, some of them per cycle."""

from amaranth.hdl import Array, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import late
from gptloom.hdl.unrolled.trees import cycles, larger, over_beats
from gptloom.model.arithmetic import SCORE_FRACTION
from gptloom.model.merged.integer import EXP2_ENTRIES, NUMERATOR_BITS, SCORE_BITS


class Numerators(wiring.Component):
    """``2**(score - maximum)`` for every score, once the maximum of all beats is known.

    Parameters
    ----------
    positions, heads
        Positions in a beat, and heads: a score for each pair.
    beats
        Beats per token.

    Attributes
    ----------
    latency
        Cycles from a beat's scores to its numerators: `beats`, and those of :func:`.trees.cycles`.
    score, seen : In(signed 10), In(1)
        Score of every position and head; whether a position counts.
    first, last : In(1)
        The beat is a token's first, or last.
    o : Out(unsigned 8) of every position and head
        Numerators, for one cycle only, unregistered.
    """

    @staticmethod
    def latency_of(positions: int, beats: int) -> int:
        """Return the latency."""
        return cycles(positions, beats) + beats

    def __init__(self, positions: int, heads: int, beats: int):
        self._beats = beats
        self._reduction = cycles(positions, beats)
        self.latency = self.latency_of(positions, beats)
        super().__init__(
            {
                "score": In(signed(SCORE_BITS)).array(positions, heads),
                "seen": In(1).array(positions),
                "first": In(1),
                "last": In(1),
                "o": Out(unsigned(NUMERATOR_BITS)).array(positions, heads),
            }
        )

    def elaborate(self, platform):
        m = Module()
        first = late(m, self.first, self._reduction - 1) if self._beats > 1 else None
        last = late(m, self.last, self._reduction)
        maxima = []
        for head in range(len(self.score[0])):
            scores = [scores[head] for scores in self.score]
            largest = over_beats(m, scores, larger, first, signed(SCORE_BITS))
            maximum = Signal.like(largest, name=f"maximum_{head}", **LOADED)
            if self._beats > 1:
                # Held for all beats, while the next token's maximum is found.
                m.d.comb += maximum.eq(Mux(last, largest, late(m, maximum)))
            else:
                m.d.comb += maximum.eq(largest)
            maxima.append(maximum)
        # The first beat's scores leave the delay line once the maximum over all beats is known.
        wait = self._reduction + self._beats - 1
        for scores, seen, numerators in zip(self.score, self.seen, self.o, strict=True):
            counts = late(m, seen, self.latency)
            for score, maximum, numerator in zip(scores, maxima, numerators, strict=True):
                distance = Signal(SCORE_BITS + 1, **LOADED)
                m.d.sync += distance.eq(maximum - late(m, score, wait))
                m.d.comb += numerator.eq(Mux(counts, _power(m, distance), 0))
        return m


def _power(m: Module, distance: Signal) -> Signal:
    """Return ``2**-distance``, the distance in sixteenths of an octave."""
    entry = Signal(NUMERATOR_BITS)
    m.d.comb += entry.eq(
        Array(Const(int(e), NUMERATOR_BITS) for e in EXP2_ENTRIES)[distance[:SCORE_FRACTION]]
    )
    octaves = distance[SCORE_FRACTION:]
    power = Signal(NUMERATOR_BITS)
    steps = NUMERATOR_BITS.bit_length() - 1
    m.d.comb += power.eq(Mux(octaves[steps:].any(), 0, entry >> octaves[:steps]))
    return power
