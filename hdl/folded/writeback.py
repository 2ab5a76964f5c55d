"""Write-back: results are scaled, get the residual added and go where the instruction says."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.isa import Combination, Destination, Function
from gptloom.firmware.isa import Scale as ScaleOf
from gptloom.firmware.machine import LANE_BITS, QUAD, Machine
from gptloom.hdl.arithmetic import narrowed, quotient, remainder, saturated
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import delayed
from gptloom.hdl.folded.layouts import (
    LISTENERS,
    UNIT_BITS,
    Beat,
    EmbeddingBus,
    Listeners,
    Quad,
    ResultBus,
    Scale,
    Temperature,
    accumulator,
    result_fields,
    slot_address,
)
from gptloom.hdl.folded.requantise import Requantise
from gptloom.model.arithmetic import (
    ACTIVATION_BITS,
    EMBEDDING_SHIFT,
    UNIT_MANTISSA,
)


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
        "adds": 1,
    }
    offset = {} if machine.recurrent else {"offset": machine.address_bits}
    return data.StructLayout(fields | offset)


class Writeback(wiring.Component):
    """From the drain to the memories, `writers` results a cycle.

    Attributes
    ----------
    latency
        From the drain's beat to its results: 5 cycles, 11 in a deep machine.
    i : In
        The drain's beat.
    recurrent : In
        Sums that take the place of the beat's where recurrent ones are asked for; of recurrent
        machines only.
    key_stride, value_stride : In
        Settings of the model: operand words from one group of a key's or value's rows to the next.
    stream : In
        Elements `index`, ... of the residual stream.
    norm, reciprocals, temperature : In
        Scales of the instructions that ask for them; reciprocals by head.
    position, slot : In
        Position of the token under way, and its slot of the cache if there are several: they say
        where keys and values go.
    embedding : In
        Sums of embeddings from the start of a token.
    o : Out
        Results.
    row, row_enable, row_data : Out
        Write port of the activation memory.
    word, word_enable, word_data : Out
        Write port of the operand memory; without rows of keys and values nothing is written.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        self.latency = Requantise.latency_of(machine.deep) + machine.deep + 1
        elements = machine.heads * QUAD
        values = data.ArrayLayout(Quad.elem_shape, machine.writers)
        some = {}
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
                "stream": In(values),
                "norm": In(Scale),
                "reciprocals": In(data.ArrayLayout(Scale, machine.heads)),
                "temperature": In(Temperature),
                "position": In(range(machine.context)),
                "embedding": In(EmbeddingBus(machine)),
                "o": Out(ResultBus(machine)),
                "row": Out(range(machine.activation_words)),
                "row_enable": Out(elements),
                "row_data": Out(elements * ACTIVATION_BITS),
                "word": Out(machine.address_bits),
                "word_enable": Out(QUAD).array(machine.units),
                "word_data": Out(UNIT_BITS).array(machine.units),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
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
            beat.adds.eq(instruction.combination == Combination.ADD),
        ]
        self._place(m, beat)
        enable, streams = drained.enable, [self.stream]
        for number in range(self.latency - 1):
            beat, enable = delayed(m, beat), delayed(m, enable)
            streams.append(delayed(m, streams[-1]))
            if number == 0:
                beat = self._grouped(m, beat)
            if number == 1 and not machine.recurrent:
                placed = Signal.like(beat)
                m.d.comb += [placed.eq(beat), placed.address.eq(beat.address + beat.offset)]
                beat = placed

        result = self.o.beat
        # The normalised embedding is all that goes to the stream's memory alone.
        is_start = drained.to.stream & ~drained.to.activations
        widths, narrow = self._cached_widths()
        scales = self._scales(m)
        for i, sum_ in enumerate(self._sums()):
            m.submodules[f"requantise_{i}"] = requantise = Requantise(
                machine.accumulator_bits, machine.deep, widths
            )
            start = self.stream[i] << EMBEDDING_SHIFT
            m.d.comb += [
                requantise.i.eq(Mux(is_start, start, sum_)),
                requantise.mantissa.eq(scales[i].mantissa),
                requantise.shift.eq(instruction.shift + scales[i].exponent),
                requantise.narrow.eq(narrow),
                requantise.wide.eq(drained.to.sampler),
                requantise.relu.eq(instruction.function == Function.RELU),
            ]
            total = narrowed(requantise.o, ACTIVATION_BITS) + streams[requantise.latency][i]
            total = saturated(delayed(m, total, machine.deep), ACTIVATION_BITS)
            value = delayed(m, requantise.o, machine.deep)
            m.d.sync += result["values"][i].eq(Mux(beat.adds, total, value))
        address = Signal.like(beat.address)
        m.d.sync += [
            result.enable.eq(Mux(beat.valid, enable, 0)),
            result.index.eq(beat.index),
            result.last.eq(beat.last),
            result.to.eq(beat.to),
            result.operation.eq(beat.operation),
            address.eq(beat.address),
        ]
        embedding = self.embedding
        with m.If(embedding.valid):
            as_stream = Listeners.const(dict.fromkeys(LISTENERS[Destination.STREAM], 1))
            m.d.sync += [
                result.enable.eq(~Const(0, machine.writers)),
                result.index.eq(embedding.index),
                result.last.eq(embedding.last),
                result.to.eq(as_stream),
                result.operation.eq(machine.embedding_operation),
                address.eq(quotient(embedding.index, QUAD * machine.heads)),
                *(v.eq(e) for v, e in zip(result["values"], embedding.elements, strict=True)),
            ]
        self._write_rows(m, address)
        if not machine.recurrent:
            self._write_words(m, beat, Mux(beat.valid, enable, 0), address)
        return m

    def _sums(self) -> list[Value]:
        """Return the sums of the beat, or recurrent ones where its instruction scales those."""
        if not self._machine.recurrent:
            return list(self.i.sums)
        mixed = self.i.instruction.scale == ScaleOf.SUM
        pairs = zip(self.recurrent, self.i.sums, strict=True)
        return [Mux(mixed, recurrent, sum_) for recurrent, sum_ in pairs]

    def _cached_widths(self) -> tuple[tuple[int, ...], Value]:
        """Return the widths of keys and values, and for each whether a beat has it."""
        widths, to = self._machine.cache.widths, self.i.to
        if len(set(widths)) == 1:
            return widths[:1], to.keys | to["values"]
        return widths, Cat(to.keys, to["values"])

    def _scales(self, m: Module) -> list:
        """Mantissa and exponent for each writer."""
        machine = self._machine
        scales = []
        for i in range(machine.writers):
            scale = Signal(Scale, name=f"scale_{i}")
            head = Signal(range(max(2, machine.heads)), name=f"head_{i}")
            m.d.comb += head.eq(remainder(self.i.index + i, machine.heads))
            with m.Switch(self.i.instruction.scale):
                with m.Case(ScaleOf.NORM):
                    m.d.comb += scale.eq(self.norm)
                with m.Case(ScaleOf.SUM):
                    m.d.comb += scale.eq(self.reciprocals[head])
                with m.Case(ScaleOf.TEMPERATURE):
                    m.d.comb += [
                        scale.mantissa.eq(self.temperature.mantissa),
                        scale.exponent.eq(self.temperature.shift),
                    ]
                with m.Default():
                    m.d.comb += scale.mantissa.eq(UNIT_MANTISSA)
            scales.append(scale)
        return scales

    def _place(self, m: Module, beat) -> None:
        """Say whether a group begins with a beat, and where in its group it goes.

        In the cache, groups have all positions.
        """
        # Not from the beat: a signal that depends on a part of itself costs compiled
        # simulations two evaluations a cycle.
        machine, index = self._machine, self.i.index
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
            m.d.comb += beat.offset.eq(quotient(self._key_number(m, index), machine.units))
            with m.If(remainder(index, row_length) == 0):
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

    def _key_number(self, m: Module, index) -> Signal:
        """Return the number of a key in the cache: position by position, head by head."""
        heads = self._machine.heads
        head = remainder(quotient(index, QUAD), heads)
        number = Signal(range(self._machine.context * heads), name="key_number")
        m.d.comb += number.eq(Cat(head, self.position) if heads > 1 else self.position)
        return number

    def _write_rows(self, m: Module, address: Signal) -> None:
        """Activation memory: element j is in bank j // 4 % heads, whatever the word."""
        machine, result = self._machine, self.o.beat
        place = remainder(result.index, QUAD * machine.heads)
        values = Cat(narrowed(v, ACTIVATION_BITS) for v in result["values"])
        copies = machine.heads * QUAD // machine.writers
        m.d.comb += [
            self.row.eq(address),
            self.row_enable.eq(Mux(result.to.activations, result.enable << place, 0)),
            self.row_data.eq(values.replicate(copies)),
        ]

    def _write_words(self, m: Module, beat, enable, address: Signal) -> None:
        """Operand memory: where keys and values of the token's position belong.

        The place is decided on the beat before the result: write ports are a long way from here.
        """
        machine = self._machine
        units, writers = machine.units, machine.writers
        is_key, is_value = beat.to.keys, beat.to["values"]
        holds_keys = self.o.beat.to.keys
        number = self._key_number(m, beat.index)
        m.d.comb += self.word.eq(address)

        key_unit, key_lane = remainder(number, units), remainder(beat.index, QUAD)
        value_unit, value_lane = remainder(beat.index, units), remainder(self.position, QUAD)
        bytes_ = Array(narrowed(v, LANE_BITS) for v in self.o.beat["values"])
        for unit in range(units):
            for lane in range(QUAD):
                # A key fills the lanes of one unit, a value one lane of consecutive units.
                key_writer, value_writer = lane % writers, unit % writers
                key_here = (key_unit == unit) & (key_lane == lane - key_writer)
                value_here = (value_lane == lane) & (value_unit == unit - value_writer)
                m.d.sync += self.word_enable[unit][lane].eq(
                    (is_key & key_here & enable.bit_select(key_writer, 1))
                    | (is_value & value_here & enable.bit_select(value_writer, 1))
                )
                m.d.comb += (
                    self.word_data[unit]
                    .word_select(lane, LANE_BITS)
                    .eq(Mux(holds_keys, bytes_[key_writer], bytes_[value_writer]))
                )
