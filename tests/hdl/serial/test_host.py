"""A chip in proper use: every answer against the golden model or zlib."""

import random
from dataclasses import replace

import pytest
from chip import CONFIG, Chip

from gptloom.boards.answers import LinkError, RefusedError
from gptloom.firmware.image import build_image
from gptloom.firmware.protocol import (
    VERSION,
    Command,
    Frame,
    Item,
    Reply,
    State,
    config_hash,
    upload_bytes,
    upload_crc,
    upload_sizes,
)
from gptloom.hdl.serial.commands import Commands
from gptloom.hdl.serial.loader import Pass
from gptloom.model.errors import UserError
from gptloom.model.tokenizers.characters import Characters
from gptloom.sim.engines import open_engine

# One test process builds it while the others run other tests.
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("small chip")]


def in_order(lines, names):
    generated = iter(names)
    return all(line in generated for line in lines)


def test_a_terminal_sees_the_checksum_and_names(chip):
    first, *names = chip.lines(40)
    assert first == f"weights {chip.crc:08X}"
    assert in_order(names, chip.names())


def test_any_other_byte_asks_for_the_checksum(chip):
    chip.lines(3)
    chip.port.write(b"a")
    lines = chip.lines(40)
    assert lines.count(f"weights {chip.crc:08X}") == 1
    assert in_order([line for line in lines if " " not in line], chip.names())


def test_the_chip_says_what_it_is(chip):
    identity = chip.link.identify()
    sizes = upload_sizes(chip.image, chip.machine)
    assert identity.version == VERSION
    assert identity.config == config_hash(
        chip.machine.lanes, chip.model.config, sizes, chip.machine.slots
    )
    assert identity.weights == chip.crc


def test_counters_count(chip):
    first, second = chip.link.counters(), chip.link.counters()
    assert 0 < first.tokens < second.tokens
    assert first.cycles < second.cycles <= chip.engine.cycles
    chip.link.pause()
    # The present document ends first.
    chip.port.read(1e-3)
    tokens = chip.link.counters().tokens
    assert chip.link.counters().tokens == tokens


@pytest.mark.parametrize("prompt", [[], [0], [1, 2], [4, 4, 4], [0, 1, 2, 3, 4, 0, 1]])
def test_a_prompt_is_continued_as_the_golden_model_does(chip, prompt):
    chip.link.pause()
    for seed, temperature in ((7, 1.5), (1, 0.4), (2**32 - 1, 1.0), (5, 0)):
        chip.link.temperature(chip.model.logit_scale(temperature))
        chip.link.seed(seed)
        documents = chip.golden(temperature=temperature, seed=seed, prompt=prompt)
        for _ in range(2):
            assert chip.continuation(prompt) == next(documents)


def test_prompts_find_what_is_there_of_them(chip):
    """Counters read over the line: the begin token and all known ones but the last are reused."""
    chip.link.pause()
    chip.link.temperature(chip.model.logit_scale(0))
    greedy = {
        prompt: next(chip.golden(temperature=0, prompt=prompt)) for prompt in [(1, 2, 3), (4,)]
    }
    found = "rows found"
    for prompt, again in [((1, 2, 3), 0), ((4,), 0), ((1, 2, 3), 3), ((4,), 1)]:
        before = chip.link.cache_counters()
        tokens = [spoken.token for spoken in chip.link.prompt(list(prompt))]
        assert [t for t in tokens if t != chip.model.tokenizer.bos] == greedy[prompt]
        after = chip.link.cache_counters()
        if again:
            assert after[found] - before[found] == again
            assert after["documents that found rows"] == before["documents that found rows"] + 1
        rows = min(len(prompt) + len(tokens), chip.model.config.context)
        assert after["rows of the last document"] == rows
        assert after["rows written"] - before["rows written"] == rows - (
            after[found] - before[found]
        )
        assert after["rows evicted"] == 0


def test_positions_follow_the_prompt(chip):
    spoken = list(chip.link.prompt([1, 2, 3]))
    assert [s.position for s in spoken] == list(range(3, 3 + len(spoken)))


