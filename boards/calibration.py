"""The designs that the size model is fitted on: synthesised, packed, and recorded.

``gptloom estimate --calibrate`` makes the record anew; it is due when the hardware or the tools
have changed. Packing turns yosys' cells into those that a part has (carry chains, lookup tables
beside flip-flops), so nextpnr does it here as well, but goes no further.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from gptloom.boards.build import Stage, processors, synthesis_script
from gptloom.boards.contents import placeholder
from gptloom.boards.design import NAME, elaborate
from gptloom.boards.estimate import fabric, placed_memories
from gptloom.boards.families import FAMILIES
from gptloom.boards.results import PAGE
from gptloom.boards.size import Point, SizeModel, fit, kind, terms
from gptloom.boards.table import find_board
from gptloom.boards.tools import Tools
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.model.checkpoint import Checkpoint, load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.files import write_json
from gptloom.model.formats import FINE
from gptloom.model.integer import IntegerModel
from gptloom.model.quantise import quantise
from gptloom.model.tokenizers.characters import Characters

CALIBRATION = Path(__file__).resolve().parent / "calibration.json"

Shape = str | Mapping[str, int | str | bool]
"""A shipped checkpoint, or dimensions that differ from microGPT's, with random weights."""

WIDE = {"width": 32, "heads": 2, "hidden": 128, "context": 32, "vocabulary": 40}

LLAMA = {
    "layers": 1, "width": 64, "heads": 8, "hidden": 172, "context": 64, "vocabulary": 65,
    "family": "llama", "positions": "rotary", "kv_heads": 4, "tied": True,
}  # fmt: skip

DESIGNS: tuple[tuple[str, int, Shape], ...] = (
    ("ice40-hx8k", 8, "names"),
    ("ice40-hx8k", 16, "names"),
    ("ice40-hx8k", 32, "names"),
    ("icebreaker", 8, "names"),
    ("icebreaker", 16, "names"),
    ("icebreaker", 32, "names"),
    ("ice40-hx8k", 8, "names-2l"),
    ("ice40-hx8k", 8, {"heads": 1}),
    ("ice40-hx8k", 8, {"heads": 2}),
    ("ice40-hx8k", 16, WIDE),
    ("ulx3s-25f", 8, "names"),
    ("ulx3s-25f", 16, "names"),
    ("ulx3s-25f", 32, "names"),
    ("ulx3s-25f", 64, "names"),
    ("ulx3s-85f", 32, "names"),
    ("ulx3s-85f", 64, "names"),
    ("ulx3s-25f", 8, {"heads": 2}),
    ("ulx3s-25f", 16, "names-24"),
    ("ulx3s-25f", 16, {"heads": 1}),
    ("ulx3s-25f", 16, {"heads": 2}),
    ("ulx3s-25f", 16, WIDE),
    ("ulx3s-85f", 32, LLAMA),
    ("ulx3s-85f", 64, LLAMA),
    ("ulx3s-85f", 128, LLAMA),
    ("ulx3s-85f", 64, LLAMA | {"heads": 4}),
    ("ulx3s-25f", 32, LLAMA),
    ("ulx3s-85f", 64, LLAMA | {"layers": 5, "context": 256}),
)
"""Board, lanes and model of every design. Every coefficient occurs at several counts; designs that
fit no part (as 32 lanes on an iCE40) are packed all the same."""


@dataclass(frozen=True)
class Packed:
    """One design as it was packed.

    Attributes
    ----------
    board, lanes, model
        The design.
    lut, ff, dsp, bram
        Resources that it takes, counted as in a build's report.
    """

    board: str
    lanes: int
    model: Shape
    lut: int
    ff: int
    dsp: int
    bram: int

    @property
    def kind(self) -> str:
        """Kind of design, see :func:`.size.kind`."""
        return kind(find_board(self.board).family.name, make_model(self.model).config.family)


@dataclass(frozen=True)
class Calibration:
    """Contents of the record.

    Attributes
    ----------
    sizes
        The fitted model.
    designs
        Designs that it was fitted on.
    tools
        Versions of the tools that made them.
    """

    sizes: SizeModel
    designs: tuple[Packed, ...]
    tools: str


