"""The unrolled core: a network as a pipeline, with its weights in logic."""

from collections.abc import Iterable
from functools import partial
from itertools import islice

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.hdl.attributes import LOADED
from gptloom.hdl.core import COUNTER_BITS, CacheCounters, Counters, Prompt, Token
from gptloom.hdl.delay import delayed, late
from gptloom.hdl.unrolled.attention import Attention
from gptloom.hdl.unrolled.choose import Choose
from gptloom.hdl.unrolled.enter import Enter
from gptloom.hdl.unrolled.finish import Finish
from gptloom.hdl.unrolled.noise import Noise
from gptloom.hdl.unrolled.rows import Rows, place_of, tallied
from gptloom.hdl.unrolled.schedule import Schedule
from gptloom.hdl.unrolled.slices import Format
from gptloom.hdl.unrolled.streams import Streams
from gptloom.hdl.unrolled.table import Table
from gptloom.hdl.unrolled.target import SIMULATED, Target
from gptloom.model.arithmetic import MANTISSA_BITS, WEIGHT_BITS, round_shift, saturate
from gptloom.model.merged.integer import SCORE_BITS, MergedModel, NoiseScale
from gptloom.model.positions import Positions
from gptloom.model.sampling import SEED_BITS

ENTERING = 1
"""Cycles from a turn's decision to the tables: the wires to all of them are long."""

ROW_ENTRIES, ADDED_ENTRIES = ("q", "k", "v"), ("fx", "x", "lx")
"""Words of the table, by the time at which they are needed."""


