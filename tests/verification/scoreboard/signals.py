"""The scoreboard's watched signals, inside the folded core, and how each is judged."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from amaranth.hdl import Shape
from numpy.typing import NDArray

from gptloom.firmware.machine import EXPONENT_ROW_BITS, QUAD, Machine
from gptloom.firmware.regions import Region
from gptloom.hdl.core import Address, Counters, Prompt, Token, Write
from gptloom.hdl.folded.layouts import (
    Scale,
    Temperature,
    issues,
    job,
    results,
)
from gptloom.model.arithmetic import (
    LOGIT_BITS,
    MANTISSA_BITS,
    ROTARY_FRACTION,
    SILU_RESULT_BITS,
)
from gptloom.model.cache import Eviction
from gptloom.model.golden import MAX_POSITION
from gptloom.model.positions import Positions
from gptloom.model.sampling import SEED_BITS
from gptloom.model.tables import NOISE_BITS, softmax_limit
from gptloom.sim.engines.base import WORD_BITS

Words = NDArray[np.uint64]

TURN_BITS = ROTARY_FRACTION + 1
"""Bits of a sine or cosine."""

__all__ = ["STIMULUS", "Judged", "Signal", "Signals"]


class Judged(Enum):
    """Cycles in which a signal is compared."""

    ALWAYS = "always"
    """In every cycle: zero if nothing is due."""
    DUE = "when due"
    """Only in cycles in which a value is due."""
    HELD = "held"
    """In every cycle: a value that was due holds until another one is."""
    INPUT = "input"
    """Never: it is an input, from which all expected values follow."""


@dataclass(frozen=True)
class Signal:
    """One watched signal.

    Attributes
    ----------
    path
        Name in the simulation.
    width
        Width in bits.
    judged
        Cycles in which it is compared.
    always
        Bits compared in every cycle, of a signal judged ``ALWAYS``; the others only when due.
    resets
        Whether a reset sets a held signal to zero; otherwise it is then undefined.
    """

    path: str
    width: int
    judged: Judged
    always: int = 0
    resets: bool = True

    @property
    def words(self) -> int:
        """Number of columns it takes."""
        return -(-self.width // WORD_BITS)


STIMULUS = {
    "rst": 1,
    "i__valid": 1,
    "i__payload": Shape.cast(Prompt).width,
    "o__ready": 1,
    "temperature": Temperature.size,
    "seed__valid": 1,
    "seed__payload": SEED_BITS,
    "load__valid": 1,
    "load__payload": Shape.cast(Write).width,
    "read__valid": 1,
    "read__payload": Shape.cast(Address).width,
}
"""The core's inputs and their widths: each fits one column, and these are the first columns."""


class Signals:
    """All watched signals of one machine, in columns of 64 bits, upstream first.

    Attributes
    ----------
    columns
        First column of each signal by path.
    held
        First column of each held signal, among the columns of held signals alone.
    held_resets
        Flags for those that a reset sets to zero.
    """

    def __init__(self, machine: Machine):
        self.all = tuple(_watched(machine))
        self.columns: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.by_path = {signal.path: signal for signal in self.all}
        self._owners: list[tuple[Signal, int]] = []
        held = 0
        for signal in self.all:
            self.columns[signal.path] = len(self._owners)
            self._owners += [(signal, word) for word in range(signal.words)]
            if signal.judged is Judged.HELD:
                self.held[signal.path] = held
                held += signal.words
        self.count = len(self._owners)
        self.held_count = held
        self.held_resets = np.array([s.resets for s, _ in self._owners if s.judged is Judged.HELD])
        self.held_columns = [
            column for column, (s, _) in enumerate(self._owners) if s.judged is Judged.HELD
        ]

    @property
    def paths(self) -> list[str]:
        """Names of all signals, for `Engine.record`."""
        return [signal.path for signal in self.all]

    def owner(self, column: int) -> tuple[Signal, int]:
        """Return a column's signal, and which word of it the column is."""
        return self._owners[column]

    def column_masks(self) -> Words:
        """Return the mask of the signal's bits, for every column."""
        return np.array(
            [
                (1 << min(signal.width - WORD_BITS * number, WORD_BITS)) - 1
                for signal, number in self._owners
            ],
            np.uint64,
        )

    def always(self) -> Words:
        """Return the mask of bits judged in every cycle, for every column."""
        word = (1 << WORD_BITS) - 1
        return np.array(
            [signal.always >> (WORD_BITS * number) & word for signal, number in self._owners],
            np.uint64,
        )


def _watched(machine: Machine) -> Iterator[Signal]:
    for path, width in STIMULUS.items():
        yield Signal(path, width, Judged.INPUT)
    yield from _control(machine)
    yield from _mac_array(machine)
    yield from _results(machine)
    yield from _functions(machine)
    yield from _memories(machine)


def _always(path: str, width: int = 1, mask: int | None = None) -> Signal:
    return Signal(path, width, Judged.ALWAYS, (1 << width) - 1 if mask is None else mask)


def _due(path: str, width: int) -> Signal:
    return Signal(path, width, Judged.DUE)


def _held(path: str, width: int = 1, resets: bool = True) -> Signal:
    return Signal(path, width, Judged.HELD, resets=resets)


def token_paths(machine: Machine) -> tuple[str, str, str]:
    """Return the names of the present token, its position, and whether its logits are wanted."""
    token = "token_row" if machine.gated else "embedding"
    # Only learned positions are read where the token is.
    position = "embedding" if machine.positions is Positions.LEARNED else "control"
    return f"{token}.token", f"{position}.position", "sequencer.sample"


