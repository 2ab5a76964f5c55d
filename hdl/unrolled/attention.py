"""Attention: a token's query against all keys of its document, and the weighted values."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import rounded, saturated
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import delayed
from gptloom.hdl.multipliers import Multiplier
from gptloom.hdl.unrolled.cache import Cache
from gptloom.hdl.unrolled.scores import Scores
from gptloom.hdl.unrolled.softmax import Numerators, Reciprocal
from gptloom.hdl.unrolled.trees import added, cycles, over_beats
from gptloom.model.arithmetic import MANTISSA_BITS, WEIGHT_BITS
from gptloom.model.merged.integer import NUMERATOR_BITS, SCORE_BITS, MergedModel


def latency(context: int, positions: int) -> int:
    """Return the cycles from a token to its mix, where some positions are seen in a cycle.

    One behind block RAM, those of :class:`Scores` and :class:`Numerators`, two in multipliers,
    those of :func:`.trees.cycles`, one less than the beats, and two in the multiplier of the
    reciprocal.
    """
    beats = context // positions
    numerators = Scores.latency + Numerators.latency_of(positions, beats)
    return 1 + numerators + 2 * Multiplier.latency + cycles(positions, beats) + beats - 1


class Attention(wiring.Component):
    """Adds a token to its document's cache, and mixes the values of all positions up to its own.

    A token takes `beats` cycles, in each of which it sees some positions; the next one may come
    right after. Everything is a pipeline: nothing waits.

    Parameters
    ----------
    model
        What is computed: its dimensions, widths and shifts.
    streams
        Documents that are under way at the same time.
    positions
        Seen in a cycle; a power of two that divides the context.
    multiplier
        What multiplies queries with keys, and numerators with values.

    Attributes
    ----------
    beats
        Cycles between tokens at least.
    latency
        From `valid` to `o`, see :func:`latency`.
    next_stream : In
        Of the token that comes in the next cycle, if one does.
    valid : In(1)
        A token comes.
    stream, position : In
        Its document and place.
    q, k, v : In(signed 8) of every element
        Its row. `q` and `own` stay for `beats` cycles.
    own : In(signed 10) of every head
        Score of its query and key.
    o : Out(signed) of every element
        The mix, in this cycle only, of no register.
    o_valid : Out(1)
        There is one.
    """

    def __init__(
        self,
        model: MergedModel,
        streams: int,
        positions: int,
        multiplier: type[Multiplier] = Multiplier,
    ):
        config = model.config
        self._model, self._streams, self._multiplier = model, streams, multiplier
        self.positions, self.beats = positions, config.context // positions
        self._scores = Scores(
            config.width, config.heads, positions, model.layers[0].shifts["score"], multiplier
        )
        self._numerators = Numerators(positions, config.heads, self.beats)
        self._numerator_at = self._scores.latency + self._numerators.latency
        self.latency = latency(config.context, positions)
        row = In(signed(WEIGHT_BITS)).array(config.width)
        super().__init__(
            {
                "next_stream": In(range(streams)),
                "valid": In(1),
                "stream": In(range(streams)),
                "position": In(range(config.context)),
                "q": row,
                "k": row,
                "v": row,
                "own": In(signed(SCORE_BITS)).array(config.heads),
                "o": Out(signed(model.widths.activations)).array(config.width),
                "o_valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.scores, m.submodules.numerators = self._scores, self._numerators
        scores, numerators = self._scores, self._numerators
        beat, stream, position, active = self._beats(m)

        # The row that follows is asked for in this cycle.
        ahead, ahead_stream = Signal.like(beat), Signal.like(stream)
        ends = ~active | (beat == self.beats - 1)
        m.d.comb += [
            ahead.eq(Mux(ends, 0, beat + 1)),
            ahead_stream.eq(Mux(ends, self.next_stream, stream)),
        ]
        keys = self._cache(m, "keys", self.k, ahead, ahead_stream)
        # Values are used with their numerators.
        wait = self._numerator_at - 1
        values = self._cache(m, "values", self.v, delayed(m, beat, wait), delayed(m, stream, wait))

        # Block RAM is slow: what comes out of it is used a cycle later, the token's row as well.
        beat, position, active = (delayed(m, value) for value in (beat, position, active))
        first, last = active & (beat == 0), active & (beat == self.beats - 1)
        for place in range(self.positions):
            here = Cat(Signal(0), beat * self.positions + place)
            seen, is_own = Signal(name=f"seen_{place}"), Signal(name=f"is_own_{place}")
            m.d.comb += [seen.eq(here <= position), is_own.eq(here == position)]
            m.d.comb += [
                scores.seen[place].eq(seen),
                scores.is_own[place].eq(is_own),
                numerators.seen[place].eq(delayed(m, seen, scores.latency)),
            ]
            for i in range(len(self.q)):
                m.d.comb += scores.k[place][i].eq(keys[place][i])
            for head in range(len(self.own)):
                m.d.comb += numerators.score[place][head].eq(scores.o[place][head])
        m.d.comb += [scores.q[i].eq(delayed(m, q)) for i, q in enumerate(self.q)]
        m.d.comb += [scores.own[i].eq(delayed(m, own)) for i, own in enumerate(self.own)]
        m.d.comb += [
            numerators.first.eq(delayed(m, first, scores.latency)),
            numerators.last.eq(delayed(m, last, scores.latency)),
            self.o_valid.eq(delayed(m, last, self.latency - self.beats)),
        ]
        self._mix(m, values, delayed(m, first, self._numerator_at))
        return m

    def _beats(self, m: Module) -> tuple:
        """Return what this cycle is: beat, stream, position, and whether it is anything."""
        beat, active = Signal(range(max(2, self.beats))), Signal()
        stream, position = Signal.like(self.stream), Signal.like(self.position)
        following, more = Signal.like(beat), Signal()
        m.d.comb += [
            beat.eq(Mux(self.valid, 0, following)),
            active.eq(self.valid | more),
            stream.eq(Mux(self.valid, self.stream, delayed(m, stream))),
            position.eq(Mux(self.valid, self.position, delayed(m, position))),
        ]
        m.d.sync += [following.eq(beat + 1), more.eq(active & (beat != self.beats - 1))]
        return beat, stream, position, active

    def _cache(self, m: Module, name: str, row, beat, stream) -> list[list]:
        """Return what is in the cache, two cycles later, and write a token's row."""
        cache = Cache(
            self._streams, self._model.config.context, self.positions, len(row) * WEIGHT_BITS
        )
        m.submodules[name] = cache
        m.d.comb += [
            cache.write.eq(self.valid),
            cache.write_stream.eq(self.stream),
            cache.write_position.eq(self.position),
            cache.write_row.eq(Cat(row)),
            cache.stream.eq(stream),
            cache.beat.eq(beat),
        ]
        rows = [delayed(m, row) for row in cache.rows]
        return [
            [row.word_select(i, WEIGHT_BITS).as_signed() for i in range(len(self.q))]
            for row in rows
        ]

    def _mix(self, m: Module, values, first) -> None:
        """Weigh values with their numerators, and divide by the sum of these."""
        config = self._model.config
        numerators = self._numerators
        m.submodules.reciprocal = reciprocal = Reciprocal(self.positions, config.heads, self.beats)
        m.d.comb += reciprocal.first.eq(first)
        for place, row in enumerate(numerators.o):
            m.d.comb += [reciprocal.numerator[place][i].eq(n) for i, n in enumerate(row)]
        first = delayed(m, first, Multiplier.latency + cycles(self.positions, self.beats) - 1)
        bits = NUMERATOR_BITS + WEIGHT_BITS + (config.context - 1).bit_length()
        for i, o in enumerate(self.o):
            head = i // config.head_width
            products = []
            for place in range(self.positions):
                m.submodules[f"weigh_{place}_{i}"] = multiplier = self._multiplier()
                m.d.comb += [
                    multiplier.a.eq(numerators.o[place][head]),
                    multiplier.b.eq(values[place][i]),
                ]
                products.append(multiplier.o)
            weighted = over_beats(
                m, products, added, first if self.beats > 1 else None, signed(bits)
            )
            scaled = (weighted >> reciprocal.exponent[head])[: NUMERATOR_BITS + WEIGHT_BITS]
            product = Signal(signed(NUMERATOR_BITS + WEIGHT_BITS + MANTISSA_BITS), **LOADED)
            operands = [
                delayed(m, scaled.as_signed()),
                delayed(m, reciprocal.mantissa[head]),
            ]
            m.d.sync += product.eq(operands[0] * operands[1])
            m.d.comb += o.eq(
                saturated(rounded(product, self._model.layers[0].shifts["mix"]), len(o))
            )
