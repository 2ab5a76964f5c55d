"""`gptloom talk` and `load`: with a simulated chip, and with one behind a pseudo-terminal."""

import io
import json
import os
import pty
import select
import sys
import threading
import tty
from contextlib import closing

import numpy as np
import pytest

from gptloom.boards.link import Link
from gptloom.boards.serial_port import SerialPort
from gptloom.cli.main import main
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.firmware.protocol import Item, State
from gptloom.model.config import ModelConfig
from gptloom.model.golden import GoldenModel
from gptloom.sim import serial_chip
from gptloom.sim.engines import open_engine

# The shape of tests/hdl/serial: one compiled simulation for both, which one test process builds.
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("small chip")]

CONFIG = ModelConfig(layers=1, width=8, heads=2, hidden=16, context=8, vocabulary=6)
LANES = 8
MACHINE = Machine.for_models(LANES, CONFIG)


@pytest.fixture(scope="module")
def models(random_model):
    return random_model(CONFIG, 1), random_model(CONFIG, 2)


@pytest.fixture(scope="module", autouse=True)
def chips_are_built_once():
    """Keep simulated chips, by what they hold: each is opened at power-on."""
    opened = {}

    def open_port(image, machine, _):
        held = tuple(image.regions.items())
        if held not in opened:
            opened[held] = open_engine(serial_chip.serial_top(image, machine))
        engine = opened[held]
        engine.reset()
        port = serial_chip.SimulatedPort(engine, serial_chip.DIVIDER, serial_chip.CLOCK_HZ)
        port.close = lambda: None
        return port

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serial_chip, "open_port", open_port)
        yield
    for engine in opened.values():
        engine.close()


@pytest.fixture
def files(models, tmp_path):
    paths = []
    for number, model in enumerate(models):
        paths.append(tmp_path / f"{number}.img")
        build_image(model, MACHINE).write(paths[-1])
    return paths


def golden(model, prompt, temperature=0, seed=1):
    """Return a prompt and its continuation, as text."""
    document = model.tokenizer.encode(prompt)
    for token in GoldenModel(model).generate(seed, temperature, document[:]):
        if token.token != CONFIG.vocabulary - 1:
            document.append(token.token)
        if token.last:
            return model.tokenizer.decode(document)
    raise AssertionError


def crc(model):
    return f"{build_image(model, MACHINE).checksum(MACHINE):08X}"


class Board(threading.Thread):
    """A simulated chip at the far end of a pseudo-terminal."""

    def __init__(self, image):
        super().__init__(daemon=True)
        self._port = serial_chip.open_port(image, MACHINE, open_engine)
        self._far, self._near = pty.openpty()
        tty.setraw(self._near)
        os.set_blocking(self._far, False)
        self.name_of_port = os.ttyname(self._near)
        self._going = True
        self.start()

    def run(self):
        while self._going:
            readable, _, _ = select.select([self._far], [], [], 0)
            if readable:
                self._port.write(os.read(self._far, 512))
            try:
                os.write(self._far, self._port.read(1e-4))
            except BlockingIOError:
                # Nobody reads: a serial line does not wait.
                continue

    def stop(self):
        self._going = False
        self.join()
        self._port.close()
        os.close(self._far)
        os.close(self._near)


@pytest.fixture
def board(models):
    board = Board(build_image(models[0], MACHINE))
    yield board
    board.stop()


@pytest.fixture(params=["sim", "pty"])
def port(request):
    if request.param == "sim":
        return "sim"
    return request.getfixturevalue("board").name_of_port


def test_prompts_are_continued(port, files, models, capsys):
    arguments = ["talk", "--port", port, "--image", str(files[0]), "--temperature", "0"]
    assert not main([*arguments, "--prompt", "AB", "--prompt", "", "--prompt", "EEE"])
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [golden(models[0], p) for p in ("AB", "", "EEE")]
    assert f"weights {crc(models[0])}" in printed.err