class UnrolledCore(wiring.Component):
    """A pipeline that takes a token every `interval` cycles, each from another document.

    ======  ==================================================================================
    step    what happens, and what runs in parallel
    ======  ==================================================================================
    turn    :class:`.Streams` takes the sampled token, :class:`.Table` looks it up
    mix     :class:`.Attention`
    finish  :class:`.Finish`: products by constants; in parallel the norm, noise and offsets
    enter   in later layers, :class:`.Enter`: their row, then mix and finish again
    choose  :class:`.Choose`: the token is ready for the stream's next turn
    ======  ==================================================================================

    After a reset during a run, offer nothing for `interval` cycles, in which the tokens in the
    pipeline drain.

    Parameters
    ----------
    model
        The network to compute.
    bits_per_cycle
        Bits of an activation that enter a product in one cycle.
    positions
        Positions that attention reads in a cycle.
    streams
        Documents in progress at the same time; by default the fewest that the pipeline's length
        allows, which is the fastest for each of them.
    levels_per_register, outputs_per_copy
        See :class:`.Product`.
    heads_per_cycle
        See :class:`.Mix`; by default all heads.
    target
        Building blocks of the core.

    Attributes
    ----------
    interval
        Cycles from token to token, all streams together.
    length
        Cycles from an entering token to the token sampled after it.
    schedules
        Timing of each layer within `length`.
    streams
        Number of streams; a stream's tokens are ``streams * interval`` cycles apart.
    positions, beats
        Positions that attention reads in a cycle; cycles for all positions.
    finishes
        :class:`.Finish` of each layer.
    products
        All products by constants.
    factors
        Number of products of two variables, in attention and on the way to later layers.
    cells, other_cells
        Multiplier cells of the target that `factors` take, and that mix, noise and offset take.
    i : In(stream of Prompt)
        Known tokens of the stream whose turn it is.
    turn : Out
        The stream whose turn it is.
    temperature : In(mantissa, shift)
        Temperature of the stream whose turn it is: :class:`.merged.integer.NoiseScale`, its shift
        relative to that of the highest temperature. Sampled with every token that enters.
    seed : In(stream of 32 bits)
        State of the random generator of the stream whose turn it is, taken between documents; not
        0. After power-on and after a reset it is the stream's number plus 1.
    o, o_stream : Out(stream of Token), Out
        Sampled tokens, and the stream of each.
    busy, idle, counters, cache, tokens
        See :class:`.Streams`; `idle` and `tokens` belong to the stream whose turn it is.
    """

    def __init__(
        self,
        model: MergedModel,
        *,
        bits_per_cycle: int = 2,
        positions: int = 4,
        streams: int | None = None,
        levels_per_register: int = 3,
        outputs_per_copy: int | None = 8,
        heads_per_cycle: int | None = None,
        target: Target = SIMULATED,
    ):
        config, layers = model.config, range(len(model.layers))
        context, width = config.context, config.width
        if context & context - 1:
            raise ValueError(f"a cache of {context} rows: only powers of two are possible")
        if model.widths.table != WEIGHT_BITS:
            raise ValueError(
                f"table words of {model.widths.table} bits: only {WEIGHT_BITS} are possible"
            )
        if max(model.widths.keys, model.widths.values) > WEIGHT_BITS:
            raise ValueError(
                f"{model.widths.keys}-bit keys, {model.widths.values}-bit values: "
                f"{WEIGHT_BITS} are the most"
            )
        if positions not in (1 << n for n in range(context.bit_length())) or context % positions:
            raise ValueError(
                f"{positions} positions a cycle: a power of two that divides {context}"
            )
        at_once = config.heads if heads_per_cycle is None else heads_per_cycle
        if at_once < 1 or config.heads % at_once:
            raise ValueError(f"{at_once} heads a cycle: a number that divides {config.heads}")
        self._model = model
        dense = partial(
            target.dense,
            bits_per_cycle=bits_per_cycle,
            levels_per_register=levels_per_register,
            outputs_per_copy=outputs_per_copy,
        )
        self.positions, self.beats = positions, context // positions
        entering = model.widths.residual if len(layers) > 1 else 0
        slices = Format(
            max(model.widths.activations, entering), bits_per_cycle, is_signed=True
        ).count
        self.interval = max(self.beats, slices, config.heads // at_once)
        self.finishes = [Finish(model, layer, dense, self.interval) for layer in layers]
        steps = Attention.steps_of(config, positions, at_once)
        self.schedules = [Schedule.of(ENTERING + Table.latency, steps, self.finishes[0].steps)]
        for finish in self.finishes[1:]:
            begin = self.schedules[-1].done + Enter.latency_of(config)
            self.schedules.append(Schedule.of(begin, steps, finish.steps))

        values = self.finishes[-1].values_per_cycle
        self._noise, self._choose = Noise(model, values, target.cell), Choose(model)
        self.length = self.schedules[-1].done + self._choose.latency
        least = -(-self.length // self.interval)
        self.streams = least if streams is None else streams
        if self.streams < least:
            raise ValueError(f"{streams} streams, but the pipeline holds {least}")

        # Multipliers of mix, noise and offset.
        mixing = at_once * config.head_width * len(layers)
        self.other_cells = mixing + values + sum(each.values_per_cycle for each in self.finishes)
        seen, entered = 2 * positions * width, Enter.multipliers_of(config)
        self.factors = len(layers) * seen + (len(layers) - 1) * entered
        multipliers = target.multipliers(self.factors, self.other_cells)
        self.cells = multipliers.count(target.cell)
        left = iter(multipliers)
        self._attentions = [
            Attention(
                model,
                layer,
                self.streams,
                positions,
                at_once,
                list(islice(left, seen)),
                target.cell,
            )
            for layer in layers
        ]
        self._enters = [
            Enter(
                model,
                layer,
                dense,
                list(islice(left, entered)),
                self.schedules[layer].first - self.schedules[layer - 1].done,
            )
            for layer in layers[1:]
        ]
        self.products = [product for each in self.finishes for product in (each.first, each.second)]
        self.products += [enter.dense for enter in self._enters]
        self.scale = data.StructLayout(
            {"mantissa": MANTISSA_BITS, "shift": self._noise.shift.shape()}
        )
        super().__init__(
            {
                "i": In(stream.Signature(Prompt)),
                "turn": Out(range(self.streams)),
                "temperature": In(self.scale),
                "seed": In(stream.Signature(SEED_BITS)),
                "o": Out(stream.Signature(Token)),
                "o_stream": Out(range(self.streams)),
                "busy": Out(1),
                "idle": Out(1),
                "counters": Out(Counters),
                "cache": Out(CacheCounters),
                "tokens": Out(COUNTER_BITS),
            }
        )

    def encode_scale(self, scale: NoiseScale) -> int:
        """Return the bits of the temperature port for a model's noise scale."""
        shift = scale.shift - self._noise.least_shift if scale.mantissa else 0
        return self.scale.const({"mantissa": scale.mantissa, "shift": shift}).as_bits()

    def elaborate(self, platform):
        m = Module()
        config = self._model.config
        m.submodules.turns = turns = Streams(
            self.streams,
            self.interval,
            config.vocabulary,
            config.context,
            endless=config.endless,
        )
        wiring.connect(m, wiring.flipped(self.i), turns.i)
        wiring.connect(m, turns.o, wiring.flipped(self.o))
        m.d.comb += [
            self.turn.eq(turns.turn),
            self.o_stream.eq(turns.o_stream),
            turns.hold.eq(self.seed.valid),
            self.busy.eq(turns.busy),
            self.idle.eq(turns.idle),
            self.counters.eq(turns.counters),
            self.tokens.eq(turns.tokens),
        ]
        self._look_up(m, turns)
        self._compute(m, turns)
        self._prepare_noise(m, turns)

        m.submodules.choose = choose = self._choose
        last = self.finishes[-1]
        m.d.comb += [
            choose.valid.eq(last.o_valid),
            *_equal(choose.product, last.product),
            *_equal(choose.offset, last.offset),
        ]
        wait = self.streams * self.interval - self.length
        m.d.comb += turns.sampled.eq(late(m, choose.token, wait))
        return m

    def _look_up(self, m: Module, turns: Streams) -> None:
        """Look up a token for the first layer; a second table has the words for its products."""
        model = self._model
        entries = {name: model.table[name] for name in ROW_ENTRIES}
        bits = {name: model.widths.of_entry(name) for name in entries}
        q, k = (entries[name].reshape(*entries[name].shape[:2], model.config.heads, -1)
                for name in ("q", "k"))  # fmt: skip
        scores = round_shift((q * k).sum(axis=-1), model.layers[0].shifts["score"])
        entries["own"], bits["own"] = saturate(scores, SCORE_BITS), SCORE_BITS
        m.submodules.table = table = Table(entries, bits)
        later = {name: model.table[name] for name in ADDED_ENTRIES}
        m.submodules.late_table = late_table = Table(
            later, dict.fromkeys(later, model.widths.table)
        )
        # Block RAM is slow: the words are used a cycle later.
        wait = self.schedules[0].first - Table.latency - 1
        for each, cycles in ((table, ENTERING), (late_table, wait)):
            m.d.comb += [
                each.enable.eq(late(m, turns.enter, cycles)),
                each.token.eq(late(m, turns.token, cycles)),
            ]
            if model.config.positions is Positions.LEARNED:
                m.d.comb += each.position.eq(late(m, turns.position, cycles))
        attention, finish = self._attentions[0], self.finishes[0]
        for name in ROW_ENTRIES:
            m.d.comb += _equal(getattr(attention, name), getattr(table, name))
        m.d.comb += _equal(attention.own, (late(m, own, attention.own_waits) for own in table.own))
        for name in ADDED_ENTRIES:
            m.d.comb += _equal(
                getattr(finish, name), map(partial(late, m), getattr(late_table, name))
            )

    def _compute(self, m: Module, turns: Streams) -> None:
        """Pass a token through all layers, with its stream and place for each of them."""
        config, place = self._model.config, self._place(m, turns)
        whose = data.StructLayout({"enter": 1, "turn": turns.turn.shape(), "place": place.shape()})
        token, since = Signal(whose), ENTERING
        m.d.comb += [
            token.enter.eq(late(m, turns.enter, ENTERING)),
            token.turn.eq(late(m, turns.turn, ENTERING)),
            token.place.eq(place),
        ]
        m.submodules.tally = tally = tallied(m, config, token.enter, place)
        m.d.comb += self.cache.eq(tally.counters)
        for layer, at in enumerate(self.schedules):
            m.submodules[f"attention_{layer}"] = attention = self._attentions[layer]
            m.submodules[f"finish_{layer}"] = finish = self.finishes[layer]
            token, since = late(m, token, at.begin - 1 - since), at.begin - 1
            comes = late(m, token)
            m.d.comb += [
                attention.next_stream.eq(token.turn),
                attention.valid.eq(comes.enter),
                attention.stream.eq(comes.turn),
                attention.place.eq(comes.place),
                finish.valid.eq(attention.o_valid),
                *_equal(finish.i, attention.o),
            ]
            if layer:
                self._hand_on(m, layer)

    def _place(self, m: Module, turns: Streams) -> data.View:
        """Return the cache place of the token that entered `ENTERING` cycles ago."""
        config = self._model.config
        if not config.endless:
            place = Signal(place_of(config))
            m.d.comb += place.row.eq(turns.position)
            return late(m, place, ENTERING)
        m.submodules.rows = rows = Rows(config, self.streams)
        m.d.comb += [
            getattr(rows, name).eq(late(m, getattr(turns, name), ENTERING))
            for name in ("enter", "turn", "fresh")
        ]
        return rows.o

    def _hand_on(self, m: Module, layer: int) -> None:
        """Connect a later layer to the outputs of the one before."""
        m.submodules[f"enter_{layer}"] = enter = self._enters[layer - 1]
        before = self.finishes[layer - 1]
        m.d.comb += [
            enter.valid.eq(before.o_valid),
            enter.inverse.eq(before.inverse),
            *_equal(enter.product, before.product),
            *_equal(enter.offset, before.offset),
        ]
        for to, names in (
            (self._attentions[layer], (*ROW_ENTRIES, "own")),
            (self.finishes[layer], ADDED_ENTRIES),
        ):
            for name in names:
                m.d.comb += _equal(getattr(to, name), getattr(enter, name))

    def _prepare_noise(self, m: Module, turns: Streams) -> None:
        """Draw noise in time for its addition, and keep the streams' generator states."""
        m.submodules.noise = noise = self._noise
        wait = self.schedules[-1].offset_begins - noise.latency
        turn, draws = late(m, turns.turn, wait), late(m, turns.enter & turns.samples, wait)

        # The temperature is sampled as a token enters, and needed later.
        m.submodules.scales = scales = Memory(shape=self.scale, depth=self.streams, init=[])
        write, read = scales.write_port(), scales.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(turns.turn),
            write.data.eq(self.temperature),
            write.en.eq(turns.enter),
            read.addr.eq(turn),
        ]

        m.submodules.states = states = Memory(shape=SEED_BITS, depth=self.streams, init=[])
        write, kept = states.write_port(), states.read_port(domain="comb")
        pending, seed = Signal(), Signal(SEED_BITS, **LOADED)
        takes = self.seed.valid & self.seed.ready
        # A seed still in the delay line must not be mistaken for one that comes after a reset.
        seeded = delayed(m, takes, wait)
        m.d.comb += self.seed.ready.eq(turns.between & ~pending)
        with m.If(takes):
            m.d.sync += [seed.eq(self.seed.payload), pending.eq(1)]
        with m.If(seeded):
            m.d.sync += pending.eq(0)
        state = Signal(SEED_BITS)
        been_round = late(m, turns.been_round, wait)
        m.d.comb += [
            kept.addr.eq(turn),
            state.eq(Mux(seeded, seed, Mux(been_round, kept.data, turn + 1))),
            noise.valid.eq(draws),
            noise.state.eq(state),
            noise.mantissa.eq(read.data.mantissa),
            noise.shift.eq(read.data.shift),
        ]
        first_lap = late(m, turns.begins & ~turns.been_round, wait)
        changes = late(m, draws | seeded | first_lap)
        m.d.comb += [
            write.en.eq(changes),
            write.addr.eq(late(m, turn)),
            write.data.eq(Mux(late(m, draws), noise.next_state, late(m, state))),
        ]
        m.d.comb += _equal(self.finishes[-1].noise, noise.o)


def _equal(targets: Iterable[Value], values: Iterable[Value]) -> list:
    """Return the assignments of values, one by one."""
    return [to.eq(value) for to, value in zip(targets, values, strict=True)]
