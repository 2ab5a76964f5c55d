"""The checksum of memories that answer after some cycles, against zlib."""

import zlib

import pytest

from gptloom.firmware.image import CHECKED
from gptloom.hdl.checksum import Checksum


@pytest.mark.parametrize("sizes", [(5, 3, 1, 2), (1, 1, 1, 1), (16, 2, 8, 9), (7, 3, 2)])
@pytest.mark.parametrize("latency", [0, 4])
def test_it_is_zlibs(bench, sizes, latency):
    draw = bytes(i * 73 + 11 & 255 for i in range(256))
    contents = {
        region: draw[17 * i :][:size]
        for i, (region, size) in enumerate(zip(CHECKED, sizes, strict=False))
    }
    block = bench(Checksum({region: len(some) for region, some in contents.items()}))
    for _ in range(2):
        block.set(start=1)
        block.step()
        block.set(start=0)
        waited, asked = 0, []
        while block.get("busy"):
            valid, address = block.get("read__valid"), block.get("read__payload")
            waited = waited + 1 if valid else 0
            answers = waited > latency
            if answers:
                asked.append((address.region, address.address))
                waited = 0
            byte = contents[address.region][address.address] if answers else 0x5A
            block.set(read__ready=int(answers), read_data=byte)
            block.step()
        assert block.get("crc") == zlib.crc32(b"".join(contents.values()))
        assert asked == [(r, i) for r, c in contents.items() for i in range(len(c))]
