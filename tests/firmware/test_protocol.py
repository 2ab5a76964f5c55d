"""Frames, against Python's own CRC and under any disturbance of the line."""

import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptloom.firmware.image import Region, build_image
from gptloom.firmware.machine import Machine
from gptloom.firmware.protocol import (
    FLAG,
    LONGEST_DATA,
    Damaged,
    Frame,
    Receiver,
    config_hash,
    crc16,
    upload_bytes,
    upload_sizes,
)
from gptloom.firmware.regions import COMMON
from gptloom.model.config import ModelConfig

frames = st.builds(
    Frame,
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=LONGEST_DATA),
)
LINE = st.text(st.characters(min_codepoint=32, max_codepoint=125), max_size=16)


def mirrored(byte):
    return int(f"{byte:08b}"[::-1], 2)


@given(st.binary())
def test_the_crc_is_the_one_of_ccitt_mirrored(data):
    forwards = binascii.crc_hqx(bytes(map(mirrored, data)), 0xFFFF)
    assert crc16(data)[::-1].hex() == f"{int(f'{forwards ^ 0xFFFF:016b}'[::-1], 2):04x}"


def test_the_crc_of_the_catalogue():
    # CRC-16/IBM-SDLC, also called X-25: its check value.
    assert crc16(b"123456789") == bytes([0x6E, 0x90])


@given(st.lists(st.one_of(frames, LINE)), st.integers(1, 20))
def test_frames_and_lines_arrive_as_they_were_sent(sent, piece):
    line = b"".join(
        item.encode() if isinstance(item, Frame) else item.encode() + b"\r\n" for item in sent
    )
    receiver, received = Receiver(), []
    for at in range(0, len(line), piece):
        received += receiver.feed(line[at : at + piece])
    assert received == sent


@given(frames, st.integers(0), st.integers(0, 7))
def test_a_bit_that_flips_never_gives_another_frame(frame, place, bit):
    line = bytearray(frame.encode())
    line[place % len(line)] ^= 1 << bit
    assert not [f for f in Receiver().feed(line) if isinstance(f, Frame) and f != frame]


@given(st.binary(max_size=300), frames)
def test_after_garbage_the_second_frame_arrives_at_the_latest(garbage, frame):
    receiver = Receiver()
    received = list(receiver.feed(garbage + frame.encode() + frame.encode() + frame.encode()))
    assert frame in received


@given(frames, st.data())
def test_a_frame_cut_short_is_no_frame(frame, data):
    line = frame.encode()
    cut = line[: data.draw(st.integers(0, len(line) - 1))]
    assert not [f for f in Receiver().feed(cut) if isinstance(f, Frame)]
    whole = list(Receiver().feed(cut[:1] + bytes([FLAG])))
    assert not [f for f in whole if isinstance(f, Frame)]


def test_too_much_between_flags_is_damaged():
    (damaged,) = Receiver().feed(bytes([FLAG]) + bytes(LONGEST_DATA + 9))
    assert isinstance(damaged, Damaged)


def test_too_much_data_is_refused():
    with pytest.raises(ValueError, match="at most 64"):
        Frame(1, 2, 3, bytes(65)).encode()


def test_an_upload_is_what_the_load_port_would_write(random_model):
    model = random_model(ModelConfig(1, 8, 2, 16, 8, 6))
    machine = Machine.for_models(8, model.config)
    image = build_image(model, machine)
    data, sizes = upload_bytes(image, machine), upload_sizes(image, machine)
    assert list(sizes) == list(COMMON)
    assert sum(sizes.values()) == len(data)
    starts, at = {}, 0
    for region, size in sizes.items():
        starts[region], at = at, at + size
    for region, address, byte in image.writes(machine):
        assert data[starts[region] + address] == byte


def test_the_hash_tells_shapes_and_sizes_apart():
    sizes = dict.fromkeys(Region, 10)
    config = ModelConfig(1, 8, 2, 16, 8, 6)
    hashes = {
        config_hash(8, config, sizes),
        config_hash(16, config, sizes),
        config_hash(8, ModelConfig(2, 8, 2, 16, 8, 6), sizes),
        config_hash(8, config, sizes | {Region.PAGE: 11}),
        config_hash(8, config, sizes, 2),
        config_hash(8, config, sizes, 0, (6, 8)),
        config_hash(8, config, sizes, 0, (8, 6)),
    }
    assert len(hashes) == 7
