"""The serial line's protocol: messages between a host and the chip, and their framing.

Lines of text (names, and the checksum of the weights) go from the chip to anyone who listens;
frames go both ways, between the lines. A frame is a body between two flags, in which bytes that
would be taken for a flag are escaped, as in HDLC (RFC 1662). The body: code, sequence number, a
32-bit argument, up to 64 bytes of data, CRC-16/X-25; numbers are little-endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import ceil

from amaranth.lib.crc.catalog import CRC16_X25

from gptloom.firmware.image import Image, kind_numbers
from gptloom.firmware.machine import Machine
from gptloom.firmware.regions import COMMON, Region
from gptloom.model.arithmetic import MANTISSA_BITS
from gptloom.model.config import ModelConfig
from gptloom.model.formats import STANDARD
from gptloom.model.positions import Positions

FLAG, ESCAPE, FLIP = 0x7E, 0x7D, 0x20
"""Begins and ends a frame; announces an escaped byte; is exclusive-ored with that byte."""

HEADER = struct.Struct("<BBI")
CRC_BYTES = 2
LEAST_BODY = HEADER.size + CRC_BYTES
LONGEST_DATA = 64
LONGEST_BODY = LEAST_BODY + LONGEST_DATA

MAGIC = int.from_bytes(b"LOM", "big")
VERSION = 1
"""Version of this protocol."""


class Command(IntEnum):
    """Codes of frames to the chip."""

    GET = 0x01
    TEMPERATURE = 0x02
    SEED = 0x03
    RUN = 0x04
    RESET = 0x05
    PROMPT = 0x06
    BEGIN = 0x07
    DATA = 0x08
    COMMIT = 0x09


class Reply(IntEnum):
    """Codes of frames from the chip."""

    OK = 0x80
    DAMAGED = 0x81
    UNKNOWN = 0x82
    BUSY = 0x83
    BAD_IMAGE = 0x84
    STOPPED = 0x85
    TOKEN = 0x90
    ATTENTION = 0x91


class Item(IntEnum):
    """Arguments of GET."""

    IDENTITY = 0
    CONFIG = 1
    WEIGHTS = 2
    CYCLES = 3
    TOKENS = 4
    STALLS = 5
    RECEIVED = 6
    STATE = 7
    FEATURES = 8
    ROWS = 9
    WRITES = 10
    READS = 11
    EVICTIONS = 12
    HITS = 13
    REUSED = 14


class State(IntEnum):
    """Bits of the item STATE; from bit 8 on it counts damaged frames (8 bits)."""

    PAUSED = 0
    PROMPT = 1
    UPLOAD = 2
    STOPPED = 3


class Feature(IntEnum):
    """Bits of the item FEATURES, for abilities of a chip, and of PROMPT's argument, to use them."""

    ATTENTION = 0
    CACHE = 1


DAMAGED_AT = 8
"""First bit of the item STATE's count of damaged frames."""


NUMERATOR_BITS = MANTISSA_BITS
"""Width of a softmax numerator, unsigned."""


def row_bytes(heads: int) -> int:
    """Return the bytes of a cached position's numerators: those of all heads, padded with zeros."""
    return ceil(heads * NUMERATOR_BITS / 8)


def rows_per_frame(heads: int) -> int:
    """Return the number of cached positions in a frame of numerators: a power of two."""
    return 1 << (LONGEST_DATA // row_bytes(heads)).bit_length() - 1


@dataclass(frozen=True)
class Numerators:
    """Contents of a frame ATTENTION: softmax numerators of one layer.

    Attributes
    ----------
    position
        Position of the token that attends.
    layer
        Number of the layer.
    first
        First cached position of the frame.
    values
        Numerators by cached position, from `first` on, and head.
    """

    position: int
    layer: int
    first: int
    values: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, frame: Frame, heads: int) -> Numerators:
        """Decode a frame."""
        size = row_bytes(heads)
        rows = (frame.data[at : at + size] for at in range(0, len(frame.data), size))
        numbers = (int.from_bytes(row, "little") for row in rows)
        first, position, layer, _ = frame.argument.to_bytes(4, "little")
        mask = (1 << NUMERATOR_BITS) - 1
        values = tuple(
            tuple(number >> head * NUMERATOR_BITS & mask for head in range(heads))
            for number in numbers
        )
        return cls(position, layer, first, values)


