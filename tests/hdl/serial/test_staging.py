"""The staging memory, byte by byte."""

import pytest

from gptloom.hdl.serial.staging import Staging

SIZE = 100


def pulse(block, **values):
    block.set(**values)
    block.step()
    block.set(**dict.fromkeys(values, 0))


def frame(block, data, claim=True):
    """Write a frame's data and its CRC, and count it or not."""
    pulse(block, to_end=1)
    for byte in [*data, 0xAA, 0xBB]:
        pulse(block, write=1, write_data=byte)
    block.step()
    if claim:
        pulse(block, claim=1)
    block.step()


def contents(block):
    pulse(block, to_start=1)
    seen = bytearray()
    for _ in range(block.get("received")):
        block.step(2)
        seen.append(block.get("read_data"))
        pulse(block, step=1)
    return bytes(seen)


def test_what_counts_is_kept(bench):
    block = bench(Staging(SIZE))
    frame(block, range(60))
    # A damaged frame: its bytes are written, and overwritten by the next frame's.
    frame(block, [0xEE] * 64, claim=False)
    assert contents(block) == bytes(range(60))
    frame(block, range(60, 100))
    assert block.get("complete")
    assert contents(block) == bytes(range(100))


def test_more_than_an_upload_does_not_count(bench):
    block = bench(Staging(SIZE))
    frame(block, range(60))
    frame(block, range(41))
    assert block.get("received") == 60
    frame(block, range(40))
    assert block.get("complete")
    # Nor does it wrap around to earlier contents.
    frame(block, [0xEE] * 64)
    assert contents(block) == bytes([*range(60), *range(40)])
    pulse(block, discard=1)
    block.step()
    assert block.get("received") == 0
    assert not block.get("complete")


def test_the_size_is_checked():
    with pytest.raises(ValueError, match="at least 1"):
        Staging(0)
