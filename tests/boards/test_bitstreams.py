"""Bitstreams of each family, from checkpoint to packed file, with the real tools."""

import json
import re
import shutil
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib.memory import Memory

from gptloom.boards import build
from gptloom.boards.build import Build
from gptloom.boards.calibration import load_calibration
from gptloom.boards.checks import folded
from gptloom.boards.contents import placeholder
from gptloom.boards.design import elaborate
from gptloom.boards.designs import Settings, folded_design
from gptloom.boards.estimate import Estimator
from gptloom.boards.patch import pack, patch
from gptloom.boards.table import find_board
from gptloom.boards.tools import Tools
from gptloom.cli.cores import load_plain
from gptloom.cli.main import main
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.attributes import NO_COLLISION
from gptloom.model.checkpoint import load_checkpoint, save_checkpoint
from gptloom.model.family import Family
from gptloom.model.llama_quantise import quantise_llama
from gptloom.model.quantise import quantise
from verification.llama import GROUPED, make_checkpoint, with_pieces

LANES = 8


def family(checkpoint, board, ending, tier):
    """Mark a build's tests to run in one process; others' run in others."""
    marks = [pytest.mark.xdist_group(f"{checkpoint} on {board}"), tier]
    return pytest.param((checkpoint, board, ending), id=f"{checkpoint}-{board}", marks=marks)


def families(checkpoint, tier):
    return [
        family(checkpoint, "ice40-hx8k", "bin", tier),
        family(checkpoint, "ulx3s-25f", "bit", tier),
    ]


SMALL = families("small", pytest.mark.long)
TEXT = [family("text", "ulx3s-25f", "bit", pytest.mark.nightly)]
SHIPPED = families("names", pytest.mark.nightly)


@pytest.fixture(scope="module")
def sources(small, tmp_path_factory):
    """Return the checkpoints of builds, and their lanes."""
    text = tmp_path_factory.mktemp("text") / "text.safetensors"
    save_checkpoint(text, with_pieces(make_checkpoint(GROUPED, 3)))
    return {"small": (str(small), LANES), "text": (str(text), 32), "names": ("names", LANES)}


@pytest.fixture(scope="module")
def built(request, sources, tmp_path_factory):
    """Make a build of each family: a small model's in CI, a shipped one's, in minutes, at night."""
    checkpoint, board, ending = request.param
    base = tmp_path_factory.mktemp(board)
    source, lanes = sources[checkpoint]
    options = ["--checkpoint", source, "--lanes", str(lanes), "--folder", str(base)]
    assert not main(["build", "--board", board, *options])
    (folder,) = base.glob(f"{board}-folded-{lanes}*")
    model = load_plain(source, {})
    return SimpleNamespace(
        model=model,
        machine=Machine.for_model(lanes, model),
        board=board,
        folder=folder,
        bitstream=folder / f"{folder.name}.{ending}",
        report=json.loads((folder / "report.json").read_text()),
    )


@pytest.mark.parametrize("built", [*SMALL, *SHIPPED, *TEXT], indirect=True)
def test_bitstream_meets_its_clock(built):
    report = built.report
    assert report["met"]
    assert report["fmax_mhz"] >= report["constraint_mhz"] >= 80
    assert report["tokens_per_second"] == pytest.approx(
        report["constraint_mhz"] * 1e6 / report["cycles_per_token"], rel=1e-3
    )
    # Preambles of iCE40 and ECP5 bitstreams.
    preamble = b"\x7e\xaa\x99\x7e" if built.bitstream.suffix == ".bin" else b"\xff\xff\xbd\xb3"
    assert preamble in built.bitstream.read_bytes()[:1000]


@pytest.mark.parametrize("built", SHIPPED, indirect=True)
def test_a_build_comes_to_what_was_estimated(built, differences):
    estimator = Estimator(built.model, load_calibration().sizes)
    found = differences(estimator.estimate(find_board(built.board), LANES), built.report)
    assert max(found.values()) <= 0.15
    assert found["dsp"] == found["bram"] == 0
    assert found["cycles_per_token"] <= 1e-4


