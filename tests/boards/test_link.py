"""The host's side alone, with a scripted chip of a few lines."""

import pytest

from gptloom.boards.answers import LinkError, RefusedError
from gptloom.boards.conversation import Conversation, held_image
from gptloom.boards.link import ATTEMPTS, Link
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.firmware.protocol import (
    MAGIC,
    VERSION,
    Command,
    Feature,
    Frame,
    Item,
    Receiver,
    Reply,
    State,
    config_hash,
    upload_bytes,
    upload_crc,
    upload_sizes,
)
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.quantise import quantise

BITS = 10
SPEEDS = (115_200, 1_000_000)


class ScriptedChip:
    """Answers every frame as `answers` says; time passes only when nothing comes."""

    patience = 1.0

    def __init__(self, answers):
        self._answers, self._receiver = answers, Receiver()
        self._out, self._time = bytearray(), 0.0
        self.bytes_on_the_line, self.commands = 0, []

    def now(self):
        return self._time

    def write(self, data):
        self.bytes_on_the_line += len(data)
        for frame in self._receiver.feed(data):
            self.commands.append(frame)
            for answer in self._answers(frame):
                self._out += answer.encode()

    def read(self, seconds):
        if not self._out:
            self._time += seconds
        out = bytes(self._out)
        self.bytes_on_the_line += len(out)
        self._out.clear()
        return out


def link_to(*codes, argument=0):
    """Link to a chip that answers with these codes in turn, then no more."""
    left = list(codes)

    def answers(frame):
        code = left.pop(0) if left else None
        return [] if code is None else [Frame(code, frame.sequence, argument)]

    chip = ScriptedChip(answers)
    return Link(chip), chip


def test_silence_is_reported_after_several_attempts():
    link, chip = link_to()
    with pytest.raises(LinkError, match="no chip answers"):
        link.get(Item.STATE)
    assert len(chip.commands) == ATTEMPTS
    assert len({frame.sequence for frame in chip.commands}) == 1


def test_lost_and_damaged_frames_are_repeated():
    link, chip = link_to(None, Reply.DAMAGED, Reply.OK, argument=42)
    assert link.get(Item.TOKENS) == 42
    assert len(chip.commands) == 3


def test_other_frames_answers_are_not_taken():
    link = Link(ScriptedChip(lambda f: [Frame(Reply.OK, f.sequence - 1 & 255, 1)]))
    with pytest.raises(LinkError, match="no chip answers"):
        link.get(Item.TOKENS)


@pytest.mark.parametrize("reply", [Reply.UNKNOWN, Reply.STOPPED, Reply.BAD_IMAGE, 0x99])
def test_a_refusal_is_not_repeated(reply):
    link, chip = link_to(reply, Reply.OK)
    with pytest.raises(RefusedError) as refused:
        link.pause()
    assert refused.value.reply == reply
    assert len(chip.commands) == 1


@pytest.mark.parametrize("identity", [0, MAGIC << 8 | VERSION + 1])
def test_what_is_no_chip_of_this_version_is_refused(identity):
    link, _ = link_to(Reply.OK, argument=identity)
    with pytest.raises(LinkError, match="no GPTLoom chip of protocol version 1"):
        link.identify()


def speaking(*positions, end=True):
    """Return a chip whose tokens have these positions."""

    def answers(frame):
        yield Frame(Reply.OK, frame.sequence)
        for i, position in enumerate(positions):
            last = end and i == len(positions) - 1
            yield Frame(Reply.TOKEN, frame.sequence, 3 | position << 8 | last << 16)

    return Link(ScriptedChip(answers))


def test_tokens_are_yielded_until_the_last():
    assert [s.position for s in speaking(1, 2, 3).prompt([1])] == [1, 2, 3]


def test_a_prompt_that_was_cut_is_continued_from_where_it_was():
    assert [s.position for s in speaking(3).prompt([1] * 9)] == [3]


