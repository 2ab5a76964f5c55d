"""A whole chip's display: the panel shows the golden model's names."""

import re
from itertools import islice

import numpy as np
import pytest

from gptloom.boards.displays import DISPLAYS
from gptloom.cli.main import main
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.core import COUNTER_BITS, Counters
from gptloom.model.cache import Eviction
from gptloom.model.checkpoint import load_checkpoint, save_checkpoint
from gptloom.model.golden import GoldenModel
from gptloom.model.quantise import quantise
from gptloom.sim.engines import open_engine
from gptloom.sim.shown_chip import ShownChip
from verification.llama import GROUPED, make_checkpoint, with_pieces

# One test process builds it while the others run other tests.
pytestmark = pytest.mark.xdist_group("shown chip")

# So slow that a second takes few cycles; a multiple of the serial line's rate.
CLOCK = 2_304_000


def names(model, temperature):
    document = []
    for token in GoldenModel(model).generate(1, temperature):
        document.append(token.token)
        if token.last:
            yield model.tokenizer.decode(document)
            document = []


@pytest.fixture
def model():
    return quantise(load_checkpoint("names"))


def make_chip(model):
    machine = Machine.for_models(16, model.config)
    driver = DISPLAYS["hd44780"].make(CLOCK)
    return ShownChip(build_image(model, machine), machine, "hd44780", driver, CLOCK, open_engine)


@pytest.fixture
def chip(model):
    chip = make_chip(model)
    with chip.engine:
        yield chip


@pytest.mark.nightly
def test_the_panel_shows_the_golden_models_names_whole_and_in_order(model, chip):
    first, *shown = [picture.lines for picture in islice(chip.shown(), 5)]
    image = build_image(model, Machine.for_models(16, model.config))
    assert first[0] == f"weights {image.checksum(Machine.for_models(16, model.config)):08X}"
    expected = names(model, 0.7)
    for name, _ in shown:
        assert any(name.rstrip() == other for other in islice(expected, 5_000)), name
    counters = Counters.from_bits(chip.engine.peek("core.counters"))
    # The display stalls nothing.
    assert counters.stalls == 0
    assert counters.tokens > 1_000


@pytest.mark.nightly
def test_the_panel_shows_the_names_of_a_stream_without_end():
    model = quantise(load_checkpoint("names-alibi")).with_cache(8, Eviction.WINDOW, 2)
    chip, expected = make_chip(model), names(model, 0.7)
    with chip.engine:
        _, *shown = [picture.lines for picture in islice(chip.shown(), 5)]
        for name, _ in shown:
            assert any(name.rstrip() == other for other in islice(expected, 5_000)), name
        # The core has never restarted.
        assert chip.engine.peek("core.counters") >> COUNTER_BITS & 0xFFFFFFFF > 1_000


@pytest.mark.nightly
def test_the_panel_shows_the_speed_of_the_second_before(chip):
    chip.engine.record(["core.counters"])
    chip.engine.run(CLOCK)
    tokens = int(chip.engine.recording()["core.counters"][-1][0]) >> COUNTER_BITS
    chip.engine.reset()
    # Eight names a second.
    speeds = [int(picture.lines[1].split()[0]) for picture in islice(chip.shown(), 11)]
    assert speeds[0] == 0
    assert speeds[-1] == pytest.approx(tokens, abs=1)


@pytest.mark.nightly
def test_the_command_prints_lines_and_writes_pictures(tmp_path, capsys):
    options = [
        "--text",
        "--frames",
        "3",
        "--clock",
        f"{CLOCK / 1e6}",
        "--gif",
        str(tmp_path / "a.gif"),
    ]
    assert main(["sim", "--lcd", "hd44780", *options, "--png", str(tmp_path / "a.png")]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith("weights ")
    assert len(lines) == 4
    assert all(re.fullmatch(r".{16} \| {1,8}\d+ tokens/s", line) for line in lines)
    assert "every minimum time kept" in printed.err
    from PIL import Image

    with Image.open(tmp_path / "a.png") as png, Image.open(tmp_path / "a.gif") as gif:
        assert np.asarray(png).std() > 10
        assert gif.n_frames >= 3


@pytest.mark.nightly
def test_the_command_shows_text_as_it_is_written(tmp_path, capsys):
    path = tmp_path / "pieces.safetensors"
    save_checkpoint(path, with_pieces(make_checkpoint(GROUPED, 3)))
    options = ["--text", "--frames", "5", "--clock", f"{CLOCK / 1e6}", "--lanes", "32"]
    assert main(["sim", "--checkpoint", str(path), *options]) == 0
    *begun, last = (line.split(" | ") for line in capsys.readouterr().out.splitlines())
    assert any("weights " in line for lines in begun for line in lines)
    assert last[0].strip()
    # Its letters, and a mark for the half of one.
    assert set("".join(last)) <= set("ab? ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lcd", "vga"], "there is no display 'vga'"),
        (["--lcd", "none"], "nothing to see"),
        (["--frames", "0"], "ask for 1 or more"),
        (["--clock", "0"], "give a positive one"),
        (["--clock", "nan"], "give a positive one"),
        (["--png", "/nowhere/a.png"], "there is no folder"),
    ],
)
def test_bad_input_is_one_sentence(capsys, options, message):
    assert main(["sim", *options]) == 2
    assert message in capsys.readouterr().err
