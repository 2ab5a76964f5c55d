"""Results are scaled as the model says and written where the MAC array will read them."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from gptloom.firmware.isa import Combination, Destination, Function, Input, Scale
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import LANE_BITS, LANES, QUAD, Machine
from gptloom.hdl.folded.layouts import LISTENERS
from gptloom.hdl.folded.writeback import Writeback
from gptloom.model import arithmetic
from gptloom.model.arithmetic import (
    ACTIVATION_BITS,
    EMBEDDING_SHIFT,
    LOGIT_BITS,
    UNIT_MANTISSA,
)
from gptloom.model.config import ModelConfig

SHAPES = {
    "four heads": ModelConfig(hidden=128),
    "head width 6": ModelConfig(width=24, hidden=128),
    "two heads": ModelConfig(heads=2, hidden=128),
    "one head": ModelConfig(heads=1, hidden=128, context=8),
}
# Each number of lanes and each shape once, for everyday.
CASES = [(8, "one head"), (16, "four heads"), (32, "two heads"), (64, "head width 6")]
OTHERS = [(lanes, shape) for lanes in LANES for shape in SHAPES if (lanes, shape) not in CASES]


@dataclass
class Memories:
    """Writes seen at the ports."""

    rows: dict = field(default_factory=dict)
    words: dict = field(default_factory=dict)
    results: list = field(default_factory=list)


class Writing:
    """A writeback at work: its inputs by element, what it wrote by address."""

    def __init__(self, bench, lanes, shape):
        self.config = SHAPES[shape]
        self.machine = Machine.for_models(lanes, self.config)
        self.layout = Layout(self.machine, self.config)
        self.hidden = self.layout.activations(self.layout.network[0, "hidden"])
        self.block = bench(Writeback(self.machine))
        self.draw = np.random.default_rng(lanes)
        scales = self.draw.integers([UNIT_MANTISSA, 0], [512, 12], (self.machine.heads + 2, 2))
        self.norm, self.temperature, *self.reciprocals = scales.tolist()
        self.block.set(
            norm=scale(self.norm),
            reciprocals=[scale(r) for r in self.reciprocals],
            temperature={"mantissa": self.temperature[0], "shift": self.temperature[1]},
            key_stride=self.layout.key_stride,
            value_stride=self.layout.value_stride,
        )

    def write(self, instruction, sums, stream, position=0):
        """Pass an instruction's rows through as the drain delivers them; padding has no enable."""
        m = self.machine
        self.block.set(position=position)
        memories = Memories()
        rows, latency = instruction["rows"], self.block.component.latency
        cycles = []
        for index in range(0, -(-rows // m.units) * m.units, m.writers):
            enable = [index + i < rows for i in range(m.writers)]
            if self.draw.random() < 0.2:
                cycles.append({"i__valid": 0, "i__enable": (1 << m.writers) - 1})
            cycles.append(
                {
                    "i__valid": any(enable),
                    "i__enable": sum(1 << i for i, on in enumerate(enable) if on),
                    "i__index": index,
                    "i__last": index + m.writers >= rows,
                    "i__to": dict.fromkeys(LISTENERS[instruction["destination"]], 1),
                    "i__instruction": instruction,
                    "i__sums": sums[index : index + m.writers].tolist(),
                    "stream": stream[index : index + m.writers].tolist(),
                }
            )
        cycles += [{"i__valid": 0}] * (latency + 1)
        due = {i + latency: c for i, c in enumerate(cycles) if c["i__valid"]}
        for cycle, inputs in enumerate(cycles):
            self.block.set(**inputs)
            self.see(memories, due.get(cycle))
            self.block.step()
        return memories

    def see(self, memories, due):
        get = self.block.get
        result = get("o__beat")
        assert result.enable == (due["i__enable"] if due else 0)
        if due:
            assert (result.index, result.last) == (due["i__index"], due["i__last"])
            on = range(bin(due["i__enable"]).count("1"))
            memories.results += [result["values"][i] for i in on]
        self.see_rows(memories.rows)
        units = zip(get("word_enable"), get("word_data"), strict=True)
        for unit, (enable, elements) in enumerate(units):
            address = get("word")
            self.see_port(memories.words, address, enable, elements, unit * QUAD, QUAD, LANE_BITS)

    def see_rows(self, memory):
        get, elements = self.block.get, self.machine.heads * QUAD
        enable, data = get("row_enable"), get("row_data")
        self.see_port(memory, get("row"), enable, data, 0, elements, ACTIVATION_BITS)

    def see_port(self, memory, address, enable, data, first, elements, bits):
        for at in range(elements):
            i = first + at
            if enable >> at & 1:
                assert (address, i) not in memory, "written twice"
                value = data >> at * bits & ((1 << bits) - 1)
                memory[address, i] = value - (value >> (bits - 1) << bits)

    def random_sums(self, rows):
        magnitude = 1 << self.draw.integers(10, 24, rows + self.machine.units)
        sums = self.draw.integers(-magnitude, magnitude)
        sums[0], sums[1] = -(1 << 23), (1 << 23) - 1
        return sums

    def random_stream(self, rows):
        return self.draw.integers(-512, 512, rows + self.machine.units)


def scale(pair):
    return {"mantissa": pair[0], "exponent": pair[1]}


@pytest.fixture(
    params=[*CASES, *(pytest.param(case, marks=pytest.mark.nightly) for case in OTHERS)],
    ids=lambda case: f"{case[0]} lanes, {case[1]}",
    scope="module",
)
def writing(request, bench):
    return Writing(bench, *request.param)


def in_rows(config, base, values):
    """Return a vector by its places: quads go to the heads' banks in turn."""
    heads = config.heads
    return {
        (base + j // QUAD // heads, j // QUAD % heads * QUAD + j % QUAD): int(value)
        for j, value in enumerate(values)
    }


@pytest.mark.parametrize("source", Scale)
def test_values_of_every_scale_go_to_the_activation_memory(writing, source):
    rows = writing.config.hidden
    for shift, relu in ((1, False), (9, True), (12, False), (19, True)):
        instruction = {
            "destination": Destination.ACTIVATION,
            "target": writing.hidden,
            "rows": rows,
            "function": Function.RELU if relu else Function.NONE,
            "scale": source,
            "shift": shift - 1,
        }
        sums = writing.random_sums(rows)
        j = np.arange(rows)
        mantissa, exponent = {
            Scale.ONE: (UNIT_MANTISSA, 0),
            Scale.NORM: writing.norm,
            Scale.TEMPERATURE: writing.temperature,
            # Outputs of attention come out heads interleaved.
            Scale.SUM: np.array(writing.reciprocals)[j % writing.config.heads].T,
        }[source]
        expected = arithmetic.requantise(sums[:rows], mantissa, shift + exponent, ACTIVATION_BITS)
        expected = np.maximum(expected, 0) if relu else expected
        memories = writing.write(instruction, sums, writing.random_stream(rows))
        assert memories.results == expected.tolist()
        assert memories.rows == in_rows(writing.config, writing.hidden, expected)
        assert not memories.words


def test_the_residual_is_added_and_saturates(writing):
    rows = writing.config.width
    instruction = {
        "destination": Destination.STREAM,
        "target": writing.layout.stream,
        "rows": rows,
        "combination": Combination.ADD,
        "scale": Scale.ONE,
        "shift": 11,
    }
    sums, stream = writing.random_sums(rows), writing.random_stream(rows)
    stream[0], stream[1] = -400, 400
    added = arithmetic.requantise(sums, UNIT_MANTISSA, 12, ACTIVATION_BITS) + stream
    expected = arithmetic.saturate(added, ACTIVATION_BITS)[:rows]
    assert expected[:2].tolist() == [-512, 511]
    memories = writing.write(instruction, sums, stream)
    assert memories.results == expected.tolist()
    assert memories.rows == in_rows(writing.config, writing.layout.stream, expected)
    assert not memories.words


def test_the_raw_embedding_is_scaled_and_stays_out_of_the_activation_memory(writing):
    rows = writing.config.width
    instruction = {
        "destination": Destination.RESIDUAL,
        "rows": rows,
        "scale": Scale.NORM,
        "shift": 10,
        "input": Input.STREAM,
    }
    stream = writing.random_stream(rows) // 2
    mantissa, exponent = writing.norm
    raised = stream[:rows] << EMBEDDING_SHIFT
    expected = arithmetic.requantise(raised, mantissa, 11 + exponent, ACTIVATION_BITS)
    memories = writing.write(instruction, writing.random_sums(rows), stream)
    assert memories.results == expected.tolist()
    assert not memories.rows
    assert not memories.words


def test_logits_are_wide_and_stay_out_of_the_memories(writing):
    rows = writing.config.vocabulary
    instruction = {
        "destination": Destination.LOGITS,
        "rows": rows,
        "scale": Scale.TEMPERATURE,
        "shift": 0,
    }
    sums = writing.random_sums(rows)
    mantissa, exponent = writing.temperature
    expected = arithmetic.requantise(sums[:rows], mantissa, 1 + exponent, LOGIT_BITS)
    memories = writing.write(instruction, sums, writing.random_stream(rows))
    assert memories.results == expected.tolist()
    assert not memories.rows
    assert not memories.words


@pytest.mark.parametrize("destination", [Destination.KEY, Destination.VALUE])
def test_keys_and_values_of_every_position_lie_where_the_engine_reads_them(writing, destination):
    m, layout, c = writing.machine, writing.layout, writing.config
    is_key = destination == Destination.KEY
    rows = len(layout.order(layout.network[0, "k" if is_key else "v"]))
    base = (layout.key_base if is_key else layout.value_base)(c.layers - 1)
    stride = layout.key_stride if is_key else layout.value_stride
    bits = m.cache.widths[0 if is_key else 1]
    instruction = {
        "destination": destination,
        "target": base,
        "rows": rows,
        "scale": Scale.NORM,
        "shift": 11,
    }
    mantissa, exponent = writing.norm
    occupied = {}
    for position in range(c.context):
        sums = writing.random_sums(rows)
        values = arithmetic.requantise(sums[:rows], mantissa, 12 + exponent, bits).tolist()
        memories = writing.write(instruction, sums, writing.random_stream(rows), position)
        expected = {}
        for j, value in enumerate(values):
            if is_key:
                # Unit u of pass n scores position s // heads for head s % heads, s = n * units + u.
                head, quad, lane = j // QUAD % c.heads, j // QUAD // c.heads, j % QUAD
                pass_, unit = divmod(position * c.heads + head, m.units)
                word = base + pass_ + quad * stride
            else:
                # Unit u of pass n sums up element n * units + u; a quad has four positions.
                pass_, unit = divmod(j, m.units)
                quad, lane = divmod(position, QUAD)
                word = base + pass_ * stride + quad
            expected[word, unit * QUAD + lane] = value
        assert memories.words == expected
        assert not memories.rows
        assert not occupied.keys() & expected.keys(), "two positions share a byte"
        occupied |= expected
    end = layout.value_base(c.layers - 1) if is_key else layout.operand_words
    assert min(occupied)[0] >= base
    assert max(occupied)[0] < end


def test_embeddings_are_written_like_a_stream(writing):
    m, width = writing.machine, writing.config.width
    values = writing.draw.integers(-256, 255, width)
    memories, seen = Memories(), []
    for index in range(0, width, m.writers):
        writing.block.set(
            embedding__valid=1,
            embedding__index=index,
            embedding__last=index + m.writers == width,
            embedding__elements=values[index : index + m.writers].tolist(),
        )
        writing.block.step()
        result = writing.block.get("o__beat")
        assert result.enable == (1 << m.writers) - 1
        assert (result.index, result.last) == (index, index + m.writers == width)
        assert {name for name, on in result.to.items() if on} == {"activations", "norm", "stream"}
        assert result.operation == m.embedding_operation
        seen += [result["values"][i] for i in range(m.writers)]
        writing.see_rows(memories.rows)
    writing.block.set(embedding__valid=0)
    writing.block.step()
    assert seen == values.tolist()
    assert memories.rows == in_rows(writing.config, writing.layout.stream, values)
    assert writing.block.get("o__beat").enable == 0
