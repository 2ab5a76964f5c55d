"""What other programs and chips do with this model: figures that are not measured here."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_FILE = Path(__file__).with_name("peers.toml")


class Kind(StrEnum):
    """What a peer runs on."""

    FPGA = "fpga"
    CPU = "cpu"
    GPU = "gpu"


class Figure(StrEnum):
    """Whose figure it is."""

    PUBLISHED = "published"
    MEASURED = "measured by us"


@dataclass(frozen=True)
class Peer:
    """One line of ``peers.toml``, which says what the fields are; None for what nobody has told."""

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
