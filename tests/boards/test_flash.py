"""The file that `gptloom flash` takes, and its messages; builds and swaps use mock tools."""

import os
import re
import shutil

import pytest

from gptloom.cli.main import main
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.model.config import ModelConfig

BOARD = "ice40-hx8k"


@pytest.fixture
def built(build, random_model, tmp_path):
    """Make a build, and images of two other models for it."""
    build.usual()
    machine = Machine.for_models(8, ModelConfig.MICROGPT)
    build.crcs = {}
    for seed, name in enumerate(("mine", "yours"), 1):
        image = build_image(random_model(ModelConfig.MICROGPT, seed), machine)
        image.write(tmp_path / f"{name}.img")
        build.crcs[name] = f"{image.checksum(machine):08X}"
    build.images = tmp_path
    return build


def swap(built, name, *options):
    image = str(built.images / f"{name}.img")
    arguments = ["--native", "--board", BOARD, "--image", image, *options]
    assert not main(["swap", *arguments, str(built.bitstream)])


@pytest.fixture
def flash(capsys):
    """Return the file that would be flashed, and the messages about it."""

    def run(folder, *arguments):
        capsys.readouterr()
        assert not main(
            ["flash", "--board", BOARD, "--folder", str(folder), "--dry-run", *map(str, arguments)]
        )
        out, error = capsys.readouterr()
        assert error.count("\n") == 1
        said = re.fullmatch(r"would flash (.*), (.*), \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", error)
        file = out.split()[-1]
        assert said[1] == file
        return file, said[2]

    return run


def test_a_build_is_flashed_and_named(built, flash):
    file, said = flash(built.folder.parent)
    assert file == str(built.bitstream)
    assert re.fullmatch(
        rf"built by 'gptloom build --board {BOARD} --lanes 8 --seed \d' \(weights [\dA-F]{{8}}\)",
        said,
    )


def test_what_was_swapped_last_is_flashed(built, flash):
    for name in ("mine", "yours", "mine"):
        swap(built, name)
        file, said = flash(built.folder.parent)
        assert file == str(built.folder / f"{BOARD}-folded-8-{name}.bin")
        assert said == f"swapped to {built.images / name}.img (weights {built.crcs[name]})"


def test_what_was_swapped_to_another_place_is_flashed(built, flash, tmp_path):
    out = tmp_path / "elsewhere.bin"
    swap(built, "mine", "--out", str(out))
    assert flash(built.folder.parent)[0] == str(out)
    # Without that file, or with another file of its name, the build is the latest.
    for change in (lambda: out.write_text("another"), out.unlink):
        change()
        assert flash(built.folder.parent)[0] == str(built.bitstream)


@pytest.mark.long
def test_a_swap_in_the_place_of_the_build_is_named(built, flash):
    swap(built, "mine", "--out", str(built.bitstream))
    file, said = flash(built.folder.parent)
    assert file == str(built.bitstream)
    assert said == f"swapped to {built.images / 'mine'}.img (weights {built.crcs['mine']})"


@pytest.mark.nightly
def test_a_build_after_a_swap_is_flashed(built, build, flash):
    swap(built, "mine")
    assert not build(90)
    assert flash(built.folder.parent)[0] == str(built.bitstream)


def test_a_copied_folder_tells_the_same_whatever_its_times_are(built, flash, tmp_path):
    swap(built, "mine")
    copy = tmp_path / "copy"
    shutil.copytree(built.folder, copy / built.folder.name)
    for file in copy.glob("*/*"):
        os.utime(file, (1e9, 1e9))
    file, said = flash(copy)
    assert file == str(copy / built.folder.name / f"{BOARD}-folded-8-mine.bin")
    assert built.crcs["mine"] in said


def test_a_file_that_is_named_is_flashed_and_told(built, flash, tmp_path):
    swap(built, "mine")
    file, said = flash(built.folder.parent, built.bitstream)
    assert file == str(built.bitstream)
    assert said.startswith("built by")
    # It also works in a folder without builds.
    swapped = built.folder / f"{BOARD}-folded-8-mine.bin"
    assert "swapped to" in flash(tmp_path / "absent", swapped)[1]
    other = tmp_path / "other.bin"
    other.write_text("bits")
    assert flash(built.folder.parent, other) == (str(other), "of unknown origin")


def test_builds_of_equal_times_are_asked_about(built, flash, tmp_path, capsys):
    other = built.folder.parent / f"{BOARD}-folded-16"
    other.mkdir()
    shutil.copy2(built.bitstream, other / f"{other.name}.bin")
    os.utime(built.bitstream, (1e9, 1e9))
    os.utime(other / f"{other.name}.bin", (1e9, 1e9))
    options = ["--board", BOARD, "--folder", str(built.folder.parent), "--dry-run"]
    assert main(["flash", *options]) == 2
    error = capsys.readouterr().err
    assert f"{built.bitstream} are equally new: name the file to flash" in error
    assert str(other) in error
    # The newer one of two, as before.
    os.utime(built.bitstream, (2e9, 2e9))
    assert flash(built.folder.parent)[0] == str(built.bitstream)


def test_the_file_is_said_before_it_is_flashed(built, pretend, capsys):
    pretend("iceprog", "print('programming')")
    capsys.readouterr()
    assert not main(["flash", "--board", BOARD, "--folder", str(built.folder.parent)])
    out, error = capsys.readouterr()
    assert error.startswith(f"flashing {built.bitstream}, built by")
    assert out.endswith("programming\n")
