"""Attention of tokens, from the core's tap to the line, against the golden model."""

import numpy as np
import pytest
from abuse import settle
from chip import CONFIG, Chip

from gptloom.boards.gathering import Gathering
from gptloom.firmware.protocol import (
    ESCAPE,
    FLAG,
    LONGEST_DATA,
    Command,
    Feature,
    Frame,
    Item,
    Reply,
)
from gptloom.hdl.serial.attention import AttentionFrames
from gptloom.hdl.serial.commands import Commands
from gptloom.hdl.serial.framer import Framer
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.sim.engines import open_engine

# One test process builds it while the others run other tests.
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("small chip")]


def check_prompt(chip, prompt, seed, temperature):
    chip.link.temperature(chip.model.logit_scale(temperature))
    chip.link.seed(seed)
    spoken = list(chip.link.prompt(prompt, chip.model.config))
    chip.check_attended(spoken, prompt, temperature, seed)


@pytest.mark.parametrize("prompt", [[], [0], [4, 4, 4], [0, 1, 2, 3, 4, 0, 1]])
def test_weights_are_the_golden_models(chip, prompt):
    assert chip.link.can(Feature.ATTENTION)
    chip.link.pause()
    for seed, temperature in ((7, 1.5), (1, 0.4), (5, 0)):
        check_prompt(chip, prompt, seed, temperature)


def test_weights_are_right_while_names_wait_for_the_line(chip):
    """Otherwise a name would begin as soon as the core is free, before the last token is sent."""
    chip.link.temperature(chip.model.logit_scale(0))
    for prompt in ([1], [2, 3], [], [4, 0, 1, 2, 3, 4]) * 2:
        chip.check_attended(list(chip.link.prompt(prompt, CONFIG)), prompt, 0)
    chip.link.lines.clear()
    assert all(set(line) <= set("ABCDE") for line in chip.lines(10))


def test_prompts_with_and_without_attention_take_turns(chip):
    chip.link.pause()
    chip.link.temperature(chip.model.logit_scale(0))
    for _ in range(3):
        check_prompt(chip, [1, 2], 1, 0)
        assert chip.continuation([1, 2]) == next(chip.golden(temperature=0, prompt=[1, 2]))
    assert all(token.numerators is None for token in chip.link.prompt([1, 2]))


def test_a_prompt_that_does_not_fit_is_told_as_far_as_it_was_computed(chip):
    (spoken,) = chip.link.prompt([1] * 9, CONFIG)
    assert spoken.numerators.shape == (1, 8, 2)


def test_answers_go_between_the_frames(chip):
    chip.link.pause()
    chip.link.temperature(chip.model.logit_scale(0))
    prompt, expected = [2, 3], list(chip.attended([2, 3], 0))
    config = chip.link.get(Item.CONFIG)
    for gap in range(0, 1_200, 350):
        chip.port.write(Frame(Command.PROMPT, 90, 1 << Feature.ATTENTION, bytes(prompt)).encode())
        frames = []
        for _ in range(100):
            chip.engine.record(["tx"])
            chip.engine.step(gap)
            chip.port._decode()
            chip.port.write(Frame(Command.GET, 91, Item.CONFIG).encode())
            frames += chip.link._receiver.feed(chip.port.read(5e-5))
            if any(f.code == Reply.TOKEN and f.argument >> 16 for f in frames):
                break
        gathering, tokens = Gathering(CONFIG), []
        for frame in (frame for frame in frames if frame.sequence == 90):
            if frame.code == Reply.ATTENTION:
                gathering.add(frame)
            elif frame.code == Reply.TOKEN:
                _, numerators = expected[len(tokens)]
                np.testing.assert_array_equal(
                    gathering.take(frame.argument >> 8 & 0xFF), numerators
                )
                tokens.append(frame.argument & 0xFF)
        assert tokens == [token.token for token, _ in expected]
        answers = [frame for frame in frames if frame.sequence == 91]
        assert {(frame.code, frame.argument) for frame in answers} == {(Reply.OK, config)}
        settle(chip)


@pytest.mark.nightly
def test_weights_of_several_layers_and_frames(random_model):
    config = ModelConfig(layers=2, width=16, heads=4, hidden=16, context=24, vocabulary=6)
    model = random_model(config, 3, finer=3)
    chip = Chip(model, model, open_engine)
    with chip.engine:
        chip.link.pause()
        for prompt in ([], [0], [4, 1, 2], [3] * 11, [1, 2] * 9):
            for seed, temperature in ((3, 2.0), (1, 0)):
                check_prompt(chip, prompt, seed, temperature)