def test_what_tokens_attend_is_what_the_golden_model_says(port, files, models, tmp_path, capsys):
    model, traces, file = models[0], [], tmp_path / "a.json"
    picture = tmp_path / "a.png"

    def receive(token, position):
        return lambda layer, site, value: traces.append(value) if site == "numerator" else None

    prompt = model.tokenizer.encode("AB")
    for token in GoldenModel(model).generate(9, 1.5, prompt, receive):
        if token.last:
            break
    options = ["--image", str(files[0]), "--prompt", "AB", "--temperature", "1.5", "--seed", "9"]
    outputs = ["--top", "1", "--json", str(file), "--picture", str(picture)]
    assert not main(["attend", "--port", port, *options, *outputs])
    found = json.loads(file.read_text())
    assert found["tokens"][:3] == ["-", "A", "B"]
    assert [t["position"] for t in found["attended"]] == list(range(2, len(found["tokens"]) - 1))
    # Attention of known tokens is not sent.
    for told, numerators in zip(found["attended"], traces[2:], strict=True):
        expected = numerators.reshape(-1, CONFIG.heads) / numerators.sum(axis=-2).reshape(-1)
        assert np.abs(np.array(told["weights"][0]).T - expected).max() < 1e-4
    printed = capsys.readouterr()
    assert "layer 0, head 1" in printed.out
    assert "   2 B: " in printed.out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_names_go_on_after_what_was_attended(board, files, capsys):
    with closing(SerialPort(board.name_of_port, 115_200)) as line:
        link = Link(line)
        arguments = ["--port", board.name_of_port, "--image", str(files[0])]
        for pause in (False, True):
            if pause:
                link.pause()
            assert not main(["attend", *arguments, "--prompt", "A"])
            assert link.get(Item.STATE) & 1 << State.PAUSED == pause << State.PAUSED


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "sim", "--count", "2"], "leave --count"),
        (["--port", "sim", "--rows", "8"], "leave --count"),
        (["--image", "my.img"], "give its --port"),
    ],
)
def test_what_a_chip_cannot_be_asked_is_refused(arguments, says, capsys):
    assert main(["attend", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_chip_built_without_it_says_that_it_cannot_tell(files, capsys, monkeypatch):
    monkeypatch.setattr(Link, "can", lambda link, feature: False)
    assert main(["attend", "--port", "sim", "--image", str(files[0])]) == 2
    assert "build its bitstream with 'gptloom build --instruments'" in capsys.readouterr().err


def typed(monkeypatch, content):
    """Replace standard input by some content."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "utf-8"))


def test_lines_are_obeyed(port, files, models, capsys, monkeypatch):
    lines = [
        ":pause", ":temperature 1.5", ":seed 9", "C", ":greedy", "DA", ":counters", "xyz",
        ":nonsense", ":seed none", ":temperature 9", "AAAAAAAA", ":help", ":resume", ":quit", "A",
    ]  # fmt: skip
    typed(monkeypatch, "\n".join(lines).encode() + b"\n")
    assert not main(["talk", "--port", port, "--image", str(files[0])])
    printed = capsys.readouterr()
    said = printed.out.splitlines()
    assert said[0] == golden(models[0], "C", 1.5, 9)
    assert said[1] == golden(models[0], "DA")
    assert [line.split()[0] for line in said[2:5]] == ["cycles", "tokens", "stalls"]
    assert ":temperature 0.7" in printed.out
    for wrong in ("does not know 'xyz'", "no command ':nonsense'", "'none' is not a number"):
        assert wrong in printed.err
    assert "temperature 9 is out of range" in printed.err
    assert "too long: 7 at most" in printed.err


def test_a_line_that_is_no_text_is_named(files, models, capsys, monkeypatch):
    typed(monkeypatch, b":greedy\nDA\nA\xff\nEEE\n")
    assert main(["talk", "--port", "sim", "--image", str(files[0])]) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [golden(models[0], "DA")]
    assert "error: line 3 is not text in utf-8" in printed.err


def test_a_model_is_loaded(files, models, board, capsys):
    arguments = ["--port", board.name_of_port, "--image", str(files[1])]
    assert not main(["load", *arguments])
    assert f"weights {crc(models[0])} -> {crc(models[1])}" in capsys.readouterr().out
    assert not main(["talk", *arguments, "--temperature", "0", "--prompt", "BA"])
    assert capsys.readouterr().out.splitlines() == [golden(models[1], "BA")]
    # The image defines the tokens' characters: another one is refused.
    assert main(["talk", "--port", board.name_of_port, "--image", str(files[0])]) == 2
    assert "holds another model" in capsys.readouterr().err


def test_a_model_is_loaded_into_a_simulated_chip(files, models, capsys):
    holds = ["--holds", str(files[0])]
    assert not main(["load", "--port", "sim", "--image", str(files[1]), *holds])
    assert f"weights {crc(models[0])} -> {crc(models[1])}" in capsys.readouterr().out


def test_other_dimensions_are_refused(random_model, tmp_path, board, capsys):
    wider = ModelConfig(1, 16, 2, 16, 8, 6)
    file = tmp_path / "wider.img"
    build_image(random_model(wider), Machine.for_models(LANES, wider)).write(file)
    assert main(["load", "--port", board.name_of_port, "--image", str(file)]) == 2
    assert "does not fit the chip" in capsys.readouterr().err


def test_a_port_without_a_chip_is_reported(files, capsys):
    far, near = pty.openpty()
    tty.setraw(near)
    try:
        assert main(["load", "--port", os.ttyname(near), "--image", str(files[0])]) == 2
    finally:
        os.close(far)
        os.close(near)
    assert "no chip answers: check --port and --baud" in capsys.readouterr().err


def test_a_port_that_is_not_there_is_reported(files, capsys):
    assert main(["load", "--port", "/dev/nothing", "--image", str(files[0])]) == 2
    assert "the port /dev/nothing does not open" in capsys.readouterr().err


def test_pyserial_is_named_when_it_is_missing(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    assert main(["load", "--port", "/dev/ttyUSB0", "--image", str(files[0])]) == 2
    assert "pip install 'gptloom[serial]'" in capsys.readouterr().err
