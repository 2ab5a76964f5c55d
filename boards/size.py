"""The model of lookup tables and flip-flops: a sum of parts, each a count times a coefficient.

The coefficients are fitted for each family of parts, and there for each family of models, on
designs that were synthesised and packed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from gptloom.boards.memories import ROM_BIT, Placed
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.memories import bank_depths
from gptloom.model.family import Family

FIGURES = ("lut", "ff")
TERMS = ("fixed", "deep", "lane", "writer", "head", "fabric", "bank")
"""Parts that have a coefficient: the core itself, a deep machine's additional registers, and every
lane, writer, head, lane that multiplies in lookup tables, and lane of another bank of operands."""

DISTRIBUTED = 4
"""Lookup tables of a cell of distributed RAM."""

Coefficients = Mapping[str, float]
"""Coefficients by the names of ``TERMS``."""


def kind(parts: str, family: Family) -> str:
    """Return the name of designs that share coefficients: those of both families."""
    return f"{parts}, gated" if family is Family.LLAMA else parts


def terms(machine: Machine, fabric: int, memories: Placed) -> dict[str, float]:
    """Return the number of each part in a design.

    Parameters
    ----------
    machine
        Dimensions of the core.
    fabric
        Number of lanes that multiply in lookup tables.
    memories
        Cells that its memories take; those in logic are counted under ``memory``, in lookup tables.
    """
    return {
        "fixed": 1,
        "deep": int(machine.deep),
        "lane": machine.lanes,
        "writer": machine.writers,
        "head": machine.heads,
        "fabric": fabric,
        "bank": machine.lanes * (len(bank_depths(machine.operand_words)) - 1),
        "memory": (
            DISTRIBUTED * memories.distributed + memories.multiplexers + ROM_BIT * memories.rom_bits
        ),
    }


@dataclass(frozen=True)
class Point:
    """A synthesised design.

    Attributes
    ----------
    terms
        See :func:`terms`.
    size
        Measured size, by the names of ``FIGURES``.
    """

    terms: Mapping[str, float]
    size: Mapping[str, int]


@dataclass(frozen=True)
class SizeModel:
    """Coefficients by kind of design and figure."""

    coefficients: Mapping[str, Mapping[str, Coefficients]]

    def size(self, kind: str, terms: Mapping[str, float]) -> dict[str, int]:
        """Return a design's lookup tables (on an iCE40: logic cells) and flip-flops."""
        size = {}
        for figure, coefficients in self.coefficients[kind].items():
            total = sum(coefficients[name] * terms[name] for name in TERMS)
            size[figure] = round(total + _known(figure, terms))
        return size


def _known(figure: str, terms: Mapping[str, float]) -> float:
    """Return the part that needs no coefficient."""
    return terms["memory"] if figure == "lut" else 0.0


def fit(points: Iterable[Point]) -> dict[str, dict[str, float]]:
    """Return the coefficients that minimise the sum of squared relative errors.

    Of those that several designs do not tell apart, the smallest.
    """
    points = list(points)
    fitted = {}
    for figure in FIGURES:
        sizes = np.array([point.size[figure] for point in points], float)
        known = np.array([_known(figure, point.terms) for point in points])
        counts = np.array([[point.terms[name] for name in TERMS] for point in points], float)
        solution, *_ = np.linalg.lstsq(counts / sizes[:, None], 1 - known / sizes, rcond=None)
        fitted[figure] = {
            name: round(float(value), 2) for name, value in zip(TERMS, solution, strict=True)
        }
    return fitted