class Driver:
    """Plays core and framer for :class:`AttentionFrames`, each at its own pace."""

    def __init__(self, block, config, draw):
        self.block, self.config, self.draw = block, config, draw
        self.waiting = None
        self.said = []

    def core(self, documents):
        """Compute documents, known tokens first; a token's numerators do not affect others'."""
        config, draw = self.config, self.draw
        for known, length in documents:
            for position in range(length):
                sampled = position >= known
                layers = config.layers - (not sampled)
                numerators = draw.integers(0, 512, (layers, position + 1, config.heads))
                yield dict(start=1, position=position)
                for layer in numerators:
                    yield from ({"position": position} for _ in range(draw.integers(1, 4)))
                    for row in range((position | 3) + 1):
                        there = layer[row] if row <= position else np.zeros(config.heads, int)
                        yield dict(position=position, valid=1, row=row, numerators=there.tolist())
                # Summing and using the last numerators takes some cycles.
                yield from ({"position": position} for _ in range(4))
                while sampled and self.waiting is not None:
                    yield dict(position=position)
                if sampled:
                    self.waiting = position, numerators
            # The next document is requested when this one's last token has been sent.
            while self.waiting is not None:
                yield dict(position=position)

    def line(self):
        """Send the frames of the token that waits, then take it."""
        block, draw = self.block, self.draw
        while True:
            while self.waiting is None:
                yield {}
            position, numerators = self.waiting
            gathering = Gathering(self.config)
            at = dict(token=position)
            while block.get("left"):
                yield from (at for _ in range(draw.integers(9, 20)))
                argument, body = block.get("argument"), bytearray()
                while block.get("more"):
                    body.append(block.get("data"))
                    yield at | dict(step=1)
                    yield from (at for _ in range(draw.choice([8, 8, 40])))
                assert 0 < len(body) <= LONGEST_DATA
                gathering.add(Frame(Reply.ATTENTION, 0, argument, bytes(body)))
                yield at | dict(sent=1)
                yield at
            np.testing.assert_array_equal(gathering.take(position), numerators)
            self.said.append(position)
            yield at | dict(taken=1)
            self.waiting = None

    def run(self, documents):
        line = self.line()
        idle = dict(start=0, position=0, valid=0, row=0, numerators=[0] * self.config.heads)
        for inputs in self.core(documents):
            sends = dict(token=0, step=0, sent=0, taken=0) | next(line)
            sends["position"] = sends.pop("token")
            self.block.set(i=idle | inputs, **sends)
            self.block.step()


@pytest.mark.parametrize(
    ("layers", "heads", "context"),
    [
        # Several layers in several frames; one head alone; as many heads as a frame takes.
        (2, 4, 10),
        (1, 1, 4),
        (1, 32, 3),
        pytest.param(3, 8, 5, marks=pytest.mark.nightly),
    ],
)
def test_what_is_told_is_what_was_computed(bench, layers, heads, context):
    config = ModelConfig(layers, 4 * heads, heads, 4, context, 5)
    draw = np.random.default_rng(layers + heads)
    driver = Driver(bench(AttentionFrames(config)), config, draw)
    documents = [(0, context), (context // 2, context), (context - 1, context), (0, 1)]
    driver.run(documents)
    assert driver.said == [p for known, length in documents for p in range(known, length)]


def test_heads_that_do_not_fit_a_frame_are_refused():
    with pytest.raises(UserError, match="64 heads does not fit a frame"):
        AttentionFrames(ModelConfig(1, 64, 64, 4, 8, 5))


@pytest.mark.parametrize("wait", [0, 1, 30])
def test_frames_with_data_are_sent_as_the_host_would_have(bench, wait):
    block = bench(Framer(data=True))
    for size in (0, 1, 5):
        data = bytes(np.random.default_rng(size).choice([0, 1, ESCAPE, FLAG, 255], size).tolist())
        frame = Frame(Reply.ATTENTION, 7, 0x7E7D0102, data)
        header = dict(code=frame.code, sequence=frame.sequence, argument=frame.argument)
        left, line = list(data), bytearray()
        block.set(start=1, i=header, o__ready=0)
        block.step()
        block.set(start=0)
        cycle = 0
        while block.get("busy"):
            ready = cycle % (wait + 1) == wait
            block.set(more=bool(left), data=left[0] if left else 0, o__ready=int(ready))
            if ready and block.get("o__valid"):
                line.append(block.get("o__payload"))
            if block.get("step"):
                left.pop(0)
            block.step()
            cycle += 1
        assert bytes(line) == frame.encode()


def test_commands_without_it_say_so(bench):
    for features, value in (((), 0), ({Feature.ATTENTION}, 1)):
        block = bench(Commands(config=77, bos=5, features=features))
        block.set(code=Command.GET, argument=Item.FEATURES, arrived=1, good=1, length=8)
        block.step()
        block.set(arrived=0)
        while not block.get("set"):
            block.step()
        assert block.get("value") == value
