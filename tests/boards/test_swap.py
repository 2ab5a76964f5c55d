"""Another model in a finished bitstream, with mock tools; for real ones see test_bitstreams.py."""

import errno
import os
import random
from pathlib import Path

import pytest

from gptloom.boards.contents import columns, hex_lines, memory_shapes, placeholder
from gptloom.cli.main import main
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import LANES, Machine
from gptloom.hdl.preload import Preload
from gptloom.model.config import ModelConfig
from gptloom.model.formats import FINE
from gptloom.model.llama_quantise import quantise_llama
from verification.llama import GROUPED, make_checkpoint, with_pieces

MICROGPT = ModelConfig.MICROGPT


@pytest.mark.parametrize("depth", [256, 512])
@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("config", [MICROGPT, ModelConfig.GATEGPT], ids=["names", "names-24"])
def test_columns_of_the_placeholder_all_differ(random_model, config, lanes, depth):
    machine = Machine.for_models(lanes, config)
    found = columns(
        placeholder(build_image(random_model(config), machine), machine), machine, depth
    )
    assert len(set(found)) == len(found)
    assert all(found)
    assert len(found) % 8 == 0


def test_columns_differ_where_tables_are_small_and_tokens_are_text():
    model = quantise_llama(with_pieces(make_checkpoint(GROUPED, 3)), FINE)
    machine = Machine.for_model(32, model)
    image = build_image(model, machine)
    found = columns(placeholder(image, machine), machine, 512)
    assert len(set(found)) == len(found)
    # The contents themselves are in as many columns.
    assert len(columns(Preload.of(image, machine), machine, 512)) == len(found)


def test_the_placeholder_does_not_depend_on_weights(random_model):
    machine = Machine.for_models(16, MICROGPT)
    one, other = (build_image(random_model(MICROGPT, seed), machine) for seed in (1, 2))
    assert placeholder(one, machine) == placeholder(other, machine)


def test_hex_lines_hold_every_word_of_every_memory(random_model):
    """Read the lines as a memory would be: words of each memory, from its own columns."""
    machine = Machine.for_models(16, ModelConfig.GATEGPT)
    preload = Preload.of(build_image(random_model(ModelConfig.GATEGPT), machine), machine)
    depth = 256
    rows = [int(line, 16) for line in hex_lines(columns(preload, machine, depth), depth).split()]
    assert len(rows) == depth
    at = 0
    for name, (words, bits) in memory_shapes(machine).items():
        contents = getattr(preload, name)
        contents = contents + [0] * (words - len(contents))
        for base in range(0, words, depth):
            for i in random.Random(base).sample(range(min(depth, words - base)), 5):
                assert rows[i] >> at & (1 << bits) - 1 == contents[base + i], (name, base + i)
            at += bits


@pytest.fixture
def built(build, random_model, tmp_path):
    """Make a build, and the image of another model for it."""
    build.usual()
    machine = Machine.for_models(8, MICROGPT)
    build.other = build_image(random_model(MICROGPT), machine)
    build.image = tmp_path / "other.img"
    build.other.write(build.image)
    return build


def swap(built, *options, board="ice40-hx8k", bitstream=None):
    arguments = ["--native", "--board", board, "--image", str(built.image), *options]
    return main(["swap", *arguments, str(bitstream or built.bitstream)])


def test_a_swapped_bitstream_holds_the_other_model(built, section, capsys):
    before = built.bitstream.read_text()
    assert not swap(built)
    machine = Machine.for_models(8, MICROGPT)
    swapped = built.folder / "ice40-hx8k-folded-8-other.bin"
    logic = before.splitlines()[0]
    assert swapped.read_text() == f"{logic}\n{section(Preload.of(built.other, machine), machine)}"
    assert f"weights {built.other.checksum(machine):08X}" in capsys.readouterr().out
    # The result can be swapped again, back to the original.
    built.image = built.folder / "ice40-hx8k-folded-8.img"
    assert not swap(built, "--out", str(built.folder / "back"), bitstream=swapped)
    assert (built.folder / "back").read_text() == before
    assert built.bitstream.read_text() == before
    assert not list(built.folder.glob("work-*"))


def test_a_swapped_bitstream_goes_to_another_disk_and_through_a_link(built, tmp_path, monkeypatch):
    replace = os.replace

    def within_a_folder(source, target):
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)

    link = tmp_path / "link.bin"
    link.symlink_to("there.bin")
    monkeypatch.setattr(os, "replace", within_a_folder)
    assert not swap(built, "--out", str(link))
    assert link.is_symlink()
    assert (tmp_path / "there.bin").stat().st_size


def refused(built, capsys, message, **arguments):
    """Check that nothing has changed, and that one sentence says why."""
    before = {file: file.read_bytes() for file in built.folder.iterdir() if file.is_file()}
    out = built.folder / "out.bin"
    assert swap(built, "--out", str(out), **arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("gptloom: error:") == 1
    assert {file: file.read_bytes() for file in built.folder.iterdir() if file.is_file()} == before


def test_images_of_other_dimensions_are_refused(built, random_model, capsys):
    for lanes, config in ((16, MICROGPT), (8, ModelConfig.TWO_LAYER)):
        build_image(random_model(config), Machine.for_models(lanes, config)).write(built.image)
        refused(built, capsys, f"the image is for other hardware ({lanes} lanes, {config.layers}")


def test_corrupt_images_are_refused(built, capsys):
    data = bytearray(built.image.read_bytes())
    data[1000] ^= 1
    built.image.write_bytes(data)
    refused(built, capsys, "the image is corrupt (CRC differs)")


def test_bitstreams_of_another_build_are_refused(built, capsys):
    text = built.bitstream.read_text()
    built.bitstream.write_text(text.replace("placed", "placed elsewhere"))
    refused(built, capsys, "is not of the same build as ice40-hx8k-folded-8.asc")


def test_bitstreams_that_are_none_are_refused(built, pretend, capsys):
    pretend("iceunpack", "sys.exit('no preamble')")
    refused(built, capsys, "is not a bitstream of this board")


def test_other_boards_and_lonely_bitstreams_are_refused(built, tmp_path, capsys):
    refused(built, capsys, "was built for ice40-hx8k", board="icebreaker")
    refused(built, capsys, "end in .bit", board="ulx3s-25f")
    refused(built, capsys, "did you mean icebreaker", board="icebraker")
    lonely = tmp_path / "lonely.bin"
    lonely.write_text("bits")
    refused(built, capsys, "is not beside the placed design", bitstream=lonely)
    refused(built, capsys, "is not a bitstream", bitstream=tmp_path / "absent.bin")


def test_a_missing_tool_is_named(built, path, capsys):
    (path / "icebram").unlink()
    refused(built, capsys, "icebram is not on the PATH")