@dataclass(frozen=True)
class Frame:
    """A frame, in either direction.

    Attributes
    ----------
    code
        A :class:`Command` or a :class:`Reply`.
    sequence
        0 to 255; a reply has its command's, a token and its attention have their prompt's.
    argument
        0 to 2**32 - 1.
    data
        Up to 64 bytes.
    """

    code: int
    sequence: int
    argument: int = 0
    data: bytes = b""

    def encode(self) -> bytes:
        """Return the bytes on the line.

        Raises
        ------
        ValueError
            If the data is too long for a frame.
        """
        if len(self.data) > LONGEST_DATA:
            raise ValueError(f"{len(self.data)} bytes of data: a frame has at most {LONGEST_DATA}")
        body = HEADER.pack(self.code, self.sequence, self.argument) + self.data
        body += crc16(body)
        escaped = bytearray([FLAG])
        for byte in body:
            escaped += bytes([ESCAPE, byte ^ FLIP]) if byte in (FLAG, ESCAPE) else bytes([byte])
        return bytes(escaped) + bytes([FLAG])


def crc16(data: bytes) -> bytes:
    """Return the two bytes of CRC-16/X-25 that end a body."""
    return CRC16_X25().compute(data).to_bytes(CRC_BYTES, "little")


@dataclass(frozen=True)
class Damaged:
    """Bytes between two flags that are not a frame."""

    body: bytes


class Receiver:
    """Decodes a line's bytes, as the chip's own receiver does: frames, and text around them."""

    def __init__(self):
        self._inside = self._escaped = False
        self._body = bytearray()
        self._text = bytearray()

    def feed(self, received: bytes) -> Iterator[Frame | Damaged | str]:
        """Yield the frames, and the lines of text (without line ends), that end in these bytes."""
        for byte in received:
            if byte == FLAG:
                body = bytes(self._body)
                ended = self._inside and bool(body)
                self._inside, self._escaped = not ended, False
                self._body.clear()
                if ended:
                    yield decode_body(body)
            elif not self._inside:
                if byte == ord("\n"):
                    yield self._text.decode("ascii", "replace").rstrip("\r")
                    self._text.clear()
                else:
                    self._text.append(byte)
            elif byte == ESCAPE:
                self._escaped = True
            else:
                self._body.append(byte ^ FLIP if self._escaped else byte)
                self._escaped = False
                if len(self._body) > LONGEST_BODY:
                    # Not a frame: a flag was lost, or was none.
                    yield Damaged(bytes(self._body))
                    self._inside = False
                    self._body.clear()


def decode_body(body: bytes) -> Frame | Damaged:
    """Return the frame in a body, if it is whole."""
    data, crc = body[:-CRC_BYTES], body[-CRC_BYTES:]
    if not LEAST_BODY <= len(body) <= LONGEST_BODY or crc16(data) != crc:
        return Damaged(body)
    return Frame(*HEADER.unpack_from(body), data[HEADER.size :])


def upload_sizes(image: Image, machine: Machine) -> dict[Region, int]:
    """Return the bytes of each region of an upload, in its order."""
    return {region: len(data) for region, data in image.contents(machine).items()}


def upload_bytes(image: Image, machine: Machine) -> bytes:
    """Return the bytes of an upload: the contents of an image's regions, one after another."""
    return b"".join(image.contents(machine).values())


def upload_crc(image: Image, machine: Machine) -> int:
    """Return the CRC-32 that COMMIT sends."""
    return zlib.crc32(upload_bytes(image, machine))


def config_hash(
    lanes: int,
    config: ModelConfig,
    sizes: Mapping[Region, int],
    slots: int = 0,
    cached_bits: tuple[int, int] = STANDARD.cache.widths,
) -> int:
    """Return a 32-bit hash of everything that an image must have in common with the hardware.

    Parameters
    ----------
    lanes
        Lanes of the machine.
    config
        Shape of the model.
    sizes
        See :func:`upload_sizes`.
    slots
        Slots of the machine.
    cached_bits
        Widths of keys and values.
    """
    c = config
    shape = (c.layers, c.width, c.heads, c.hidden, c.context, c.vocabulary)
    numbers = (lanes, *shape, *(sizes.get(region, 0) for region in COMMON))
    numbers += tuple(size for region, size in sizes.items() if region not in COMMON)
    if c.positions is not Positions.LEARNED:
        numbers = (*numbers, *kind_numbers(c))
    if slots:
        numbers = (*numbers, slots)
    if cached_bits != STANDARD.cache.widths:
        numbers = (*numbers, *cached_bits)
    return zlib.crc32(struct.pack(f"<{len(numbers)}I", *numbers))
