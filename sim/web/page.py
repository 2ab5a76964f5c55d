"""The page: one HTML file with the chip, its worker, and everything that draws it."""

import base64
import gzip
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from amaranth.lib import data

from gptloom.firmware.image import build_image
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import Machine
from gptloom.firmware.page import encode_scale, writes_text
from gptloom.firmware.program import compile_program
from gptloom.hdl.core import TOKEN_BITS
from gptloom.hdl.display.font import GLYPHS
from gptloom.hdl.display.hd44780 import SLOTS, WAITING_ROUNDS
from gptloom.model.arithmetic import ACTIVATION_BITS
from gptloom.model.integer import IntegerModel
from gptloom.model.sites import Becomes
from gptloom.model.tokenizer import Tokenizer
from gptloom.model.tokenizers.characters import characters_of
from gptloom.model.tokenizers.pieces import Pieces
from gptloom.sim.engines.base import Progress
from gptloom.sim.web.chip import SEEN, WebChip, written_layout
from gptloom.sim.web.text_chip import TOLD, TextChip
from gptloom.sim.web.wasm import compile_wasm, require_zig

TEMPERATURE = 0.7
TEMPERATURES = (0, *(tenth / 10 for tenth in range(1, 21)))
"""Temperatures of the slider; 0 is greedy decoding."""

SIGNALS = (
    ("core control start", "token begins", 1, "number", True),
    ("core control position", "position", 8, "number", True),
    ("core sequencer operation", "instruction", "operation_bits", "operation", True),
    ("core sequencer running", "operands leave", 1, "number", True),
    ("core mac_array total_0", "accumulator 0", "accumulator_bits", "signed", True),
    ("core drain active", "results drain", 1, "number", True),
    ("core softmax busy", "softmax", 1, "number", True),
    ("core sampler done", "sampler done", 1, "number", True),
    ("sampled", "token leaves", 1, "number", True),
    ("core control sampled", "sampled token", 8, "token", True),
    ("tx", "serial TX", 1, "number", False),
    ("display__rs", "display RS", 1, "number", False),
    ("display__e", "display E", 1, "number", False),
    ("display__d", "display DB4-7", 4, "number", False),
)
"""Signals of the waveform: name, title, bits (or their name in :class:`.Machine`), format, and
whether it is shown at first."""

_WORKER = ("panel.js", "chip.js", "story.js", "worker.js")
_PAGE = ("shell.js", "panel.js", "drawing.js", "page.js", "signals.js", "start.js")


def make_page(
    model: IntegerModel,
    checkpoint: str,
    machine: Machine,
    clock_hz: float,
    cache: Path,
    progress: Progress,
) -> str:
    """Return the page of a model's chip: with a display, or of text if tokens are pieces of it.

    Parameters
    ----------
    model
        Model that the chip holds.
    checkpoint
        Name of the model.
    machine
        Dimensions of the core.
    clock_hz
        Clock frequency of the chip.
    cache
        Folder of compiled simulations.
    progress
        Called with a sentence about each slow step.

    Raises
    ------
    UserError
        If such hardware cannot be built, or the compiler is missing.
    """
    image = build_image(model, machine)
    if writes_text(model):
        chip = TextChip(image, machine)
        wasm = compile_wasm(chip, require_zig(), cache, progress)
        return assemble_text(describe_text(model, checkpoint, machine, clock_hz), wasm)
    chip = WebChip(image, machine, clock_hz)
    wasm = compile_wasm(chip, require_zig(), cache, progress)
    return assemble(describe(model, checkpoint, chip), wasm)


