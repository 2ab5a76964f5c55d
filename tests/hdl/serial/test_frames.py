"""Frames in hardware, against the host's own code, and bytes from the pin."""

import random
from itertools import pairwise

import pytest

from gptloom.firmware.protocol import ESCAPE, FLAG, LONGEST_DATA, Damaged, Frame, Receiver
from gptloom.hdl.serial.deframer import Deframer
from gptloom.hdl.serial.framer import Framer
from gptloom.hdl.uart import SerialReceiver

GAP = 10
"""Cycles from byte to byte at the highest possible rate."""

FRAMES = [
    Frame(1, 2, 3),
    Frame(FLAG, ESCAPE, 0x7E7D7E7D, bytes([FLAG, ESCAPE, 0, 0xFF])),
    Frame(0, 0, 0),
    Frame(0xFF, 0xFF, 0xFFFFFFFF, bytes(range(LONGEST_DATA))),
]


def deframed(block, line):
    """Return the hardware's decoding of a line, in the form of the host's receiver.

    Texts are single bytes.
    """
    seen, data = [], bytearray()
    for byte in line:
        block.set(valid=1, byte=byte)
        if block.get("begin"):
            data.clear()
        if block.get("data_valid"):
            data.append(block.get("data"))
        if block.get("text"):
            seen.append(byte)
        block.step()
        block.set(valid=0)
        if block.get("arrived"):
            if block.get("good"):
                header = [block.get(name) for name in ("code", "sequence", "argument")]
                seen.append(Frame(*header, bytes(data[:-2])))
                assert block.get("length") == 8 + len(data[:-2])
            else:
                seen.append("damaged")
        block.step(GAP - 1)
    return seen


def expected(line):
    receiver, seen = Receiver(), []
    for byte in line:
        # Text is output a byte at a time here.
        inside = receiver._inside
        for item in receiver.feed(bytes([byte])):
            if isinstance(item, Damaged):
                # A frame that is too long is dropped silently.
                seen += ["damaged"] if byte == FLAG else []
            elif isinstance(item, Frame):
                seen.append(item)
        if not inside and byte != FLAG:
            seen.append(byte)
    return seen


def test_frames_are_taken_apart(bench):
    line = b"".join(frame.encode() for frame in FRAMES)
    assert deframed(bench(Deframer()), line) == FRAMES


def test_any_bytes_are_taken_apart_as_the_host_does(bench):
    draw, block = random.Random(1), bench(Deframer())
    line = bytearray()
    for _ in range(60):
        frame = bytearray(draw.choice(FRAMES).encode())
        match draw.randrange(5):
            case 0:
                frame[draw.randrange(len(frame))] ^= 1 << draw.randrange(8)
            case 1:
                del frame[draw.randrange(len(frame))]
            case 2:
                del frame[draw.randrange(len(frame)) :]
            case 3:
                frame += draw.randbytes(draw.randrange(90))
        line += frame
    seen = deframed(block, line)
    assert seen == expected(line)
    assert {type(item) for item in seen} == {Frame, str, int}


def test_bytes_are_dropped_while_the_last_frame_is_needed(bench):
    block = bench(Deframer())
    first, second = FRAMES[0], FRAMES[3]
    assert deframed(block, first.encode()) == [first]
    block.set(hold=1)
    half = len(second.encode()) // 2
    assert deframed(block, second.encode()[:half]) == []
    assert block.get("argument") == first.argument
    block.set(hold=0)
    # The rest belongs to no frame; its closing flag is taken for an opening one.
    assert not [x for x in deframed(block, second.encode()[half:]) if isinstance(x, Frame)]
    assert deframed(block, second.encode()) == [second]


def test_a_number_can_be_put_in_the_arguments_place(bench):
    block = bench(Deframer())
    deframed(block, FRAMES[0].encode())
    block.set(set=1, value=0x12345678)
    block.step()
    assert block.get("argument") == 0x12345678


@pytest.mark.parametrize("wait", [0, 1, 30])
def test_what_is_sent_is_what_the_host_would_have_sent(bench, wait):
    block = bench(Framer())
    for frame in [f for f in FRAMES if not f.data] + [Frame(0x80, ESCAPE, 0x007E7D00)]:
        header = dict(code=frame.code, sequence=frame.sequence, argument=frame.argument)
        block.set(start=1, i=header, o__ready=0)
        block.step()
        block.set(start=0)
        line = bytearray()
        for cycle in range(2000):
            ready = cycle % (wait + 1) == wait
            block.set(o__ready=int(ready))
            if ready and block.get("o__valid"):
                line.append(block.get("o__payload"))
            done, busy = block.get("done"), block.get("busy")
            block.step()
            if done:
                assert busy
                break
        assert not block.get("busy")
        assert bytes(line) == frame.encode()


def levels(data, divider):
    bits = [bit for byte in data for bit in (0, *(byte >> i & 1 for i in range(8)), 1)]
    return [bit for bit in bits for _ in range(divider)]


def heard(block, line):
    seen = block.play([{"rx": level} for level in line], ["valid", "byte"], after=40)
    return bytes(s["byte"] for s in seen if s["valid"])


@pytest.mark.parametrize("divider", [4, 5, 8, 87])
def test_bytes_come_from_the_pin(bench, divider):
    text = b"\x00\xff\x55a\x80\x01"
    assert heard(bench(SerialReceiver(divider)), levels(text, divider)) == text


@pytest.mark.parametrize("factor", [0.98, 1.02])
def test_bytes_come_at_a_rate_that_is_two_per_cent_off(bench, factor):
    text, divider = bytes(range(0, 256, 17)), 100
    edges = [round(i * divider * factor) for i in range(10 * len(text) + 1)]
    bits = levels(text, 1)
    line = [bit for bit, (a, b) in zip(bits, pairwise(edges), strict=True) for _ in range(b - a)]
    assert heard(bench(SerialReceiver(divider)), line) == text


def test_a_byte_without_a_stop_bit_is_dropped(bench):
    divider, rest = 8, [1] * 8
    framed = levels(b"A", divider)
    broken = framed[:-divider] + [0] * divider * 30 + rest
    glitch = [0] * 2 + [1] * 200
    line = framed + broken + framed + glitch + framed
    assert heard(bench(SerialReceiver(divider)), line) == b"AAA"


def test_a_bit_needs_four_cycles():
    with pytest.raises(ValueError, match="at least 4"):
        SerialReceiver(3)