@pytest.mark.parametrize("length", [8, 9, 64])
def test_a_prompt_that_does_not_fit_is_cut(chip, length):
    (spoken,) = chip.link.prompt([1] * length)
    assert spoken.last
    assert spoken.position == 7
    chip.check_alive()


def test_a_prompt_longer_than_a_frame_is_refused(chip):
    with pytest.raises(UserError, match="64 at most"):
        next(chip.link.prompt([1] * 65))


def test_names_go_on_between_prompts(chip):
    chip.lines(3)
    for _ in range(5):
        chip.continuation([1])
    chip.link.lines.clear()
    # Prompts draw from the same random numbers: names differ, but are still names.
    assert all(set(line) <= set("ABCDE") for line in chip.lines(20))


def test_pause_and_resume(chip):
    chip.link.pause()
    assert chip.link.get(Item.STATE) == 1 << State.PAUSED
    chip.port.read(1e-3)
    chip.link.lines.clear()
    chip.link._receive(2e-3)
    assert not chip.link.lines
    chip.link.resume()
    assert chip.link.get(Item.STATE) == 0
    assert len(chip.lines(10)) == 10


def test_reset_begins_anew(chip):
    chip.link.temperature(chip.model.logit_scale(1.5))
    chip.link.seed(99)
    chip.link.pause()
    chip.link.reset()
    lines = list(chip.link.lines) + chip.lines(60)
    # Names generated before the reset have ended when the checksum comes.
    anew = max(i for i, line in enumerate(lines) if line == f"weights {chip.crc:08X}")
    assert in_order(lines[anew + 1 :], chip.names())


def test_greedy_outlives_what_comes_right_after_a_reset(chip):
    chip.link.reset()
    chip.link.temperature(chip.model.logit_scale(0))
    chip.lines(5)
    assert chip.continuation([2]) == next(chip.golden(temperature=0, prompt=[2]))


def test_an_unknown_command_is_refused(chip):
    for code in (0, 0x0A, 0x7E, 0xFF):
        with pytest.raises(RefusedError) as refused:
            chip.link._command(code, 0)
        assert refused.value.reply == Reply.UNKNOWN
    chip.check_alive()


def test_an_upload_replaces_the_model(chip):
    arrived = []
    chip.link.upload(chip.other_image, chip.machine, lambda *bytes_: arrived.append(bytes_))
    size = len(upload_bytes(chip.image, chip.machine))
    assert arrived[-1] == (size, size)
    assert chip.link.get(Item.STATE) == 0
    lines = list(chip.link.lines) + chip.lines(60)
    label = f"weights {chip.other_image.checksum(chip.machine):08X}"
    assert in_order(lines[lines.index(label) + 1 :], chip.names(chip.other))
    chip.check_alive(chip.other)


@pytest.mark.nightly
def test_an_upload_without_a_table_of_positions_replaces_the_model(random_model):
    config = replace(CONFIG, positions="alibi")
    chip = Chip(random_model(config, 1), random_model(config, 2), open_engine, slots=0)
    try:
        chip.check_alive()
        chip.link.upload(chip.other_image, chip.machine)
        chip.check_alive(chip.other)
    finally:
        chip.engine.close()


def test_no_line_mixes_two_models(chip):
    """The characters change as well, while lines are sent without a pause."""
    other = replace(chip.other, tokenizer=Characters("VWXYZ"))
    image = build_image(other, chip.machine)
    chip.lines(3)
    for new in (image, chip.image):
        chip.link.lines.clear()
        chip.link.upload(new, chip.machine)
        lines = list(chip.link.lines) + chip.lines(20)
        names = [line for line in lines if not line.startswith("weights")]
        assert all(set(name) <= set("ABCDE") or set(name) <= set("VWXYZ") for name in names)
        if new is image:
            assert in_order(chip.lines(5), chip.names(other))
    chip.check_alive()