def load_calibration(path: Path | None = None) -> Calibration:
    """Read the record."""
    path = path or CALIBRATION
    record = json.loads(path.read_text())
    designs = tuple(Packed(**design) for design in record["designs"])
    return Calibration(SizeModel(record["coefficients"]), designs, record["tools"])


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write the record, whole or not at all."""
    record = {
        "tools": calibration.tools,
        "coefficients": calibration.sizes.coefficients,
        "designs": [asdict(design) for design in calibration.designs],
    }
    write_json(path, record)


def calibrate(folder: Path, tools: Tools, stage: Stage) -> Calibration:
    """Synthesise and pack all designs, fit the model on them, and record both.

    Parameters
    ----------
    folder
        Folder of the designs, each in a folder of its own.
    tools
        Tools to run.
    stage
        Shows progress.

    Raises
    ------
    UserError
        Outside a checkout, or if a tool fails.
    """
    if not PAGE.exists():
        raise UserError(
            "--calibrate changes boards/calibration.json of a checkout: run ./loom estimate in a "
            "clone of the repository"
        )
    versions = [
        tools.version(name)
        for name in ("yosys", *(family.place for family in FAMILIES.values()))
        if tools.find(name)
    ]
    with ThreadPoolExecutor(processors()) as pool:
        designs = tuple(pool.map(lambda design: _pack(*design, folder, tools, stage), DESIGNS))
    calibration = Calibration(SizeModel(fit_all(designs)), designs, ", ".join(versions))
    save_calibration(calibration, CALIBRATION)
    return calibration


def fit_all(designs: Iterable[Packed]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the coefficients by kind of design and figure."""
    points: dict[str, list[Point]] = {}
    for design in designs:
        points.setdefault(design.kind, []).append(point(design))
    return {kind: fit(some) for kind, some in points.items()}


def point(design: Packed) -> Point:
    """Return the terms and the size that a design contributes to the fit."""
    model, machine, board = *_machine(design.lanes, design.model), find_board(design.board)
    placed = placed_memories(model, machine, board)
    size = {"lut": design.lut, "ff": design.ff}
    return Point(terms(machine, fabric(board, machine), placed), size)


def compare(calibration: Calibration) -> Iterator[tuple[Packed, dict[str, int]]]:
    """Yield every design, and the size that the model gives it."""
    for design in calibration.designs:
        yield design, calibration.sizes.size(design.kind, point(design).terms)


def make_model(shape: Shape) -> IntegerModel:
    """Return a shipped checkpoint's model, or one with random weights; the same one every time."""
    return _make_model(shape if isinstance(shape, str) else tuple(shape.items()))


@cache
def _make_model(shape: str | tuple[tuple[str, int | str | bool], ...]) -> IntegerModel:
    if isinstance(shape, str):
        return quantise(load_checkpoint(shape))
    config = ModelConfig(**dict(shape))
    precision = FINE if config.family is Family.LLAMA else None
    draw = np.random.default_rng(1)
    weights = {
        name: draw.normal(0, 0.2, size).astype(np.float32)
        for name, size in config.weight_shapes().items()
    }
    characters = "".join(chr(ord("0") + i) for i in range(config.vocabulary - 1))
    rows = draw.integers(0, config.vocabulary, (64, config.context + 1)).astype(np.int16)
    return quantise(Checkpoint(config, Characters(characters), weights, rows), precision)


def _machine(lanes: int, shape: Shape) -> tuple[IntegerModel, Machine]:
    model = make_model(shape)
    return model, Machine.for_model(lanes, model)


def _pack(name: str, lanes: int, shape: Shape, folder: Path, tools: Tools, stage: Stage) -> Packed:
    """Synthesise one design as a build does, and have nextpnr pack it."""
    board = find_board(name)
    family = board.family
    model, machine = _machine(lanes, shape)
    label = shape if isinstance(shape, str) else "-".join(f"{k}{v}" for k, v in shape.items())
    folder = folder / f"{name}-{lanes}-{label}"
    folder.mkdir(parents=True, exist_ok=True)
    image = build_image(model, machine)
    sources = elaborate(board, image, machine, placeholder(image, machine))
    (folder / f"{NAME}.il").write_text(sources.rtlil)
    (folder / f"{NAME}.{family.constraints}").write_text(sources.constraints)
    (folder / f"{NAME}.ys").write_text(synthesis_script(board))
    with stage(f"{name}, {lanes} lanes, {label}: synthesis"):
        tools.run("yosys", ["-q", "-l", "synthesis.log", f"{NAME}.ys"], folder)
    arguments = [
        *family.part(board.make_platform()),
        "--json", f"{NAME}.json",
        f"--{family.constraints}", f"{NAME}.{family.constraints}",
        "--report", "packed.json",
        "--log", "packed.log",
        "--pack-only",
        "--quiet",
    ]  # fmt: skip
    with stage(f"{name}, {lanes} lanes, {label}: packing"):
        tools.run(family.place, arguments, folder)
    netlist = json.loads((folder / f"{NAME}.json").read_text())["modules"][NAME]
    report = json.loads((folder / "packed.json").read_text())
    used = {kind: count["used"] for kind, count in report["utilization"].items()}
    return Packed(
        board=name,
        lanes=lanes,
        model=shape,
        lut=used[family.logic],
        ff=sum(c["type"].startswith(family.flip_flop_cells) for c in netlist["cells"].values()),
        dsp=used.get(family.multipliers, 0),
        bram=used[family.memories],
    )