def strobes(machine: Machine) -> dict[Region, str]:
    """Return the names of the strobes that write a byte of a region, one byte a cycle."""
    if machine.gated:
        found = {
            Region.TOKENS: "exponents.tokens",
            Region.POSITIONS: "rotation.speeds",
            Region.EXPONENTS: "exponents.rows",
            Region.GAINS: "gains.table",
            Region.PROGRAM: "issue_program",
        }
        return {region: f"{table}.write_enable" for region, table in found.items()}
    learned = {Region.POSITIONS: "embedding.write_positions"}
    return {
        Region.TOKENS: "embedding.write_tokens",
        **(learned if machine.positions is Positions.LEARNED else {}),
        Region.PROGRAM: "issue_program.write_enable",
    }


def _control(machine: Machine) -> Iterator[Signal]:
    yield _always("i__ready")
    yield _always("seed__ready")
    yield _always("load__ready")
    yield _always("read__ready")
    yield _due("read_data", 8)
    yield _always("busy")
    yield _always("control.start")
    positions = machine.context if machine.eviction is Eviction.NONE else MAX_POSITION + 1
    widths = machine.vocabulary, positions, 2
    for path, values in zip(token_paths(machine), widths, strict=True):
        yield _held(path, _bits(values))
    yield _always("o__valid")
    yield _due("o__payload", Shape.cast(Token).width)
    yield _always("counters", Shape.cast(Counters).width)


def _mac_array(machine: Machine) -> Iterator[Signal]:
    yield _always("sequencer.issue", issues(machine).size, mask=1)
    yield _always("sequencer.scores_begin")
    yield _always("sequencer.finished")
    yield _due("operands.address", machine.address_bits)
    yield _due("activations.address", _bits(machine.activation_words))
    for unit in range(machine.units):
        yield _due(f"operands.words__{unit}", machine.unit_bits)
    yield _due("activations.quads", machine.heads * QUAD * machine.element_bits)
    if machine.overlaps:
        yield _due("mac_array.numerators", machine.heads * QUAD * machine.element_bits)
    for unit in range(machine.units):
        yield _held(f"mac_array.total_{unit}", machine.accumulator_bits, resets=False)
    yield _always("mac_array.done")
    yield _due("mac_array.job", job(machine).size)


def _results(machine: Machine) -> Iterator[Signal]:
    yield _always("drain.o__valid")
    yield _always("drain.scores__valid")
    yield _due("drain.o__enable", machine.writers)
    yield _due("drain.o__index", machine.row_bits)
    yield _due("drain.o__last", 1)
    for i in range(machine.writers):
        yield _due(f"drain.o__sums__{i}", machine.accumulator_bits)
    if machine.gated:
        yield _due("exponents.o", machine.writers * EXPONENT_ROW_BITS)
        yield _due("gains.elements", machine.writers * machine.precision.weights)
        yield _due("writeback.functions.i", machine.writers * LOGIT_BITS)
        yield _due("rotation.turns", machine.writers * TURN_BITS)
    for i in range(machine.score_heads * machine.score_positions):
        yield _due(f"drain.scores__sums__{i}", machine.accumulator_bits)
    yield _always("writeback.o__beat", results(machine).size, mask=(1 << machine.writers) - 1)


def _memories(machine: Machine) -> Iterator[Signal]:
    elements = machine.heads * QUAD
    yield _always("activations.write_enable", elements)
    yield _due("activations.write_address", _bits(machine.activation_words))
    yield _due("activations.write_data", elements * machine.element_bits)
    yield from _beside(machine, "stream", machine.stream_elements, machine.precision.stream)
    if machine.gated:
        yield from _beside(machine, "gates", machine.inputs, SILU_RESULT_BITS)
    yield _due("operands.write_address", machine.address_bits)
    for unit in range(machine.units):
        yield _always(f"operands.write_enable__{unit}", QUAD)
        yield _due(f"operands.write_data__{unit}", machine.unit_bits)
    for path in strobes(machine).values():
        yield _always(path)


def _beside(machine: Machine, memory: str, elements: int, bits: int) -> Iterator[Signal]:
    """Yield a memory's write port, which takes as many elements as are written in a cycle."""
    yield _always(f"{memory}.write_enable", machine.writers)
    yield _due(f"{memory}.write_address", _bits(max(2, -(-elements // machine.writers))))
    yield _due(f"{memory}.write_data", machine.writers * bits)


def numerator_paths(machine: Machine, head: int) -> list[str]:
    """Return the names of a head's numerators, at positions in a row."""
    if machine.softmax_positions == 1:
        return [f"softmax.numerator_{head}"]
    return [f"softmax.numerator_{head}_{i}" for i in range(machine.softmax_positions)]


def _functions(machine: Machine) -> Iterator[Signal]:
    for head in range(machine.heads):
        yield _held(f"softmax.maximum_{head}", machine.element_bits, resets=False)
        for path in numerator_paths(machine, head):
            yield _due(path, MANTISSA_BITS)
        bits = softmax_limit(machine.context).bit_length()
        yield _held(f"softmax.total_{head}", bits, resets=False)
    yield _always("softmax.reading")
    yield _always("softmax.tap_valid")
    yield _due("softmax.tap_numerators", 1)
    yield _due("softmax.tap_position", _bits(machine.context))
    yield _due("softmax.tap_heads", machine.heads)
    taps = machine.softmax_positions * machine.heads
    yield _due("softmax.tap_scores", taps * machine.element_bits)
    yield _held("softmax.ready")
    yield _held("softmax.reciprocals", machine.heads * Scale.size)
    yield _held("norm.norm", Scale.size)
    yield _due("sampler.noise.values", machine.writers * NOISE_BITS)
    yield _always("sampler.done")
    yield _due("sampler.token", _bits(machine.vocabulary))


def _bits(values: int) -> int:
    return (values - 1).bit_length()