@pytest.mark.parametrize("built", SHIPPED, indirect=True)
def test_replaced_contents_equal_a_full_rebuild(built, tmp_path):
    """A full build with other contents equals the first build with these contents patched in.

    The contents are random: yosys would make a constant of a bit that is equal in all words.
    """
    board, tools = find_board(built.board), Tools()
    machine = built.machine
    image = build_image(built.model, machine)
    contents = placeholder(image, machine), placeholder(image, machine, seed=1)
    task = Build(board, tmp_path / "full", tools, lambda name: nullcontext())
    task.begin()
    sources = elaborate(board, image, machine, contents[1])
    task.synthesise(sources, folded(built.report["dsp"] and LANES))
    seed = built.report["seed"]
    task.place([seed], sources.pll.hz / 1e6)
    rebuilt = f"seed{seed}.{board.family.placed}"
    pack(tools, board.family, task.folder, rebuilt, "rebuilt")

    shutil.copy(built.bitstream.with_suffix(f".{board.family.placed}"), task.folder / "placed")
    patch(tools, board.family, task.folder, ("placed", "patched"), contents, machine)
    pack(tools, board.family, task.folder, "patched", "swapped")
    swapped = (task.folder / "swapped").read_bytes()
    assert swapped == (task.folder / "rebuilt").read_bytes()
    assert swapped != built.bitstream.read_bytes()


@pytest.mark.parametrize("built", [*SMALL, *SHIPPED, *TEXT], indirect=True)
def test_a_model_is_swapped_in_seconds_and_back(built, random_model, tmp_path, capsys):
    machine, config = built.machine, built.model.config
    if config.family is Family.LLAMA:
        other = quantise_llama(with_pieces(make_checkpoint(config, 4)), built.model.precision)
    else:
        other = random_model(config)
    other = build_image(other, machine)
    other.write(tmp_path / "other.img")
    before = built.bitstream.read_bytes()
    swapped = built.bitstream.with_stem("swapped")

    def swap(image, out, bitstream):
        options = ["--image", str(image), "--out", str(out), str(bitstream)]
        assert not main(["swap", "--board", built.board, *options])

    swap(tmp_path / "other.img", swapped, built.bitstream)
    assert f"weights {other.checksum(machine):08X}" in capsys.readouterr().out
    assert swapped.read_bytes() != before
    swap(built.folder / f"{built.folder.name}.img", tmp_path / "back", swapped)
    assert (tmp_path / "back").read_bytes() == before == built.bitstream.read_bytes()


@pytest.mark.nightly
@pytest.mark.parametrize(("slots", "instruments"), [(0, True), (1, False), (2, True)])
def test_options_lose_no_register(tmp_path, slots, instruments):
    """Registers of an option exist after synthesis, and none of them is constant."""
    board, model = find_board("ulx3s-25f"), quantise(load_checkpoint("names"))
    design = folded_design(board, "names", model, LANES, slots)
    task = Build(board, tmp_path / "build", Tools(), lambda name: nullcontext())
    sources = design.sources(Settings(display="none", instruments=instruments))
    task.begin()
    assert task.synthesise(sources, design.required) > 2000


@pytest.mark.nightly
def test_only_memories_that_say_so_lose_their_promise(tmp_path):
    m = Module()
    for name, attrs in (("promising", {}), ("silent", NO_COLLISION)):
        inner = m.submodules[name] = Module()
        inner.submodules.memory = memory = Memory(shape=8, depth=16, init=[], attrs=attrs)
        memory.read_port()
        memory.write_port()
    (tmp_path / "in.il").write_text(rtlil.convert(m, ports=[]))
    script = f"read_rtlil in.il\n{build.NO_COLLISION}\nwrite_rtlil out.il\n"
    (tmp_path / "in.ys").write_text(script)
    Tools().run("yosys", ["-q", "in.ys"], tmp_path)
    memories = (tmp_path / "out.il").read_text().split("\nmodule ")[2:]
    found = {
        module.split()[0]: re.findall(r"COLLISION_X_MASK 1'(\d)", module) for module in memories
    }
    assert found == {r"\top.promising": ["0"], r"\top.silent": ["1"]}