def describe(model: IntegerModel, checkpoint: str, chip: WebChip) -> dict[str, object]:
    """Return the facts about a chip that the page needs, ready for JSON."""
    config, machine = model.config, chip.machine
    layout = Layout(machine, config)
    schedule = compile_program(model, layout)
    slot_bits = chip.panel.slot_bits
    return {
        "checkpoint": checkpoint,
        "lanes": machine.lanes,
        "clock": chip.clock_hz,
        "layers": config.layers,
        "heads": config.heads,
        "context": config.context,
        "width": config.width,
        "bos": model.tokenizer.bos,
        "characters": characters_of(model.tokenizer),
        "temperature": TEMPERATURE,
        "temperatures": temperatures(model),
        "operations": [
            {"layer": scheduled.step.site.layer or 0, "site": scheduled.step.site.name}
            for scheduled in schedule
        ],
        "order": {
            "k" if site.becomes is Becomes.KEY else "v": layout.order(site).tolist()
            for site in layout.network.sites
            if site.is_cached
        },
        "scoreBits": ACTIVATION_BITS,
        "layout": {"seen": _fields(SEEN), "written": _fields(written_layout(machine))},
        "glyphs": {character: list(glyph) for character, glyph in GLYPHS.items()},
        # The panel waits, is initialised, and is written once.
        "panelBegins": (WAITING_ROUNDS + 2) * SLOTS << slot_bits,
        "characterCycles": 2 << slot_bits,
        "signals": [
            {
                "name": name,
                "title": title,
                "bits": getattr(machine, bits) if isinstance(bits, str) else bits,
                "format": form,
                "on": on,
            }
            for name, title, bits, form, on in SIGNALS
        ],
        "about": (
            f"A transformer of {config.layers} layer{'s' * (config.layers > 1)}, "
            f"{config.heads} heads and {config.width} channels, with {machine.lanes} multipliers, "
            f"its KV cache, sampler and a driver for an HD44780 display. It holds the model "
            f"“{checkpoint}”."
        ),
    }


def temperatures(model: IntegerModel) -> list[list[float]]:
    """Return the slider's temperatures, each with the core's input for it."""
    return [[t, encode_scale(model.logit_scale(t))] for t in TEMPERATURES]


def _fields(layout: data.StructLayout) -> dict[str, list[int]]:
    """Return each field's first bit and width."""
    return {name: [place.offset, place.width] for name, place in layout}


def assemble(
    config: dict[str, object],
    wasm: bytes,
    main: str = "page.html",
    worker: Sequence[str] = _WORKER,
    page: Sequence[str] = _PAGE,
) -> str:
    """Return the page with everything in it.

    Parameters
    ----------
    config
        See :func:`describe`.
    wasm
        The chip as a WebAssembly module.
    main, worker, page
        Files of the page's contents and of its scripts.
    """
    parts = {
        "style": _read("style.css"),
        # A tag within the JSON would end the script.
        "config": json.dumps(config, separators=(",", ":")).replace("<", "\\u003c"),
        # The time stamp is left out: the same chip makes the same page.
        "chip": base64.b64encode(gzip.compress(wasm, 9, mtime=0)).decode(),
        "worker": "\n".join(map(_read, worker)),
        "page": "\n".join(map(_read, page)),
    }
    whole = _read("frame.html").replace("{{main}}", _read(main))
    for name, part in parts.items():
        whole = whole.replace(f"{{{{{name}}}}}", part)
    return whole


def describe_text(
    model: IntegerModel, checkpoint: str, machine: Machine, clock_hz: float
) -> dict[str, object]:
    """Return the facts about a core that the page of a text needs, ready for JSON."""
    config, tokenizer = model.config, model.tokenizer
    chip = f"--checkpoint {checkpoint} --lanes {machine.lanes}"
    return {
        "bos": tokenizer.bos,
        "context": config.context,
        "clock": clock_hz,
        "prompt": "",
        "command": f"gptloom generate {chip} --rows {config.context}",
        "temperature": TEMPERATURE,
        "temperatures": temperatures(model),
        "tokenBits": TOKEN_BITS,
        "bits": {name: place.offset for name, place in TOLD},
        "text": {
            place: [_latin(tokenizer, token, before) for token in range(tokenizer.vocabulary)]
            for place, before in (("first", tokenizer.bos), ("later", None))
        },
        "tokenizer": tokenizer.to_encode() if isinstance(tokenizer, Pieces) else None,
        "about": (
            f"A transformer of the Llama family of {config.parameters:,} parameters (layers: "
            f"{config.layers}, heads: {config.heads}, channels: {config.width}), with "
            f"{machine.lanes} multipliers and its KV cache of {config.context} positions. It "
            f"holds the model “{checkpoint}”."
        ),
    }


def _latin(tokenizer: Tokenizer, token: int, before: int | None) -> str:
    """Return the bytes that a token adds, as characters of a byte each."""
    if token in (tokenizer.bos, tokenizer.end):
        return ""
    return tokenizer.piece(token, token if before is None else before).decode("latin-1")


def assemble_text(config: dict[str, object], wasm: bytes) -> str:
    """Return the page of a text; see :func:`assemble`."""
    scripts = ("chip.js", "text_worker.js"), ("shell.js", "pieces.js", "text.js")
    return assemble(config, wasm, "text.html", *scripts)


def _read(name: str) -> str:
    return (resources.files(__package__) / "static" / name).read_text(encoding="utf-8").strip()
