"""Instruction words mean to the hardware what the firmware put in."""

from enum import IntEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptloom.firmware.isa import (
    ISSUE_BYTES,
    ISSUE_WIDTHS,
    MAX_INSTRUCTIONS,
    RESULT_WIDTHS,
    WIDTHS,
    Destination,
    Instruction,
    Kind,
    Scale,
)
from gptloom.firmware.machine import INSTRUCTION_BYTES
from gptloom.hdl.folded import layouts

LARGEST = {name: (1 << width) - 1 for name, width in WIDTHS.items()}
ENUMS = {"kind": Kind, "destination": Destination, "scale": Scale}


def read(instruction):
    """All fields, as the hardware reads them from its two memories."""
    word = instruction.encode()
    assert word < 1 << (8 * INSTRUCTION_BYTES)
    issue, result = word & ((1 << 8 * ISSUE_BYTES) - 1), word >> 8 * ISSUE_BYTES
    issued, ordered = layouts.Instruction.from_bits(issue), layouts.Order.from_bits(result)
    return {n: issued[n] for n in ISSUE_WIDTHS} | {n: ordered[n] for n in RESULT_WIDTHS}


def field(name):
    if name in ENUMS:
        return st.sampled_from(ENUMS[name])
    if type(getattr(Instruction(), name)) is bool:
        return st.booleans()
    return st.integers(0, LARGEST[name])


@settings(deadline=None, derandomize=True)
@given(st.fixed_dictionaries({name: field(name) for name in WIDTHS}))
def test_the_hardware_reads_every_field(values):
    assert read(Instruction(**values)) == {k: int(v) for k, v in values.items()}


@pytest.mark.parametrize("name", [name for name in WIDTHS if name not in ENUMS])
def test_a_field_on_its_own(name):
    for value in (1, LARGEST[name]):
        fields = read(Instruction(**{name: value}))
        assert {n: v for n, v in fields.items() if v} == {name: value}


@pytest.mark.parametrize("name", WIDTHS)
def test_what_does_not_fit_is_refused(name):
    for value in (-1, LARGEST[name] + 1):
        with pytest.raises(ValueError, match=f"{name} {value} does not fit"):
            Instruction(**{name: value}).encode()


@pytest.mark.parametrize(("name", "enum"), ENUMS.items())
def test_every_member_has_a_code(name, enum):
    assert issubclass(enum, IntEnum)
    assert max(enum) <= LARGEST[name]


def test_the_numbers_of_results_leave_one_for_the_embedding():
    assert (1 << layouts.OPERATION_BITS) - 1 == MAX_INSTRUCTIONS