@pytest.mark.parametrize("positions", [(1, 3), (2, 3), (1, 1)])
def test_a_lost_token_is_reported(positions):
    with pytest.raises(LinkError, match="a token was lost"):
        list(speaking(*positions).prompt([1]))


def test_silence_in_the_middle_is_reported():
    with pytest.raises(LinkError, match="fell silent"):
        list(speaking(1, 2, end=False).prompt([1]))


def test_a_prompt_whose_answer_was_lost_is_known_by_its_tokens():
    def answers(frame):
        return [Frame(Reply.TOKEN, frame.sequence, p << 8 | (p == 2) << 16) for p in (1, 2)]

    assert len(list(Link(ScriptedChip(answers)).prompt([1]))) == 2


WATCHED = ModelConfig(layers=2, width=8, heads=2, hidden=16, context=8, vocabulary=6)

ROW = (511 | 3 << 9).to_bytes(3, "little")
"""Numerators of two heads."""


def attending(*frames, features=1 << Feature.ATTENTION):
    """Return a chip that sends these frames of attention for position 1, and then the token."""

    def answers(frame):
        if frame.code == Command.GET:
            known = frame.argument in list(Item) and features is not None
            yield Frame(Reply.OK if known else Reply.UNKNOWN, frame.sequence, features or 0)
            return
        yield Frame(Reply.OK, frame.sequence)
        if frame.argument == 1 << Feature.ATTENTION:
            for first, position, layer, rows in frames:
                argument = first | position << 8 | layer << 16
                yield Frame(Reply.ATTENTION, frame.sequence, argument, ROW * rows)
        yield Frame(Reply.TOKEN, frame.sequence, 3 | 1 << 8 | 1 << 16)

    chip = ScriptedChip(answers)
    return Link(chip), chip


@pytest.mark.parametrize("frames", [[(0, 1, 0, 2), (0, 1, 1, 2)],
                                    [(0, 1, 0, 1), (1, 1, 0, 1), (0, 1, 1, 2)]])  # fmt: skip
def test_what_a_token_attends_comes_with_it(frames):
    link, _ = attending(*frames)
    (token,) = link.prompt([2], WATCHED)
    assert token.numerators.tolist() == [[[511, 3], [511, 3]]] * 2
    assert [s.numerators for s in link.prompt([2])] == [None]


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [(0, 1, 0, 2)],
        [(0, 1, 0, 2), (0, 1, 1, 1)],
        [(0, 1, 0, 2), (0, 0, 1, 2)],
        [(0, 1, 0, 2), (0, 1, 2, 2)],
        [(0, 1, 0, 2), (1, 1, 1, 2)],
    ],
)
def test_lost_weights_are_reported(frames):
    link, _ = attending(*frames)
    with pytest.raises(LinkError, match="what a token attended was lost"):
        list(link.prompt([2], WATCHED))


@pytest.mark.parametrize("features", [0, None])
def test_a_chip_that_cannot_tell_is_not_asked(features):
    link, chip = attending(features=features)
    with pytest.raises(LinkError, match="cannot tell what its tokens attend"):
        list(link.prompt([2], WATCHED))
    assert [frame.code for frame in chip.commands] == [Command.GET]


def test_weights_say_as_well_that_a_prompt_was_taken():
    def answers(frame):
        if frame.code == Command.GET:
            return [Frame(Reply.OK, frame.sequence, 1)]
        rows = [Frame(Reply.ATTENTION, frame.sequence, 1 << 8 | n << 16, 2 * ROW) for n in (0, 1)]
        return [*rows, Frame(Reply.TOKEN, frame.sequence, 3 | 1 << 8 | 1 << 16)]

    (token,) = Link(ScriptedChip(answers)).prompt([2], WATCHED)
    assert token.last


