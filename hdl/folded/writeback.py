"""Write-back: results are scaled, get the residual added and go where the instruction says."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.isa import Combination, Destination, Function
from gptloom.firmware.machine import EXPONENT_ROW_BITS, QUAD, Machine
from gptloom.hdl.arithmetic import narrowed, quotient, remainder, saturated
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import delayed, late
from gptloom.hdl.folded.cache_port import key_number, write_words
from gptloom.hdl.folded.functions import Choice, Functions
from gptloom.hdl.folded.layouts import (
    Beat,
    EmbeddingBus,
    Listeners,
    ResultBus,
    Scale,
    Temperature,
    accumulator,
    listening,
    result_fields,
    slot_address,
    stream_beat,
)
from gptloom.hdl.folded.rotation import Turns
from gptloom.hdl.folded.scaling import Scaling
from gptloom.model.arithmetic import SILU_RESULT_BITS


def _beats(machine: Machine) -> data.StructLayout:
    """Return the layout of what accompanies results on their way.

    `address` is the instruction's target (it is `opening`), then where their group begins, `step`
    after the one before, and then the word, in a row of keys or values at an `offset`.
    """
    longest = max(machine.key_stride(machine.context), machine.value_stride(machine.context), 1)
    fields = {
        "valid": 1,
        "last": 1,
        "index": machine.row_bits,
        "to": Listeners,
        "opening": 1,
        "address": result_fields(machine)["target"].shape,
        "step": range(longest + 1),
        "operation": machine.operation_bits,
        "choice": Choice if machine.gated else data.StructLayout({"adds": 1}),
    }
    offset = {} if machine.recurrent else {"offset": machine.address_bits}
    return data.StructLayout(fields | offset)


class Writeback(wiring.Component):
    """From the drain to the memories, `writers` results a cycle.

    Attributes
    ----------
    latency
        From the drain's beat to its results: 5 cycles, 11 in a deep machine, 8 in a gated one.
    i : In
        The drain's beat.
    recurrent : In
        Sums that take the place of the beat's where recurrent ones are asked for; of recurrent
        machines only.
    key_stride, value_stride : In
        Settings of the model: operand words from one group of a key's or value's rows to the next.
    stream : In
        Elements `index`, ... of the residual stream.
    gates, gains, exponents : In
        Those of the gates, of the last norm's gains, and of the rows' exponents.
    quad, turns : Out, In
        Quad of a head's elements, and the angles of its pairs a cycle later.
    norm, reciprocals, temperature : In
        Scales of the instructions that ask for them; reciprocals by head.
    position, slot : In
        Position of the token under way, and its slot of the cache if there are several: they say
        where keys and values go.
    embedding : In
        Sums of embeddings from the start of a token.
    o, silu : Out
        Results; and with their SiLU in the place of the values, for the memory of the gates.
    row, row_enable, row_data : Out
        Write port of the activation memory.
    word, word_enable, word_data : Out
        Write port of the operand memory; without rows of keys and values nothing is written.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        self.latency = Scaling.latency_of(machine) + machine.deep + 1
        elements = machine.heads * QUAD
        some = {}
        if machine.gated:
            self.latency += Functions.latency
            some = {
                "gates": In(data.ArrayLayout(signed(SILU_RESULT_BITS), machine.writers)),
                "gains": In(data.ArrayLayout(signed(machine.precision.weights), machine.writers)),
                "exponents": In(data.ArrayLayout(EXPONENT_ROW_BITS, machine.writers)),
                "quad": Out(machine.row_bits),
                "turns": In(Turns),
                "silu": Out(ResultBus(machine)),
            }
        if machine.slots > 1:
            some["slot"] = In(range(machine.slots))
        if machine.recurrent:
            some["recurrent"] = In(accumulator(machine)).array(machine.writers)
        super().__init__(
            {
                **some,
                "i": In(Beat(machine)),
                "key_stride": In(range(machine.key_stride(machine.context) + 1)),
                "value_stride": In(range(machine.value_stride(machine.context) + 1)),
                "stream": In(stream_beat(machine)),
                "norm": In(Scale),
                "reciprocals": In(data.ArrayLayout(Scale, machine.heads)),
                "temperature": In(Temperature),
                "position": In(range(machine.context)),
                "embedding": In(EmbeddingBus(machine)),
                "o": Out(ResultBus(machine)),
                "row": Out(range(machine.activation_words)),
                "row_enable": Out(elements),
                "row_data": Out(elements * machine.element_bits),
                "word": Out(machine.address_bits),
                "word_enable": Out(QUAD).array(machine.units),
                "word_data": Out(machine.unit_bits).array(machine.units),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self.machine
        drained, instruction = self.i, self.i.instruction

        beat = Signal(_beats(machine))
        m.d.comb += [
            beat.valid.eq(drained.valid),
            beat.last.eq(drained.last),
            beat.index.eq(drained.index),
            beat.to.eq(drained.to),
            beat.opening.eq(drained.index == 0),
            beat.address.eq(instruction.target),
            beat.operation.eq(drained.operation),
            beat.choice.adds.eq(instruction.combination == Combination.ADD),
        ]
        if machine.gated:
            m.d.comb += [
                beat.choice.multiplies.eq(instruction.combination == Combination.MULTIPLY),
                beat.choice.turns.eq(instruction.function == Function.ROTATE),
            ]
        self._place(m, beat)
        enable = drained.enable
        for number in range(self.latency - 1):
            # Without writers that are enabled nothing is taken from a beat.
            beat, enable = late(m, beat), delayed(m, enable)
            if number == 0:
                beat = self._grouped(m, beat)
            if number == 1 and not machine.recurrent:
                placed = Signal.like(beat)
                m.d.comb += [placed.eq(beat), placed.address.eq(beat.address + beat.offset)]
                beat = placed

        result = self.o.beat
        scaled = self._scaled(m)
        finish = self._functions if machine.gated else self._sums_of
        for value, final in zip(result["values"], finish(m, scaled, beat), strict=True):
            m.d.sync += value.eq(final)
        address = Signal.like(beat.address, **LOADED)
        m.d.sync += [
            result.enable.eq(Mux(beat.valid, enable, 0)),
            result.index.eq(beat.index),
            result.last.eq(beat.last),
            result.to.eq(beat.to),
            result.operation.eq(beat.operation),
            address.eq(beat.address),
        ]
        embedding = self.embedding
        valid, index, last = embedding.valid, embedding.index, embedding.last
        if machine.gated:
            # Its elements come through the functions.
            valid, index, last = (delayed(m, s, Functions.latency) for s in (valid, index, last))
        with m.If(valid):
            blocks = ("stream",) if machine.gated else listening(machine)[Destination.STREAM]
            as_stream = Listeners.const(dict.fromkeys(blocks, 1))
            m.d.sync += [
                result.enable.eq(~Const(0, machine.writers)),
                result.index.eq(index),
                result.last.eq(last),
                result.to.eq(as_stream),
                result.operation.eq(machine.embedding_operation),
                address.eq(quotient(index, QUAD * machine.heads)),
            ]
            if not machine.gated:
                values = zip(result["values"], embedding.elements, strict=True)
                m.d.sync += [value.eq(element) for value, element in values]
        self._write_rows(m, address)
        if not machine.recurrent:
            m.d.comb += self.word.eq(address)
            # The place is decided on the beat before the result: write ports are a long way.
            some = Mux(beat.valid, enable, 0)
            write_words(m, self, beat.to, some, beat.index)
        return m

    def _scaled(self, m: Module) -> list[Value]:
        """Return the beat's numbers, scaled and as wide as their sites need them."""
        m.submodules.scaling = scaling = Scaling(self.machine)
        wiring.connect(m, wiring.flipped(self.i), scaling.i)
        names = ["stream", "norm", "reciprocals", "temperature"]
        names += ["gains", "exponents"] * self.machine.gated
        m.d.comb += [getattr(scaling, name).eq(getattr(self, name)) for name in names]
        if self.machine.recurrent:
            pairs = zip(scaling.recurrent, self.recurrent, strict=True)
            m.d.comb += [into.eq(sum_) for into, sum_ in pairs]
        return list(scaling.o)

    def _sums_of(self, m: Module, scaled, beat) -> list[Value]:
        """Return scaled results, with the residual stream added where it is asked for."""
        machine, bits, found = self.machine, self.machine.precision.stream, []
        stream = late(m, self.stream, Scaling.latency_of(machine))
        for value, element in zip(scaled, stream, strict=True):
            total = late(m, narrowed(value, bits) + element, machine.deep)
            value = late(m, value, machine.deep)
            found.append(Mux(beat.choice.adds, saturated(total, bits), value))
        return found

    def _functions(self, m: Module, scaled, beat) -> list[Value]:
        """Return scaled results after their functions and combinations."""
        machine = self.machine
        m.submodules.functions = functions = Functions(machine)
        # From the drain to the functions.
        cycles = self.latency - 1 - Functions.latency
        index, keys = (late(m, s, cycles - 1) for s in (self.i.index, self.i.to.keys))
        quads = quotient(index, QUAD)
        m.d.comb += [
            self.quad.eq(
                Mux(keys, quotient(quads, machine.cached_heads), quotient(quads, machine.heads))
            ),
            functions.turns.eq(self.turns),
            functions.stream.eq(late(m, self.stream, cycles)),
            functions.gates.eq(late(m, self.gates, cycles)),
            functions.keys.eq(late(m, keys)),
            functions.choice.eq(beat.choice),
            functions.embeds.eq(self.embedding.valid),
            functions.embedding.eq(self.embedding.elements),
            *(i.eq(value) for i, value in zip(functions.i, scaled, strict=True)),
            self.silu.beat.eq(self.o.beat),
        ]
        pairs = zip(self.silu.beat["values"], functions.gate, strict=True)
        m.d.comb += [value.eq(gate) for value, gate in pairs]
        return list(functions.o)

    def _place(self, m: Module, beat) -> None:
        """Say whether a group begins with a beat, and where in its group it goes.

        In the cache, groups have all positions.
        """
        # Not from the beat: a signal that depends on a part of itself costs compiled
        # simulations two evaluations a cycle.
        machine, index = self.machine, self.i.index
        row_length = QUAD * machine.heads
        if machine.recurrent:
            m.d.comb += beat.step.eq(remainder(beat.index, row_length) == 0)
            return
        slot = slot_address(machine, self.slot) if machine.slots > 1 else 0
        to, target = self.i.to, self.i.instruction.target
        with m.If(to["values"]):
            m.d.comb += beat.address.eq(target | slot)
            m.d.comb += beat.offset.eq(quotient(self.position, QUAD))
            with m.If(remainder(index, machine.units) == 0):
                m.d.comb += beat.step.eq(self.value_stride)
        with m.Elif(to.keys):
            m.d.comb += beat.address.eq(target | slot)
            number = key_number(m, machine, index, self.position)
            m.d.comb += beat.offset.eq(quotient(number, machine.units))
            with m.If(remainder(index, QUAD * machine.cached_heads) == 0):
                m.d.comb += beat.step.eq(self.key_stride)
        with m.Else():
            m.d.comb += beat.step.eq(remainder(index, row_length) == 0)

    def _grouped(self, m: Module, beat):
        """Return the beat with the word where its group begins: groups follow each other."""
        group = Signal.like(beat.address, **LOADED)
        grouped = Signal.like(beat)
        m.d.comb += grouped.eq(beat)
        with m.If(~beat.opening):
            m.d.comb += grouped.address.eq(group + beat.step)
        with m.If(beat.valid):
            m.d.sync += group.eq(grouped.address)
        return grouped

    def _write_rows(self, m: Module, address: Signal) -> None:
        """Activation memory: element j is in bank j // 4 % heads, whatever the word."""
        machine, result = self.machine, self.o.beat
        place = remainder(result.index, QUAD * machine.heads)
        values = Cat(narrowed(v, machine.element_bits) for v in result["values"])
        copies = machine.heads * QUAD // machine.writers
        m.d.comb += [
            self.row.eq(address),
            self.row_enable.eq(Mux(result.to.activations, result.enable << place, 0)),
            self.row_data.eq(values.replicate(copies)),
        ]
