"""Attention: a token's query against all keys of its document, and the weighted values' mix."""

from collections.abc import Sequence
from typing import NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.delay import late
from gptloom.hdl.multipliers import Multiplier
from gptloom.hdl.unrolled.cache import Cache
from gptloom.hdl.unrolled.mix import Mix
from gptloom.hdl.unrolled.rows import distance, place_of, seen
from gptloom.hdl.unrolled.scores import Scores
from gptloom.hdl.unrolled.softmax import Numerators
from gptloom.hdl.unrolled.trees import added, cycles, over_beats
from gptloom.model.arithmetic import WEIGHT_BITS
from gptloom.model.config import ModelConfig
from gptloom.model.merged.integer import NUMERATOR_BITS, SCORE_BITS, MergedModel
from gptloom.model.positions import Positions


class Steps(NamedTuple):
    """Cycles from a token to the first beat's scores and numerators, the numerators' sum, the mix.

    They add up from one after block RAM, those of :class:`Scores` and :class:`Numerators`, one less
    than the beats, one after the numerators, those of :func:`.trees.cycles` and of :class:`Mix`.
    """

    scores: int
    numerators: int
    sums: int
    mix: int


class Attention(wiring.Component):
    """Adds a token to its document's cache, and mixes the values of all tokens it attends to.

    A token takes `beats` cycles, each covering `positions` positions, or the cycles that
    :class:`Mix` takes, if these are more; the next token may follow at once. The whole is a
    pipeline that never stalls.

    Parameters
    ----------
    model
        The network: its dimensions, widths and shifts.
    layer
        Index of the layer.
    streams
        Documents in progress at the same time.
    positions
        Cache rows read in a cycle; a power of two that divides the context.
    heads_per_cycle
        See :class:`Mix`.
    multipliers
        Classes of the ``2 * positions * width`` multipliers for queries times keys, and numerators
        times values.
    divider
        Class of the multipliers in :class:`Mix`.

    Attributes
    ----------
    beats
        Minimum cycles between tokens.
    latency
        Cycles from `valid` to `o`, see :class:`Steps`.
    next_stream : In
        Stream of the token that comes in the next cycle, if there is one.
    valid : In(1)
        A token comes.
    stream, place : In, In(:func:`.rows.place_of`)
        The token's document, and its place in the cache.
    q, k, v : In(signed `query_bits`, keys, values) of every element
        The token's row, k and v in the model's widths; `q` holds for `beats` cycles.
    own : In(signed 10) of every head
        Score of the token's query with its own key; due `own_waits` cycles after the row, and held
        for `beats` cycles.
    o : Out(signed) of every element
        The mix, for one cycle only, unregistered.
    o_valid : Out(1)
        `o` is valid.
    """

    own_waits = Scores.latency

    @staticmethod
    def query_bits(model: MergedModel, layer: int) -> int:
        """Return the bits of a query's element; in later layers it is scaled by its norm."""
        return model.widths.stream + model.widths.root if layer else WEIGHT_BITS

    @staticmethod
    def steps_of(config: ModelConfig, positions: int, heads_per_cycle: int) -> Steps:
        """Return the cycle in which each intermediate result is ready."""
        beats = config.context // positions
        scores = 1 + Scores.latency
        numerators = scores + Numerators.latency_of(positions, beats)
        sums = numerators + beats - 1 + 1 + cycles(positions, beats)
        return Steps(scores, numerators, sums, sums + Mix.latency_of(config.heads, heads_per_cycle))

    def __init__(
        self,
        model: MergedModel,
        layer: int,
        streams: int,
        positions: int,
        heads_per_cycle: int,
        multipliers: Sequence[type[Multiplier]],
        divider: type[Multiplier] = Multiplier,
    ):
        config = model.config
        self._model, self._streams = model, streams
        self.positions, self.beats = positions, config.context // positions
        half = positions * config.width
        self._multipliers = multipliers[half:]
        shift, query_bits = model.layers[layer].shifts["score"], self.query_bits(model, layer)
        self._scores = Scores(config, shift, query_bits, model.widths.keys, multipliers[:half])
        self._numerators = Numerators(positions, config.heads, self.beats)
        self._divide = Mix(model, layer, heads_per_cycle, divider)
        self._numerator_at = self._scores.latency + self._numerators.latency
        self.latency = self.steps_of(config, positions, heads_per_cycle).mix
        widths = model.widths
        super().__init__(
            {
                "next_stream": In(range(streams)),
                "valid": In(1),
                "stream": In(range(streams)),
                "place": In(place_of(config)),
                "q": In(signed(query_bits)).array(config.width),
                "k": In(signed(widths.keys)).array(config.width),
                "v": In(signed(widths.values)).array(config.width),
                "own": In(signed(SCORE_BITS)).array(config.heads),
                "o": Out(signed(widths.activations)).array(config.width),
                "o_valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.scores, m.submodules.numerators = self._scores, self._numerators
        scores, numerators, config = self._scores, self._numerators, self._model.config
        beat, stream, place, active = self._beats(m)

        # The address of the next row is set in this cycle.
        ahead, ahead_stream = Signal.like(beat), Signal.like(stream)
        ends = ~active | (beat == self.beats - 1)
        m.d.comb += [
            ahead.eq(Mux(ends, 0, beat + 1)),
            ahead_stream.eq(Mux(ends, self.next_stream, stream)),
        ]
        keys = self._cache(m, "keys", self.k, ahead, ahead_stream)
        # Values are needed together with their numerators.
        wait = self._numerator_at - 1
        values = self._cache(m, "values", self.v, late(m, beat, wait), late(m, stream, wait))

        # Block RAM is slow: its outputs are used a cycle later, and so is the token's row.
        beat, place, active = (late(m, value) for value in (beat, place, active))
        first, last = active & (beat == 0), active & (beat == self.beats - 1)
        for lane in range(self.positions):
            row = Cat(Signal(0), beat * self.positions + lane)
            is_seen, is_own = Signal(name=f"seen_{lane}"), Signal(name=f"is_own_{lane}")
            m.d.comb += [is_seen.eq(seen(config, place, row)), is_own.eq(row == place.row)]
            m.d.comb += [
                scores.seen[lane].eq(is_seen),
                scores.is_own[lane].eq(is_own),
                numerators.seen[lane].eq(late(m, is_seen, scores.latency)),
            ]
            if config.positions is Positions.ALIBI:
                m.d.comb += scores.distance[lane].eq(distance(config, place, row))
            for i in range(len(self.q)):
                m.d.comb += scores.k[lane][i].eq(keys[lane][i])
            for head in range(len(self.own)):
                m.d.comb += numerators.score[lane][head].eq(scores.o[lane][head])
        m.d.comb += [scores.q[i].eq(late(m, q)) for i, q in enumerate(self.q)]
        m.d.comb += [scores.own[i].eq(own) for i, own in enumerate(self.own)]
        m.d.comb += [
            numerators.first.eq(late(m, first, scores.latency)),
            numerators.last.eq(late(m, last, scores.latency)),
            self.o_valid.eq(late(m, last, self.latency - self.beats)),
        ]
        wait = self._numerator_at
        self._mix(m, values, late(m, first, wait), late(m, last, wait))
        return m

    def _beats(self, m: Module) -> tuple:
        """Return this cycle's beat, stream and place, and whether it belongs to a token."""
        beat, active = Signal(range(max(2, self.beats))), Signal()
        stream, place = Signal.like(self.stream), Signal.like(self.place)
        following, more = Signal.like(beat), Signal()
        m.d.comb += [
            beat.eq(Mux(self.valid, 0, following)),
            active.eq(self.valid | more),
            stream.eq(Mux(self.valid, self.stream, late(m, stream))),
            place.eq(Mux(self.valid, self.place, late(m, place))),
        ]
        m.d.sync += [following.eq(beat + 1), more.eq(active & (beat != self.beats - 1))]
        return beat, stream, place, active

    def _cache(self, m: Module, name: str, row, beat, stream) -> list[list]:
        """Return the cache's rows, two cycles later, and write a token's row."""
        bits = len(row[0])
        cache = Cache(self._streams, self._model.config.context, self.positions, len(row) * bits)
        m.submodules[name] = cache
        m.d.comb += [
            cache.write.eq(self.valid),
            cache.write_stream.eq(self.stream),
            cache.write_position.eq(self.place.row),
            cache.write_row.eq(Cat(row)),
            cache.stream.eq(stream),
            cache.beat.eq(beat),
        ]
        rows = [late(m, row) for row in cache.rows]
        return [[row.word_select(i, bits).as_signed() for i in range(len(self.q))] for row in rows]

    def _mix(self, m: Module, values, first, last) -> None:
        """Weigh values with their numerators, and divide by the sum of these."""
        heads, size = self._model.config.heads, self._model.config.head_width
        numerators, sums = self._numerators.o, cycles(self.positions, self.beats)
        m.submodules.mix = mix = self._divide
        several = self.beats > 1
        # Sums of numerators are a cycle earlier than those of products.
        starts = late(m, first, sums) if several else None
        for head, total in enumerate(mix.total):
            weights = [late(m, weights[head]) for weights in numerators]
            m.d.comb += total.eq(over_beats(m, weights, added, starts, total.shape()))
        starts = late(m, first, Multiplier.latency + sums - 1) if several else None
        for i, weighted in enumerate(mix.weighted):
            products = []
            for place in range(self.positions):
                multiplier = self._multipliers[place * heads * size + i](
                    unsigned(NUMERATOR_BITS), values[place][i].shape()
                )
                m.submodules[f"weigh_{place}_{i}"] = multiplier
                m.d.comb += [
                    multiplier.a.eq(numerators[place][i // size]),
                    multiplier.b.eq(values[place][i]),
                ]
                products.append(multiplier.o)
            m.d.comb += weighted.eq(over_beats(m, products, added, starts, weighted.shape()))
        m.d.comb += [
            mix.valid.eq(late(m, last, 1 + sums)),
            *(o.eq(value) for o, value in zip(self.o, mix.o, strict=True)),
        ]