class Model:
    """Model of a chip's upload in Python."""

    def __init__(self, image, machine):
        self.config = config_hash(image.lanes, image.config, upload_sizes(image, machine))
        self.size, self.crc = len(upload_bytes(image, machine)), upload_crc(image, machine)
        self.received = bytearray()
        self.weights, self.loaded = 0, image.checksum(machine)
        # Answers to COMMITs; those answered with OK, or not at all, are executed.
        self.answers, self.state, self.stops = [Reply.OK], 0, False

    def __call__(self, frame):
        value = 0
        if frame.code == Command.GET:
            value = {
                Item.CONFIG: self.config,
                Item.RECEIVED: len(self.received),
                Item.WEIGHTS: self.weights,
                Item.STATE: self.state,
            }[frame.argument]
        elif frame.code == Command.BEGIN:
            assert frame.argument == self.config
            self.received.clear()
        elif frame.code == Command.DATA:
            if frame.argument == len(self.received):
                self.received += frame.data
            return
        elif frame.code == Command.COMMIT:
            assert frame.argument == self.crc
            assert len(self.received) == self.size
            answer = self.answers.pop(0)
            if answer == Reply.OK or answer is None:
                self.weights = self.loaded
                self.state |= self.stops << State.STOPPED
            if answer is not None:
                yield Frame(answer, frame.sequence)
            return
        yield Frame(Reply.OK, frame.sequence, value)


def upload_to(held_before, stops, answers):
    """Upload the default model to a chip with these answers to COMMITs; None is no answer."""
    model = quantise(load_checkpoint("names"))
    machine = Machine.for_models(16, model.config)
    image = build_image(model, machine)
    double = Model(image, machine)
    double.answers, double.stops = answers, stops
    double.weights = double.loaded if held_before else 0
    Link(ScriptedChip(double)).upload(image, machine)
    return double


def test_a_commit_whose_answer_was_lost_is_known_by_the_weights():
    assert upload_to(False, False, [None, Reply.BAD_IMAGE]).answers == []


@pytest.mark.parametrize(
    ("held_before", "stops", "first"),
    [(False, False, Reply.BAD_IMAGE), (True, False, Reply.BAD_IMAGE), (False, True, None)],
)
def test_a_commit_that_was_refused_is_done_again(held_before, stops, first):
    """This also holds if the chip already has these weights, or has stopped."""
    answers = [first] if first else [None, Reply.BAD_IMAGE]
    assert upload_to(held_before, stops, [*answers, Reply.OK]).answers == []


def test_an_upload_that_is_always_refused_fails():
    with pytest.raises(LinkError, match="did not arrive whole"):
        upload_to(True, False, [Reply.BAD_IMAGE] * 2 * ATTEMPTS)


@pytest.mark.parametrize(("baud", "most"), list(zip(SPEEDS, (1.0, 0.1), strict=True)))
def test_the_default_model_is_uploaded_in_less_than_a_second(baud, most):
    model = quantise(load_checkpoint("names"))
    machine = Machine.for_models(16, model.config)
    image = build_image(model, machine)
    double = Model(image, machine)
    chip = ScriptedChip(double)
    Link(chip).upload(image, machine)
    assert double.received == upload_bytes(image, machine)
    # The chip sends names meanwhile, one of which may delay each answer.
    names = len([f for f in chip.commands if f.code != Command.DATA]) * (image.config.context + 2)
    assert (chip.bytes_on_the_line + names) * BITS / baud < most


def test_the_chips_model_is_found_by_its_checksum(random_model):
    config = ModelConfig(1, 8, 2, 16, 8, 6)
    images = [
        build_image(random_model(config, seed), Machine.for_models(lanes, config))
        for seed, lanes in ((1, 8), (1, 16), (2, 8))
    ]
    weights = images[1].checksum(Machine.for_models(16, config))
    assert held_image(weights, images) == images[1]
    with pytest.raises(UserError, match="holds another model"):
        held_image(weights ^ 1, images)
    conversation = Conversation(speaking(1), images[0])
    assert conversation.encode("ABE") == [0, 1, 4]
    with pytest.raises(UserError, match="does not know 'xy'"):
        conversation.encode("yAx")