def begin(chip, data):
    sizes = upload_sizes(chip.image, chip.machine)
    config = config_hash(chip.machine.lanes, chip.model.config, sizes, chip.machine.slots)
    chip.link._command(Command.BEGIN, config)
    chip.link._send_data(data, lambda done, total: None)


def refused(chip, command, argument):
    with pytest.raises(RefusedError) as error:
        chip.link._command(command, argument)
    return error.value.reply


def test_an_image_that_is_not_right_is_refused(chip):
    data = upload_bytes(chip.other_image, chip.machine)
    crc = upload_crc(chip.other_image, chip.machine)
    assert refused(chip, Command.BEGIN, 12345) == Reply.BAD_IMAGE
    assert refused(chip, Command.COMMIT, crc) == Reply.BAD_IMAGE
    begin(chip, data)
    assert refused(chip, Command.COMMIT, crc ^ 1) == Reply.BAD_IMAGE
    # After that the image has to be sent again.
    assert refused(chip, Command.COMMIT, crc) == Reply.BAD_IMAGE
    begin(chip, data[:-1])
    assert refused(chip, Command.COMMIT, crc) == Reply.BAD_IMAGE
    changed = bytearray(data)
    changed[random.Random(1).randrange(len(data))] ^= 4
    begin(chip, changed)
    assert refused(chip, Command.COMMIT, crc) == Reply.BAD_IMAGE
    chip.check_alive()


def test_data_counts_only_where_it_belongs(chip):
    data = upload_bytes(chip.other_image, chip.machine)
    begin(chip, data[:64])
    for at, piece in ((0, data[:64]), (128, data[128:192]), (65, data[65:70])):
        chip.port.write(Frame(Command.DATA, 0, at, piece).encode())
        assert chip.link.get(Item.RECEIVED) == 64
    chip.link._command(Command.RESET, 1)
    chip.port.write(Frame(Command.DATA, 0, 64, data[64:128]).encode())
    assert chip.link.get(Item.RECEIVED) == 64
    chip.check_alive()


def test_an_image_of_other_dimensions_is_refused(chip):
    smaller = replace(chip.image, regions=chip.image.regions, lanes=16)
    with pytest.raises(LinkError, match="does not fit the chip"):
        chip.link.upload(smaller, chip.machine)
    chip.check_alive()


def test_memories_that_do_not_keep_what_is_loaded_stop_the_chip(bench):
    """The commands alone, with a core whose checksum is wrong after the copy."""
    block = bench(Commands(config=77, bos=5))
    block.set(text_run=1, code=Command.COMMIT, argument=1234, good=1, i__ready=0, length=8)

    def send(code, argument, crcs=(), complete=0):
        block.set(code=code, argument=argument, arrived=1, complete=complete)
        block.step()
        block.set(arrived=0)
        crcs = iter(crcs)
        for _ in range(100):
            if block.get("start_pass"):
                passes.append(Pass(block.get("kind")))
                block.step()
                block.set(passing=1)
                block.step(3)
                block.set(passing=0, crc=next(crcs))
            if block.get("reply"):
                block.set(sending_reply=1, sent=1)
                reply = block.get("frame").code
                block.step()
                block.set(sent=0, sending_reply=0)
                return reply
            block.step()
        raise AssertionError

    passes = []
    assert send(Command.BEGIN, 77) == Reply.OK
    assert send(Command.COMMIT, 1234, [1234, 1234, 99], complete=1) == Reply.STOPPED
    assert passes == [Pass.STAGED, Pass.COPY, Pass.LIVE]
    block.step(5)
    assert not block.get("i__valid")
    assert send(Command.PROMPT, 0) == Reply.STOPPED
    assert send(Command.RUN, 1) == Reply.STOPPED
    # A good upload repairs it.
    assert send(Command.BEGIN, 77) == Reply.OK
    assert send(Command.COMMIT, 1234, [1234, 1234, 1234], complete=1) == Reply.OK
    block.step(5)
    assert block.get("i__valid")
    assert block.get("i__payload").token == 5
