"""Shapes at the limits: the largest that fits is encoded without loss, the next is refused."""

import re
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gptloom.firmware.fit import ADDRESS_BITS, MOST
from gptloom.firmware.isa import Destination, InstructionLayout, Kind
from gptloom.firmware.latencies import Latencies
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import LANES, QUAD, Machine
from gptloom.firmware.program import compile_program
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.formats import STANDARD

SMALL = ModelConfig(width=16, heads=1, hidden=16, context=16, vocabulary=16)


def refusal(config, lanes=16):
    with pytest.raises(UserError) as error:
        Machine.for_models(lanes, config)
    message = str(error.value)
    assert re.fullmatch(r"[^\n]+: [^\n]+[^.]", message)
    return message


@pytest.mark.parametrize("name", MOST)
def test_one_more_than_the_most_is_refused(name):
    step = {"width": 4, "hidden": 4, "context": 4, "heads": 16}.get(name, 1)
    width = 1024 if name in ("heads", "width") else 16
    config = replace(SMALL, **{"width": width, name: MOST[name]})
    for lanes in LANES:
        Machine.for_models(lanes, config)
    message = refusal(replace(config, **{name: MOST[name] + step}))
    assert f"{name} {MOST[name] + step} is {step} more than" in message
    assert f"use at most {MOST[name]}" in message


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        (dict(width=18), "width 18 does not divide into fours: use 16 or 20"),
        (dict(hidden=30), "hidden 30 does not divide into fours: use 28 or 32"),
        (dict(context=10), "context 10 does not divide into fours: use 8 or 12"),
        (dict(context=3), "context 3 does not divide into fours: use 4"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(shape, advice):
    assert refusal(replace(SMALL, **shape)) == advice


def test_the_load_port_reaches_all_of_the_largest_model():
    largest = ModelConfig(16, 1024, 16, 1024, 1024, 4096)
    for lanes in LANES:
        machine = Machine.for_models(lanes, largest, slots=4)
        assert machine.operand_words * machine.lanes <= 1 << ADDRESS_BITS


class Shifts:
    """Stand-in for a model with only the shape and shifts that a program needs."""

    def __init__(self, config):
        self.config, self.precision = config, STANDARD
        self.shifts = defaultdict(lambda: 1)


def scheduled(lanes, config):
    """Return the layout and the program of a shape."""
    layout = Layout(Machine.for_models(lanes, config), config)
    return layout, [scheduled.instruction for scheduled in compile_program(Shifts(config), layout)]


quads = st.integers(1, 64).map(lambda n: 4 * n) | st.sampled_from((128, 256, 512, 1020, 1024))


@st.composite
def shapes(draw):
    """Return lanes and a shape, with sizes around powers of two half of the time."""
    heads = draw(st.sampled_from((1, 2, 4, 8, 16)))
    width = draw(quads)
    assume(width % heads == 0)
    config = ModelConfig(
        layers=draw(st.integers(1, 16)), width=width, heads=heads, hidden=draw(quads),
        context=draw(quads), vocabulary=draw(st.integers(2, 300) | st.just(4096)),
    )  # fmt: skip
    return draw(st.sampled_from(LANES)), config


@given(shapes())
@example((8, ModelConfig(heads=2, width=60, hidden=120)))
@settings(deadline=None, derandomize=True, database=None, max_examples=100)
def test_every_number_of_a_program_fits_its_field(case):
    lanes, config = case
    layout, program = scheduled(lanes, config)
    machine, fields = layout.machine, InstructionLayout(layout.machine)
    for number, instruction in enumerate(program):
        fields.encode(instruction)
        assert number < machine.embedding_operation
        assert instruction.rows + machine.units <= 1 << machine.row_bits
        if instruction.kind is Kind.MATRIX:
            end = instruction.base + instruction.passes * instruction.quads
            assert end <= layout.weight_words <= 1 << machine.address_bits
    assert layout.operand_words <= machine.operand_words <= 1 << machine.address_bits
    assert layout.activation_words <= machine.activation_words
    # Noise is ready before the logits.
    last = program[-1]
    assert last.destination is Destination.LOGITS
    latencies = Latencies.of(machine)
    widest = max(config.width, config.hidden) * 127 * 512
    keys, values = config.head_width * 128 * 512, config.context * 128 * 511
    assert max(widest, keys, values) < 1 << machine.accumulator_bits - 1
    assert latencies.reciprocals == (max(0, config.heads - 4) if machine.writers > 1 else 0)


def test_values_do_not_overwrite_weights():
    """Values of this shape end beyond word 4,096, where addresses once had 12 bits."""
    layout, _ = scheduled(8, ModelConfig(heads=2, width=60, hidden=120))
    end = layout.value_base(0) + layout.value_passes * layout.value_stride
    assert layout.machine.operand_words >= end == 4118 > 1 << 12
    assert layout.machine.address_bits == 13
    assert layout.config.context % QUAD == 0
