"""Figures of other programs and chips with this model, which are not measured here."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_FILE = Path(__file__).with_name("peers.toml")


class Kind(StrEnum):
    """Hardware that a peer runs on."""

    FPGA = "fpga"
    CPU = "cpu"
    GPU = "gpu"


class Figure(StrEnum):
    """Origin of a figure."""

    PUBLISHED = "published"
    MEASURED = "measured by us"


@dataclass(frozen=True)
class Peer:
    """One line of ``peers.toml``, which explains the fields; None for figures nobody published."""

    name: str
    kind: Kind
    on: str
    figure: Figure
    parameters: int
    source: str = ""
    tokens_per_second: int | None = None
    together: int | None = None
    mhz: float | None = None
    cycles_per_token: int | None = None
    loss: float | None = None


def load_peers() -> list[Peer]:
    """Return all peers in the file's order."""
    lines = tomllib.loads(_FILE.read_text())["peer"]
    return [
        Peer(**line | {"kind": Kind(line["kind"]), "figure": Figure(line["figure"])})
        for line in lines
    ]
