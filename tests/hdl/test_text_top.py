"""A chip that writes text, from its pins: documents in full, and what is told between them."""

from itertools import islice

import pytest

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.firmware.page import TEMPERATURES
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.preload import Preload
from gptloom.hdl.top import BOUNCE_SECONDS, Top
from gptloom.model.config import ModelConfig
from gptloom.model.formats import FINE
from gptloom.model.golden import GoldenModel
from gptloom.model.llama_quantise import quantise_llama
from gptloom.sim.engines import open_engine
from verification.line import decode
from verification.llama import make_checkpoint, with_pieces

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("text top")]

CLOCK, BAUD = 100_000, 5_000
BIT = CLOCK // BAUD
CONFIG = ModelConfig(1, 16, 4, 20, 16, 9, family="llama", positions="rotary", kv_heads=2, tied=True)


@pytest.fixture(scope="module")
def model():
    return quantise_llama(with_pieces(make_checkpoint(CONFIG, 3)), FINE)


@pytest.fixture(scope="module")
def label(model):
    machine = Machine.for_model(32, model)
    return f"weights {build_image(model, machine).checksum(machine):08X}".encode()


@pytest.fixture(scope="module")
def built(model):
    machine = Machine.for_model(32, model)
    image = build_image(model, machine)
    preload = Preload.of(image, machine)
    core, sizes = FoldedCore(machine, preload=preload), image.checked_sizes(machine)
    line = dict(clock_hz=CLOCK, baud=BAUD)
    with open_engine(Top(core, preload.page, image.config, sizes, **line, bos=image.bos)) as engine:
        yield engine


@pytest.fixture
def chip(built):
    built.reset()
    built.poke("rx", 1)
    built.poke("button", 0)
    built.record(["tx"])
    return built


def sent(chip):
    """Return the whole lines that were sent since power-on."""
    return decode(chip.recording()["tx"].tolist(), BIT).split(b"\r\n")[:-1]


def documents(model, count, temperatures):
    """Return documents of the golden model from power-on, at one temperature after the other."""
    golden, found = GoldenModel(model), []
    for token in islice(golden.generate(1, temperatures), count):
        if token.position == 0:
            found.append([])
        found[-1].append(token.token)
    spelled = (b"".join(model.tokenizer.piece(t, t) for t in d if t != 1) for d in found)
    return [text.removeprefix(b" ") for text in spelled]


def test_every_document_is_sent_in_full(model, chip, label):
    chip.run(200_000)
    first, *lines = sent(chip)
    assert first == label
    texts = [line for line in lines if not line.endswith(b" tokens/s")]
    assert len(texts) > 30
    assert texts == documents(model, 2000, TEMPERATURES[0])[: len(texts)]
    # As many tokens as the line has time for.
    speeds = [int(line.split()[0]) for line in lines if line.endswith(b" tokens/s")]
    assert len(speeds) == 1
    assert 50 < speeds[0] < BAUD


def test_the_checksum_is_told_between_documents(model, chip, label):
    # Not while the first checksum is computed.
    chip.run(120_000)
    chip.poke("rx", 0)
    chip.run(BIT)
    chip.poke("rx", 1)
    chip.run(160_000)
    first, *lines = sent(chip)
    assert first == label
    assert lines.count(label) == 1
    texts = [line for line in lines if line != label and not line.endswith(b" tokens/s")]
    assert texts == documents(model, 2000, TEMPERATURES[0])[: len(texts)]


def test_the_button_changes_the_temperature_between_documents(model, chip):
    chip.run(60_000)
    chip.poke("button", 1)
    chip.run(round(2 * CLOCK * BOUNCE_SECONDS))
    chip.poke("button", 0)
    chip.run(100_000)
    _, *lines = sent(chip)
    told = f"temperature {TEMPERATURES[1]:.1f}".encode()
    assert lines.count(told) == 1
    before = lines[: lines.index(told)]
    assert before
    # The temperature changed at the latest where it was told.
    assert before[:-1] == documents(model, 2000, TEMPERATURES[0])[: len(before) - 1]
    after = [line for line in lines[lines.index(told) + 1 :] if not line.endswith(b" tokens/s")]
    assert after != documents(model, 2000, TEMPERATURES[0])[len(before) :][: len(after)]
