"""Abuse of the line and the chip: the chip generates or reports an error, and never hangs.

Functions take a :class:`chip.Chip`, so that each of them runs in every simulator.
"""

import random
from functools import partial

import pytest

from gptloom.boards.answers import LinkError
from gptloom.boards.link import Link
from gptloom.firmware.page import encode_scale
from gptloom.firmware.protocol import (
    ESCAPE,
    FLAG,
    Command,
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
from gptloom.sim.serial_chip import DIVIDER

COMMANDS = [c for c in Command if c != Command.DATA]


def upload_line(chip):
    """Return the bytes of an upload of the other image, and the start of its COMMIT frame."""
    sizes = upload_sizes(chip.image, chip.machine)
    config = config_hash(chip.machine.lanes, chip.model.config, sizes, chip.machine.slots)
    data = upload_bytes(chip.other_image, chip.machine)
    frames = [Frame(Command.DATA, 0, at, data[at : at + 64]) for at in range(0, len(data), 64)]
    line = b"".join(frame.encode() for frame in frames)
    commit = Frame(Command.COMMIT, 1, upload_crc(chip.other_image, chip.machine)).encode()
    return Frame(Command.BEGIN, 1, config).encode(), line, commit


def settle(chip):
    """Read until no answer and no prompt is pending."""
    for _ in range(3):
        chip.link._receive(5e-5)
    chip.link._frames.clear()
    for _ in range(100):
        if not chip.link.get(Item.STATE) & 1 << State.PROMPT:
            break
        chip.link._frames.clear()
    else:
        raise AssertionError("a prompt never ends")


def frames_without_stop_bits(chip):
    frame = Frame(Command.GET, 1, Item.CONFIG).encode()
    for broken in range(len(frame)):
        levels = []
        for i, byte in enumerate(frame):
            levels += [0, *(byte >> bit & 1 for bit in range(8)), int(i != broken)]
        chip.port.write_levels(levels, DIVIDER)
        settle(chip)
    chip.check_alive()
    # A break, and the line held low for long.
    chip.port.write_levels([0], 10_000)
    chip.check_alive()


def frames_with_a_wrong_crc(chip):
    frame = bytearray(Frame(Command.SEED, 9, 1).encode())
    frame[4] ^= 1
    chip.port.write(bytes(frame))
    answer = chip.link._wait(9, None)
    assert answer.code == Reply.DAMAGED
    assert chip.link.get(Item.STATE) >> 8 == 1
    chip.check_alive()


def garbage_at_a_wrong_rate(chip, cycles):
    draw = random.Random(cycles)
    for _ in range(4 if cycles > 30 else 20):
        frame = Frame(draw.choice(COMMANDS), 1, draw.getrandbits(32), draw.randbytes(8)).encode()
        levels = [x for b in frame for x in (0, *(b >> i & 1 for i in range(8)), 1)]
        chip.port.write_levels(levels, cycles)
    settle(chip)
    chip.check_alive()


def random_bytes(chip, count, seed):
    """Send random bytes, a third of them with a special meaning."""
    draw = random.Random(seed)
    special = bytes([FLAG, ESCAPE, *Command, 0, 8, 0xFF])
    before = chip.link.counters().tokens
    for _ in range(count // 100):
        chip.port.write(
            bytes(
                draw.choice(special) if draw.random() < 0.3 else draw.getrandbits(8)
                for _ in range(100)
            )
        )
        chip.link._receive(0)
    settle(chip)
    assert chip.link.counters().tokens > before
    chip.check_alive()


def random_frames(chip):
    """Send intact frames with any code and argument, without waiting for answers."""
    draw = random.Random(3)
    for _ in range(300):
        code = draw.choice([*COMMANDS, draw.getrandbits(8)])
        data = draw.randbytes(draw.choice([0, 0, 1, 5, 64]))
        argument = draw.choice([0, 1, draw.getrandbits(32)])
        chip.port.write(Frame(code, draw.getrandbits(8), argument, data).encode())
        chip.link._receive(draw.choice([0, 2e-5, 2e-4]))
    settle(chip)
    chip.check_alive()


REPLIES = {
    Command.PROMPT: {Reply.OK, Reply.BUSY, Reply.TOKEN},
    Command.BEGIN: {Reply.BAD_IMAGE},
    Command.COMMIT: {Reply.BAD_IMAGE},
}
"""Answers to commands with the arguments below; other commands are executed."""


def commands_at_any_moment(chip, command):
    """Send a command at moments that cover a whole document, a prompt's or a name's."""
    arguments = {
        Command.GET: Item.WEIGHTS,
        Command.TEMPERATURE: encode_scale(chip.model.logit_scale(0.5)),
        Command.RUN: 1,
        Command.SEED: 5,
    }
    argument = arguments.get(command, 0)
    data = bytes([1, 2]) if command == Command.PROMPT else b""
    for moment in range(0, 3000, 101):
        if moment % 2:
            chip.port.write(Frame(Command.PROMPT, 77, 0, bytes([1])).encode())
        chip.engine.step(moment)
        chip.port.write(Frame(command, 78, argument, data).encode())
        answer = chip.link._wait(78, None)
        # The command is lost if it comes before the prompt's answer is sent.
        assert answer or moment % 2
        if answer:
            assert answer.code in REPLIES.get(command, {Reply.OK}), Reply(answer.code)
            assert command != Command.GET or answer.argument == chip.crc
        settle(chip)
    chip.check_alive()


def unknown_commands(chip):
    for code in set(range(256)) - set(Command) - {Reply.DAMAGED}:
        chip.port.write(Frame(code, 78, 0).encode())
        assert chip.link._wait(78, None).code == Reply.UNKNOWN
    for item in (len(Item), 0x100, 1 << 31):
        chip.port.write(Frame(Command.GET, 78, item).encode())
        assert chip.link._wait(78, None).code == Reply.UNKNOWN
    chip.check_alive()


def uploads_at_any_moment(chip):
    """Upload whole images while names or a prompt run."""
    models = [(chip.other, chip.other_image), (chip.model, chip.image)]
    for number, moment in enumerate(range(0, 3000, 501)):
        model, image = models[number % 2]
        if moment % 2:
            chip.port.write(Frame(Command.PROMPT, 77, 0, bytes([1])).encode())
        chip.engine.step(moment)
        chip.link.upload(image, chip.machine)
        chip.check_alive(model)


def two_prompts_at_once(chip):
    chip.link.pause()
    chip.link.temperature(chip.model.logit_scale(0))
    documents = {77: [0], 78: [3, 2]}
    golden = {s: next(chip.golden(temperature=0, prompt=p)) for s, p in documents.items()}
    busy = 0
    for moment in range(0, 12_000, 600):
        for sequence, prompt in documents.items():
            chip.port.write(Frame(Command.PROMPT, sequence, 0, bytes(prompt)).encode())
            if sequence == 77:
                chip.engine.record(["tx"])
                chip.engine.step(moment)
                chip.port._decode()
        frames = []
        for _ in range(40):
            frames += [
                item
                for item in chip.link._receiver.feed(chip.port.read(5e-5))
                if isinstance(item, Frame)
            ]
        for sequence in documents:
            mine = [f for f in frames if f.sequence == sequence]
            said = [f.argument & 0xFF for f in mine if f.code == Reply.TOKEN]
            taken = any(f.code == Reply.OK for f in mine)
            busy += any(f.code == Reply.BUSY for f in mine)
            assert said == ([*golden[sequence], 5][: len(said)] if taken else [])
            assert not taken or mine[-1].argument >> 16 == 1
            assert sequence == 78 or taken
    assert busy
    chip.check_alive()


class Lossy:
    """A port that damages, loses and duplicates bytes."""

    def __init__(self, port, seed, rate):
        self._port, self._draw, self._rate = port, random.Random(seed), rate
        self.patience = port.patience
        self.now, self.close = port.now, port.close

    def _spoil(self, data):
        spoiled = bytearray()
        for byte in data:
            if self._draw.random() >= self._rate:
                spoiled.append(byte)
                continue
            flipped = byte ^ 1 << self._draw.randrange(8)
            spoiled += self._draw.choice([b"", bytes([byte, byte]), bytes([flipped])])
        return bytes(spoiled)

    def write(self, data):
        self._port.write(self._spoil(data))

    def read(self, seconds=0.0):
        return self._spoil(self._port.read(seconds))


def uploads_over_a_bad_line(chip, seed):
    link = Link(Lossy(chip.port, seed, 0.002))
    try:
        link.upload(chip.other_image, chip.machine)
        model = chip.other
    except LinkError:
        weights = chip.link.get(Item.WEIGHTS)
        model = chip.model if weights == chip.crc else chip.other
    chip.check_alive(model)


def attention_over_a_bad_line(chip, seed):
    """Data that arrives is right, and losses are noticed."""
    link, told = Link(Lossy(chip.port, seed, 0.01)), 0
    chip.link.pause()
    chip.link.temperature(chip.model.logit_scale(0))
    for prompt in ([1], [2, 3], [], [0, 1, 2], [4]) * 4:
        try:
            spoken = list(link.prompt(prompt, chip.model.config))
        except LinkError:
            settle(chip)
            continue
        chip.check_attended(spoken, prompt, 0)
        told += 1
    assert 0 < told < 20
    chip.check_alive()


def frame_ends(line):
    """Return the ends of a line's frames, without the flag: the next frame's flag will do."""
    return [i for i, byte in enumerate(line) if byte == FLAG][1::2]


def interrupt(chip, positions):
    """Cut an upload after each of some numbers of bytes; then repeat it whole.

    Without its last flag a COMMIT is still complete: the next frame's first flag ends it.
    """
    begin, line, commit = upload_line(chip)
    chip.lines(1)
    for position in positions:
        chip.port.write(begin[:position])
        if position >= len(begin):
            assert chip.link._wait(1, None).code == Reply.OK
            rest = (line + commit)[: position - len(begin)]
            chip.port.write(rest)
            whole = sum(end <= len(rest) for end in frame_ends(line))
            size = len(upload_bytes(chip.image, chip.machine))
            assert chip.link.get(Item.RECEIVED) == min(64 * whole, size)
        settle(chip)
        assert chip.link.get(Item.WEIGHTS) == chip.crc, f"cut after {position} bytes"
        assert chip.link.get(Item.STATE) & 1 << State.STOPPED == 0
        before = chip.link.counters().tokens
        assert chip.link.counters().tokens > before
    chip.check_alive()
    chip.link.upload(chip.other_image, chip.machine)
    chip.check_alive(chip.other)


def uploads_that_are_cut(chip):
    size = sum(map(len, upload_line(chip)))
    interrupt(chip, [*range(1, 14), *range(14, size, 131), *range(size - 12, size - 1)])


def uploads_cut_after_any_byte(chip):
    """Cut uploads after every byte."""
    interrupt(chip, range(1, sum(map(len, upload_line(chip))) - 1))


def hardware_reset(chip):
    chip.engine.poke("rst", 1)
    chip.engine.step()
    chip.engine.poke("rst", 0)
    chip.link._receiver = Receiver()
    # The rest of the data on the line is cut off.
    chip.port.write_levels([1], 20 * DIVIDER)
    settle(chip)


def resets_in_any_cycle(chip):
    """Reset while names run, the button is pressed, a prompt is continued, an upload comes in."""
    draw = random.Random(4)
    begin, line, _ = upload_line(chip)
    activities = {
        "names": lambda: None,
        "button": lambda: chip.engine.poke("button", draw.getrandbits(1)),
        "prompt": lambda: chip.port.write(Frame(Command.PROMPT, 7, 0, bytes([1, 2])).encode()),
        "attention": lambda: chip.port.write(Frame(Command.PROMPT, 7, 1, bytes([1, 2])).encode()),
        "upload": lambda: chip.port.write(begin + line[: draw.randrange(len(line))]),
    }
    for number in range(80):
        list(activities.values())[number % len(activities)]()
        chip.engine.step(draw.randrange(4_000))
        hardware_reset(chip)
        assert chip.link.get(Item.STATE) == 0
        assert chip.link.get(Item.WEIGHTS) == chip.crc
    chip.engine.poke("button", 0)
    chip.check_alive()
    assert all(set(line) <= set("ABCDE") for line in chip.lines(30) if "weights" not in line)


def resets_during_commits(chip):
    """In the middle of the copy the memories hold a mix: the chip reports it and stays stopped."""
    begin, line, commit = upload_line(chip)
    outcomes = set()
    for moment in range(0, 52_000, 3_467):
        chip.power_on()
        chip.lines(1)
        chip.port.write(begin)
        assert chip.link._wait(1, None).code == Reply.OK
        chip.port.write(line)
        chip.port.write(commit)
        chip.engine.step(moment)
        hardware_reset(chip)
        stopped = bool(chip.link.get(Item.STATE) & 1 << State.STOPPED)
        weights = chip.link.get(Item.WEIGHTS)
        if stopped:
            with pytest.raises(LinkError, match="has stopped"):
                list(chip.link.prompt([1]))
            tokens = chip.link.counters().tokens
            assert chip.link.counters().tokens == tokens
            outcomes.add("stopped")
            chip.link.upload(chip.image, chip.machine)
            chip.check_alive()
        else:
            held = {chip.crc: "old", chip.other_image.checksum(chip.machine): "new"}
            outcomes.add(held[weights])
    assert outcomes == {"old", "stopped", "new"}


ABUSES = {
    "frames without stop bits": frames_without_stop_bits,
    "frames with a wrong CRC": frames_with_a_wrong_crc,
    **{
        f"garbage of {cycles} cycles a bit": partial(garbage_at_a_wrong_rate, cycles=cycles)
        for cycles in (3, 5, 6, 10, 12, 16, 33, 69, 833)
    },
    "random bytes": partial(random_bytes, count=5_000, seed=1),
    "random frames": random_frames,
    **{
        f"{command.name} at any moment": partial(commands_at_any_moment, command=command)
        for command in COMMANDS
    },
    "unknown commands": unknown_commands,
    "uploads at any moment": uploads_at_any_moment,
    "two prompts at once": two_prompts_at_once,
    **{
        f"uploads over a bad line, {seed}": partial(uploads_over_a_bad_line, seed=seed)
        for seed in range(4)
    },
    "attention over a bad line": partial(attention_over_a_bad_line, seed=1),
    "uploads that are cut": uploads_that_are_cut,
    "resets in any cycle": resets_in_any_cycle,
    "resets during commits": resets_during_commits,
}
"""Abuses tested every day."""

HUNDRED_THOUSAND = "a hundred thousand random bytes"

LONG_ABUSES = {
    HUNDRED_THOUSAND: partial(random_bytes, count=100_000, seed=2),
    "uploads cut after any byte": uploads_cut_after_any_byte,
}
"""Abuses that take minutes."""
