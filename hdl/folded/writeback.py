"""Write-back: results are scaled, get the residual added and go where the instruction says."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.isa import Destination, Kind
from gptloom.firmware.isa import Scale as ScaleOf
from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.arithmetic import narrowed, quotient, remainder, saturated
from gptloom.hdl.folded.layouts import (
    ADDRESS_BITS,
    INDEX_BITS,
    OPERATION_BITS,
    UNIT_BITS,
    Accumulator,
    Job,
    Quad,
    Scale,
    Temperature,
    results,
)
from gptloom.hdl.folded.requantise import Requantise
from gptloom.model.arithmetic import (
    ACTIVATION_BITS,
    EMBEDDING_SHIFT,
    UNIT_MANTISSA,
    WEIGHT_BITS,
)

_Beat = data.StructLayout(
    {
        "valid": 1,
        "last": 1,
        "index": INDEX_BITS,
        "kind": 2,
        "destination": 3,
        "target": ADDRESS_BITS,
        "stride": 8,
        "operation": OPERATION_BITS,
        "residual": 1,
    }
)


class Writeback(wiring.Component):
    """From the drain to the memories, `writers` results a cycle.

    Attributes
    ----------
    latency
        From the drain's `valid` to `result`: 5 cycles.
    valid, enable, last, index, job, sums : In
        The drain's beat.
    stream : In
        Elements `index`, ... of the residual stream.
    norm, reciprocals, temperature : In
        Scales of the instructions that ask for them; reciprocals by head.
    position : In
        Of the token under way: where keys and values go.
    embedding, embedding_enable, embedding_index, embedding_last : In
        Sums of embeddings from the start of a token; they are results of operation 63.
    result : Out
        What is written, for whom it may concern.
    row, row_enable, row_data : Out
        Write port of the activation memory.
    word, word_enable, word_data : Out
        Write port of the operand memory.
    """

    latency = Requantise.latency + 1

    def __init__(self, machine: Machine):
        self._machine = machine
        elements = machine.heads * QUAD
        values = data.ArrayLayout(Quad.elem_shape, machine.writers)
        super().__init__(
            {
                "valid": In(1),
                "enable": In(machine.writers),
                "last": In(1),
                "index": In(INDEX_BITS),
                "job": In(Job),
                "sums": In(Accumulator).array(machine.writers),
                "stream": In(values),
                "norm": In(Scale),
                "reciprocals": In(data.ArrayLayout(Scale, machine.heads)),
                "temperature": In(Temperature),
                "position": In(range(machine.context)),
                "embedding": In(values),
                "embedding_valid": In(1),
                "embedding_index": In(INDEX_BITS),
                "embedding_last": In(1),
                "result": Out(results(machine)),
                "row": Out(range(machine.activation_words)),
                "row_enable": Out(elements),
                "row_data": Out(elements * ACTIVATION_BITS),
                "word": Out(ADDRESS_BITS),
                "word_enable": Out(QUAD).array(machine.units),
                "word_data": Out(UNIT_BITS).array(machine.units),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        job = self.job

        beat = Signal(_Beat)
        m.d.comb += [beat.valid.eq(self.valid), beat.last.eq(self.last), beat.index.eq(self.index)]
        for field in ("kind", "destination", "target", "stride", "operation", "residual"):
            m.d.comb += beat[field].eq(job[field])
        enable, stream = self.enable, self.stream
        for number in range(Requantise.latency):
            beat = self._registered(m, beat, f"beat_{number}")
            enable = self._registered(m, enable, f"enable_{number}")
            stream = self._registered(m, stream, f"stream_{number}")

        scales = self._scales(m)
        for i in range(machine.writers):
            requantise = Requantise()
            m.submodules[f"requantise_{i}"] = requantise
            start = self.stream[i] << EMBEDDING_SHIFT
            m.d.comb += [
                requantise.i.eq(Mux(job.kind == Kind.START, start, self.sums[i])),
                requantise.mantissa.eq(scales[i].mantissa),
                requantise.shift.eq(job.shift + scales[i].exponent),
                requantise.narrow.eq(
                    (job.destination == Destination.KEY) | (job.destination == Destination.VALUE)
                ),
                requantise.wide.eq(job.destination == Destination.LOGITS),
                requantise.relu.eq(job.relu),
            ]
            total = saturated(requantise.o + stream[i], ACTIVATION_BITS)
            m.d.sync += self.result["values"][i].eq(Mux(beat.residual, total, requantise.o))
        m.d.sync += [
            self.result.enable.eq(Mux(beat.valid, enable, 0)),
            self.result.index.eq(beat.index),
            self.result.last.eq(beat.last),
            self.result.destination.eq(beat.destination),
            self.result.operation.eq(beat.operation),
        ]
        with m.If(self.embedding_valid):
            m.d.sync += [
                self.result.enable.eq(~Const(0, machine.writers)),
                self.result.index.eq(self.embedding_index),
                self.result.last.eq(self.embedding_last),
                self.result.destination.eq(Destination.STREAM),
                self.result.operation.eq(~Const(0, OPERATION_BITS)),
            ]
            for i in range(machine.writers):
                m.d.sync += self.result["values"][i].eq(self.embedding[i])
        address = Signal(ADDRESS_BITS)
        m.d.sync += address.eq(self._address(m, beat))
        self._write_rows(m, address)
        self._write_words(m, address)
        return m

    @staticmethod
    def _registered(m: Module, signal, name: str):
        following = Signal.like(signal, name=name)
        m.d.sync += following.eq(signal)
        return following

    def _scales(self, m: Module) -> list:
        """Mantissa and exponent for each writer."""
        machine = self._machine
        scales = []
        for i in range(machine.writers):
            scale = Signal(Scale, name=f"scale_{i}")
            head = Signal(range(max(2, machine.heads)), name=f"head_{i}")
            m.d.comb += head.eq(remainder(self.index + i, machine.heads))
            with m.Switch(self.job.scale):
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

    def _address(self, m: Module, beat) -> Signal:
        """Word to write, one cycle before `result`: advances by groups of elements."""
        machine = self._machine
        heads_quads = QUAD * machine.heads
        group = Signal(ADDRESS_BITS)
        following = Signal(ADDRESS_BITS)
        is_value = beat.destination == Destination.VALUE
        is_cache = is_value | (beat.destination == Destination.KEY)
        place = Mux(
            is_value, remainder(beat.index, machine.units), remainder(beat.index, heads_quads)
        )
        step = Mux(is_cache, beat.stride, 1)
        with m.If(beat.index == 0):
            m.d.comb += following.eq(beat.target)
        with m.Elif(place == 0):
            m.d.comb += following.eq(group + step)
        with m.Else():
            m.d.comb += following.eq(group)
        with m.If(beat.valid):
            m.d.sync += group.eq(following)
        return following

    def _write_rows(self, m: Module, address: Signal) -> None:
        """Activation memory: element j is in bank j // 4 % heads, whatever the word."""
        machine, result = self._machine, self.result
        embedded = result.operation.all()
        row = quotient(result.index, QUAD * machine.heads)
        m.d.comb += self.row.eq(Mux(embedded, row, address))
        wanted = (result.destination == Destination.ACTIVATION) | (
            result.destination == Destination.STREAM
        )
        place = remainder(result.index, QUAD * machine.heads)
        values = Cat(narrowed(v, ACTIVATION_BITS) for v in result["values"])
        copies = machine.heads * QUAD // machine.writers
        m.d.comb += [
            self.row_enable.eq(Mux(wanted, result.enable << place, 0)),
            self.row_data.eq(values.replicate(copies)),
        ]

    def _write_words(self, m: Module, address: Signal) -> None:
        """Operand memory: where keys and values of the token's position belong."""
        machine, result = self._machine, self.result
        units, heads, writers = machine.units, machine.heads, machine.writers
        is_key = result.destination == Destination.KEY
        is_value = result.destination == Destination.VALUE
        head = remainder(quotient(result.index, QUAD), heads)
        slot = Signal(unsigned(len(self.position) + len(head)))
        m.d.comb += slot.eq(Cat(head, self.position) if heads > 1 else self.position)
        with m.If(is_key):
            m.d.comb += self.word.eq(address + quotient(slot, units))
        with m.Else():
            m.d.comb += self.word.eq(address + quotient(self.position, QUAD))

        key_unit, key_lane = remainder(slot, units), remainder(result.index, QUAD)
        value_unit, value_lane = remainder(result.index, units), remainder(self.position, QUAD)
        bytes_ = Array(narrowed(v, WEIGHT_BITS) for v in result["values"])
        for unit in range(units):
            for lane in range(QUAD):
                # A key fills the lanes of one unit, a value one lane of consecutive units.
                key_writer, value_writer = lane % writers, unit % writers
                key_here = (key_unit == unit) & (key_lane == lane - key_writer)
                value_here = (value_lane == lane) & (value_unit == unit - value_writer)
                m.d.comb += [
                    self.word_enable[unit][lane].eq(
                        (is_key & key_here & result.enable.bit_select(key_writer, 1))
                        | (is_value & value_here & result.enable.bit_select(value_writer, 1))
                    ),
                    self.word_data[unit]
                    .word_select(lane, WEIGHT_BITS)
                    .eq(Mux(is_key, bytes_[key_writer], bytes_[value_writer])),
                ]
