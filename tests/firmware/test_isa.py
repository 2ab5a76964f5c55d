"""The hardware decodes instruction words as the firmware encodes them."""

from enum import IntEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptloom.firmware.isa import (
    FIELDS,
    Combination,
    Destination,
    Exponents,
    Function,
    Input,
    Instruction,
    InstructionLayout,
    Kind,
    Scale,
)
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded import layouts
from gptloom.model.config import ModelConfig
from gptloom.model.formats import FINE

MACHINES = [
    Machine.for_models(64, ModelConfig()),
    Machine.for_models(8, ModelConfig(width=8, heads=1, hidden=8, context=4, vocabulary=2)),
    Machine.for_models(16, ModelConfig(16, 1024, 16, 1024, 1024, 4096)),
    Machine.for_models(
        64, ModelConfig(family="llama", positions="rotary", kv_heads=2), precision=FINE
    ),
]
ENUMS = {
    "kind": Kind,
    "destination": Destination,
    "function": Function,
    "combination": Combination,
    "scale": Scale,
    "input": Input,
    "exponents": Exponents,
}


def widths(machine):
    layout = InstructionLayout(machine)
    return layout.issue | layout.result


def read(machine, instruction):
    """Return all fields, as the hardware reads them from its two memories."""
    layout = InstructionLayout(machine)
    data = layout.encode(instruction)
    assert len(data) == layout.bytes <= layout.stride < 2 * layout.bytes
    issue, result = data[: layout.issue_bytes], data[layout.issue_bytes :]
    halves = (
        shape.from_bits(int.from_bytes(half, "little") & ((1 << shape.size) - 1))
        for shape, half in (
            (layouts.issue_fields(machine), issue),
            (layouts.result_fields(machine), result),
        )
    )
    return {name: half[name] for half in halves for name, _ in half.shape()}


def field(name):
    if name in ENUMS:
        return st.sampled_from(ENUMS[name])
    if type(getattr(Instruction(), name)) is bool:
        return st.booleans()
    return st.floats(0, 1)


@settings(deadline=None, derandomize=True)
@given(st.sampled_from(MACHINES), st.fixed_dictionaries({name: field(name) for name in FIELDS}))
def test_the_hardware_reads_every_field(machine, parts):
    values = {
        name: int(part * ((1 << widths(machine)[name]) - 1))
        if type(part) is float
        # Small machines lack the later ones.
        else min(part, (1 << widths(machine)[name]) - 1)
        for name, part in parts.items()
    }
    assert read(machine, Instruction(**values)) == {k: int(v) for k, v in values.items()}


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in ENUMS])
def test_a_field_on_its_own(name):
    for machine in MACHINES:
        for value in {1, (1 << widths(machine)[name]) - 1}:
            fields = read(machine, Instruction(**{name: value}))
            assert {n: v for n, v in fields.items() if v} == {name: value}


@pytest.mark.parametrize("name", FIELDS)
def test_what_does_not_fit_is_refused(name):
    for machine in MACHINES:
        for value in (-1, 1 << widths(machine)[name]):
            with pytest.raises(ValueError, match=f"{name} {value} does not fit"):
                InstructionLayout(machine).encode(Instruction(**{name: value}))


@pytest.mark.parametrize(("name", "enum"), ENUMS.items())
def test_every_member_has_a_code(name, enum):
    assert issubclass(enum, IntEnum)
    assert max(enum) < 1 << widths(MACHINES[3])[name]


def test_small_machines_have_small_instructions():
    large, small = (sum(widths(MACHINES[i]).values()) for i in (2, 1))
    assert small < 50 < large


def test_the_numbers_of_results_leave_one_for_the_embedding():
    for machine in MACHINES:
        assert machine.program_words <= machine.embedding_operation < 2 * machine.program_words + 1
