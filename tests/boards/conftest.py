"""Fixtures of the boards' tests: a model, and mock tools."""

import pickle
import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from gptloom.boards import estimate
from gptloom.boards.contents import columns, hex_lines, placeholder
from gptloom.cli.main import main
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.quantise import quantise
from gptloom.model.tokenizers.characters import Characters

DATA = Path(__file__).parent / "data"
ICE40_COLUMN = 256

NETLISTS = """\
import json
block = {"type": "SB_RAM40_4K", "connections": {}}
flip_flop = {"type": "SB_DFF", "connections": {}}
module = {"cells": {"m.operands.x.0": block, "f": flip_flop}, "netnames": {}, "memories": {}}
for kind in (".before", ".kept", ""):
    with open(f"top{kind}.json", "w") as file:
        json.dump({"modules": {"top": module}}, file)
"""
PLACE = """\
import json, sys
arguments = dict(zip(sys.argv, sys.argv[1:]))
report = json.load(open(REPORT))
achieved = MHZ + 2 * (int(arguments["--seed"]) % 3)
for clock in report["fmax"].values():
    clock["achieved"] = achieved
json.dump(report, open(arguments["--report"], "w"))
open(arguments["--asc"], "w").write(f"placed {achieved}\\n" + open(MEMORIES).read())
open(arguments["--log"], "w").write("fine")
"""
PACK = "shutil.copy(sys.argv[1], sys.argv[2])"
BRAM = """\
old, new = (open(file).read() for file in sys.argv[1:])
print(sys.stdin.read().replace(old, new), end="")
"""


@pytest.fixture(scope="session")
def model():
    return quantise(load_checkpoint("names"))


@pytest.fixture(scope="session", autouse=True)
def tops_are_elaborated_once():
    """Keep what estimates find out about a model: dozens of tests ask for the same few."""
    found = {}

    def once(ask):
        def answer(model, *others):
            key = ask, pickle.dumps((model.config, model.weights, model.shifts, others))
            if key not in found:
                found[key] = ask(model, *others)
            return found[key].copy()

        return answer

    with pytest.MonkeyPatch.context() as patch:
        for ask in (estimate.memories, estimate.sampled_positions):
            patch.setattr(estimate, ask.__name__, once(ask))
        yield


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Make an empty folder that is the whole PATH."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def pretend(path):
    """Put a mock tool on the PATH that runs some Python."""

    def make(name, code):
        file = path / name
        version = "import shutil, sys\nif '--version' in sys.argv: sys.exit(0)"
        file.write_text(f"#!{sys.executable}\n{version}\n{code}\n")
        file.chmod(file.stat().st_mode | stat.S_IEXEC)

    return make


@pytest.fixture(scope="session")
def section():
    """Return the memories' section of a mock placed design."""

    def make(preload, machine):
        lines = hex_lines(columns(preload, machine, ICE40_COLUMN), ICE40_COLUMN)
        return f".ram_data 1 2\n{lines}"

    return make


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Folder for a build that many tests begin with; the first one makes it."""
    return tmp_path_factory.mktemp("made") / "build"


@pytest.fixture
def build(tmp_path, pretend, section, model, made, monkeypatch):
    """Run ``gptloom build`` for the HX8K with mock tools that reach a given clock in MHz.

    ``build.usual()`` is a build without options that reaches 90 MHz.
    """
    monkeypatch.setattr("gptloom.boards.designs.measure_folded", lambda model, machine: 500.0)
    machine = Machine.for_models(8, model.config)
    memories = tmp_path / "memories"
    memories.write_text(section(placeholder(build_image(model, machine), machine), machine))

    def tools(mhz, pack=PACK, bram=BRAM):
        report = str(DATA / "ice40.json")
        given = f"REPORT, MHZ, MEMORIES = {report!r}, {mhz}, {str(memories)!r}"
        pretend("yosys", NETLISTS)
        pretend("nextpnr-ice40", f"{given}\n{PLACE}")
        pretend("icebram", bram)
        pretend("icepack", pack)
        pretend("iceunpack", PACK)

    def run(mhz, *options, **packing):
        tools(mhz, **packing)
        return main(
            ["build", "--board", "ice40-hx8k", "--lanes", "8", "--native", "--folder",
             str(tmp_path / "build"), *options]
        )  # fmt: skip

    def usual():
        if made.exists():
            tools(90)
            shutil.copytree(made, tmp_path / "build")
            return
        assert not run(90)
        shutil.copytree(tmp_path / "build", made)

    run.tools, run.usual = tools, usual
    run.folder = tmp_path / "build" / "ice40-hx8k-folded-8"
    run.bitstream = run.folder / "ice40-hx8k-folded-8.bin"
    return run


@pytest.fixture(scope="session")
def differences():
    """Compare an estimate with a build's figures: relative differences by name."""

    def compare(estimate, figures):
        expected = estimate.as_dict()
        names = ("lut", "ff", "dsp", "bram", "cycles_per_token", "tokens_per_second")
        # A build that misses its clock has no tokens/s.
        return {
            name: abs(expected[name] - figures[name]) / max(figures[name], 1)
            for name in names
            if figures[name] is not None
        }

    return compare


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Make a checkpoint file of a small model with random weights."""
    config = ModelConfig(width=8, heads=2, hidden=8, context=4, vocabulary=5)
    random = np.random.default_rng(1)
    weights = {
        name: random.normal(0, 0.4, shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    rows = random.integers(0, 4, (32, 5)).astype(np.int16)
    rows[:, 0] = 4
    file = tmp_path_factory.mktemp("small") / "small.safetensors"
    save_checkpoint(file, Checkpoint(config, Characters("abcd"), weights, rows, name="small"))
    return file
