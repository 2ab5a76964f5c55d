"""Multipliers and memories of a folded core, counted before it is built."""

from math import ceil

from gptloom.firmware.isa import InstructionLayout
from gptloom.firmware.machine import EXPONENT_ROW_BITS, QUAD, Machine
from gptloom.model.arithmetic import ROTARY_FRACTION, SILU_RESULT_BITS, WEIGHT_BITS
from gptloom.model.tables import NOISE_BITS, PHASE_BITS, SILU_INDEX_BITS


def multipliers(machine: Machine) -> dict[str, int]:
    """Return the number of multipliers by their use."""
    sums = {"sums": machine.head_width} if machine.recurrent else {}
    # A turned element is a sum of two products, a norm's has a gain.
    gated = {"rotation": 2 * machine.writers, "gate": machine.writers, "gain": machine.writers}
    if not machine.gated:
        gated = {}
    same = {"requantise": machine.writers, "norm": machine.writers}
    return {"MAC array": machine.lanes, **same, **sums, **gated}


def inferred_multipliers(machine: Machine) -> int:
    """Return how many multipliers synthesis makes of a part's own, beside the MAC array's.

    Requantisers never take any, and the rest of a machine that is not gated neither.
    """
    found = multipliers(machine)
    return sum(found.values()) - machine.lanes - found["requantise"] if machine.gated else 0


def memory_bits(machine: Machine) -> dict[str, int]:
    """Return the bits of every memory that can be read at one address a cycle, including ROMs."""
    elements, precision = machine.stream_elements, machine.precision
    embedding = {"token embedding": machine.vocabulary * elements * WEIGHT_BITS}
    if machine.gated:
        exponents = EXPONENT_ROW_BITS * machine.writers
        embedding = {
            "exponents": machine.exponent_words * exponents,
            "token exponents": ceil(machine.vocabulary / machine.writers) * exponents,
            "gains": elements * precision.weights,
            "gates": machine.inputs * SILU_RESULT_BITS,
            "sines": (ROTARY_FRACTION + 1) << PHASE_BITS,
            "SiLU": machine.writers * SILU_RESULT_BITS << SILU_INDEX_BITS,
        }
    return {
        "operands": machine.operand_words * machine.lanes * machine.lane_bits,
        "activations": machine.activation_words * machine.heads * QUAD * machine.element_bits,
        "stream": max(2 * machine.writers, elements) * precision.stream,
        "program": machine.program_words * InstructionLayout(machine).bytes * 8,
        **embedding,
        "positions": machine.position_words * machine.position_bytes * 8,
        "sums": machine.vocabulary * machine.heads * machine.sum_bits if machine.recurrent else 0,
        "noise table": NOISE_BITS << precision.noise_bits,
        "noise": ceil(machine.vocabulary / machine.writers) * machine.writers * NOISE_BITS
        if machine.writers > 1
        else 0,
    }
