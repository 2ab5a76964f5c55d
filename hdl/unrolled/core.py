"""The unrolled core: a network of one layer as a pipeline, with its weights in logic."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import saturated
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.core import COUNTER_BITS, Counters, Prompt, Token
from gptloom.hdl.delay import delayed, late
from gptloom.hdl.unrolled.attention import Attention
from gptloom.hdl.unrolled.choose import Choose
from gptloom.hdl.unrolled.dense import Dense
from gptloom.hdl.unrolled.noise import Noise
from gptloom.hdl.unrolled.root import Offset, Root
from gptloom.hdl.unrolled.schedule import ENTERING, ROOT_WAITS, Schedule
from gptloom.hdl.unrolled.streams import Streams
from gptloom.hdl.unrolled.table import Table
from gptloom.hdl.unrolled.target import SIMULATED, Target
from gptloom.model.arithmetic import MANTISSA_BITS, round_shift, saturate
from gptloom.model.merged.integer import SCORE_BITS, MergedModel, NoiseScale
from gptloom.model.sampling import SEED_BITS

ATTENTION_ENTRIES, LATER_ENTRIES = ("q", "k", "v"), ("fx", "x", "lx")
"""Words of the table by the time at which they are needed."""


class UnrolledCore(wiring.Component):
    """A pipeline that a token enters every `interval` cycles, each of another document.

    ======  ==================================================================================
    step    what happens, and what beside it
    ======  ==================================================================================
    enter   :class:`.Streams` takes the token that was sampled, :class:`.Table` looks it up
    mix     :class:`.Attention`
    first   products by A1, Wo and A2; their table words come from a second table, late
    second  product by B; beside it residual, :class:`.Root`, noise and :class:`.Offset`
    choose  :class:`.Choose`: the token is there for the stream's next turn
    ======  ==================================================================================

    Parameters
    ----------
    model
        What it computes, of one layer.
    bits_per_cycle
        Of activations, as they enter products.
    positions
        That attention sees in a cycle.
    streams
        Documents at the same time; by default as few as the pipeline's length allows, which is
        the fastest for each of them.
    levels_per_register, outputs_per_copy
        See :class:`.Product`.
    heads_per_cycle
        See :class:`.Mix`; by default all.
    target
        What it is made of.

    After a reset within a run nothing may be offered for `interval` cycles: what was under way
    ends then.

    Attributes
    ----------
    interval
        Cycles from token to token, of all streams together.
    length
        Cycles from a token that enters to the one that is sampled.
    schedule
        When everything happens within this.
    streams
        A stream's tokens are ``streams * interval`` cycles apart.
    positions, beats
        That attention sees in a cycle; cycles for all of them.
    values_per_cycle
        Of noise and offset.
    cells, other_cells
        Multipliers of its target that attention takes, and those that the rest does.
    i : In(stream of Prompt)
        Known tokens of the stream whose turn it is.
    turn : Out
        Whose turn it is.
    temperature : In(mantissa, shift)
        Of the stream whose turn it is: :class:`.merged.integer.NoiseScale`, the shift less that of
        the highest temperature. Taken with every token that enters.
    seed : In(stream of 32 bits)
        State of the random numbers of the stream whose turn it is, taken between documents; not 0.
        From power-on and after a reset it is the stream's number and 1.
    o, o_stream : Out(stream of Token), Out
        Sampled tokens, and whose they are.
    busy, counters, tokens
        See :class:`.Streams`; `tokens` are the counter of the stream whose turn it is.
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
        if len(model.layers) != 1:
            raise ValueError(f"{len(model.layers)} layers: only one is possible")
        context = model.config.context
        if positions not in (1 << n for n in range(context.bit_length())) or context % positions:
            raise ValueError(
                f"{positions} positions a cycle: a power of two that divides {context}"
            )
        self._model = model
        layer, widths, config = model.layers[0], model.widths, model.config

        def product(names: Sequence[str], *, is_signed: bool) -> Dense:
            return target.dense(
                [layer.weights[name] for name in names],
                widths.activations,
                bits_per_cycle,
                is_signed=is_signed,
                levels_per_register=levels_per_register,
                outputs_per_copy=outputs_per_copy,
            )

        self.first = product(("a1", "wo", "a2"), is_signed=True)
        self.second = product(("b",), is_signed=False)
        at_once = config.heads if heads_per_cycle is None else heads_per_cycle
        if at_once < 1 or config.heads % at_once:
            raise ValueError(f"{at_once} heads a cycle: a number that divides {config.heads}")
        self.interval = max(
            config.context // positions, self.first.interval, config.heads // at_once
        )
        self._root, self._choose = Root(model), Choose(model)
        # So many values are prepared in a cycle that they are there with the second product.
        beats = self.second.latency - ROOT_WAITS - self._root.latency - Offset.AFTER_BEATS
        values = -(-config.vocabulary // max(1, min(self.interval, beats)))
        self._noise, self._offset = Noise(model, values, target.cell), Offset(model, values)
        self.positions, self.beats = positions, config.context // positions
        self.values_per_cycle = values
        self.schedule = Schedule.of(
            config,
            positions,
            at_once,
            (self.first, self.second),
            (self._root, self._offset, self._choose),
        )
        self.length = self.schedule.token
        least = -(-self.length // self.interval)
        self.streams = least if streams is None else streams
        if self.streams < least:
            raise ValueError(f"{streams} streams, but the pipeline holds {least}")
        # Of mix, noise and offset.
        self.other_cells = at_once * config.head_width + 2 * values
        multipliers = target.multipliers(2 * positions * config.width, self.other_cells)
        self.cells = multipliers.count(target.cell)
        self._attention = Attention(
            model, self.streams, positions, at_once, multipliers, target.cell
        )
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
                "counters": Out(Counters),
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
            self.streams, self.interval, config.vocabulary, config.context
        )
        wiring.connect(m, wiring.flipped(self.i), turns.i)
        wiring.connect(m, turns.o, wiring.flipped(self.o))
        m.d.comb += [
            self.turn.eq(turns.turn),
            self.o_stream.eq(turns.o_stream),
            self.busy.eq(turns.busy),
            self.counters.eq(turns.counters),
            self.tokens.eq(turns.tokens),
        ]
        self._enter(m, turns)
        self._multiply(m, turns)
        self._prepare_noise(m, turns)

        m.submodules.choose = choose = self._choose
        at = self.schedule
        m.d.comb += choose.valid.eq(late(m, self.second.o_valid, at.choose - at.second))
        for i, product in enumerate(self.second.o[0]):
            offset = self._offset.o[i]
            m.d.comb += [
                choose.product[i].eq(late(m, product, at.choose - at.second)),
                choose.offset[i].eq(late(m, offset, at.choose - at.offset)),
            ]
        wait = self.streams * self.interval - self.length
        m.d.comb += turns.sampled.eq(late(m, choose.token, wait))
        return m

    def _enter(self, m: Module, turns: Streams) -> None:
        """Look a token up, and mix what its document has."""
        model = self._model
        entries = {name: model.table[name] for name in ATTENTION_ENTRIES}
        bits = dict.fromkeys(entries, model.widths.table)
        q, k = (entries[name].reshape(*entries[name].shape[:2], model.config.heads, -1)
                for name in ("q", "k"))  # fmt: skip
        scores = round_shift((q * k).sum(axis=-1), model.layers[0].shifts["score"])
        entries["own"], bits["own"] = saturate(scores, SCORE_BITS), SCORE_BITS
        m.submodules.table = table = Table(entries, bits)
        m.submodules.attention = attention = self._attention
        m.d.comb += [
            table.enable.eq(late(m, turns.enter, ENTERING)),
            table.token.eq(late(m, turns.token, ENTERING)),
            table.position.eq(late(m, turns.position, ENTERING)),
            attention.next_stream.eq(late(m, turns.turn, ENTERING)),
            attention.valid.eq(late(m, turns.enter, ENTERING + Table.latency)),
            attention.stream.eq(late(m, turns.turn, ENTERING + Table.latency)),
            attention.position.eq(late(m, turns.position, ENTERING + Table.latency)),
        ]
        for name in entries:
            for to, word in zip(getattr(attention, name), getattr(table, name), strict=True):
                m.d.comb += to.eq(word)

    def _multiply(self, m: Module, turns: Streams) -> None:
        """Go on to both products, and beside the second one to the offset."""
        model, attention = self._model, self._attention
        shifts, widths = model.layers[0].shifts, model.widths
        m.submodules.first, m.submodules.second = first, second = self.first, self.second
        m.submodules.root, m.submodules.offset = root, offset = self._root, self._offset
        entries = {name: model.table[name] for name in LATER_ENTRIES}
        m.submodules.late_table = table = Table(entries, dict.fromkeys(entries, widths.table))
        # Its words are used a cycle later: block RAM is slow.
        at = self.schedule
        wait = at.first - Table.latency - 1
        m.d.comb += [
            table.enable.eq(late(m, turns.enter, wait)),
            table.token.eq(late(m, turns.token, wait)),
            table.position.eq(late(m, turns.position, wait)),
            first.valid.eq(attention.o_valid),
            *(to.eq(value) for to, value in zip(first.i, attention.o, strict=True)),
        ]

        def added(entry: str, products, site: str) -> list:
            """Return the sums of table words, shifted left, and products, shifted right.

            The half that rounds a product stands below the word: that is one addition for both.
            """
            right = shifts[site]
            half, left = Const((1 << right) >> 1, right), Const(0, shifts[entry])
            words = [Cat(half, left, late(m, word)).as_signed() for word in getattr(table, entry)]
            return [
                (word + product) >> right for word, product in zip(words, products, strict=True)
            ]

        a1, wo, a2 = first.o
        for to, value in zip(second.i, added("fx", a1, "hidden"), strict=True):
            limit = (1 << widths.activations) - 1
            above = value[widths.activations : -1].any()
            m.d.comb += to.eq(Mux(value[-1], 0, Mux(above, limit, value[: widths.activations])))
        for to, value in zip(root.i, added("x", wo, "residual"), strict=True):
            residual = Signal(to.shape(), name="residual")
            m.d.comb += [
                residual.eq(saturated(value, widths.residual)),
                to.eq(late(m, residual, at.root_begins - at.first)),
            ]
        wait = at.offset_begins - at.first
        for to, value in zip(offset.direct, added("lx", a2, "direct"), strict=True):
            direct = Signal(to.shape(), name="direct")
            m.d.comb += [
                direct.eq(saturated(value, widths.direct)),
                to.eq(late(m, direct, wait)),
            ]
        m.d.comb += [
            second.valid.eq(first.o_valid),
            root.valid.eq(late(m, first.o_valid, at.root_begins - at.first)),
            offset.valid.eq(late(m, first.o_valid, wait)),
            offset.root.eq(root.o),
        ]

    def _prepare_noise(self, m: Module, turns: Streams) -> None:
        """Draw noise so that it comes when it is added, and keep the streams' states."""
        m.submodules.noise = noise = self._noise
        wait = self.schedule.offset_begins - noise.latency
        turn, draws = late(m, turns.turn, wait), late(m, turns.enter & turns.samples, wait)

        # What holds while a token enters is needed later.
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
        # A seed that is on its way must not be taken for one that comes after a reset.
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
        for to, value in zip(self._offset.noise, noise.o, strict=True):
            m.d.comb += to.eq(value)
