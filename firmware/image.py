"""The image: everything that turns a machine into one particular model, as one checked file.

Layout of the file, little-endian: ``HEADER``, then one record for each region (region number and
size in bytes, ``RECORD``) followed by its bytes. The CRC-32, the header's last field, covers all
other bytes of the file.
"""

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from gptloom.firmware import contents
from gptloom.firmware.fit import check_fits
from gptloom.firmware.isa import FIELDS, Instruction, InstructionLayout
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import (
    LANE_BITS,
    Machine,
)
from gptloom.firmware.page import encode_page
from gptloom.firmware.program import compile_program
from gptloom.firmware.regions import CHECKED, NINTHS, Region
from gptloom.model.cache import Eviction
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.files import write_file
from gptloom.model.formats import STANDARD, CacheFormat, Precision, RowFormat
from gptloom.model.integer import IntegerModel
from gptloom.model.positions import Positions

MAGIC = b"LOOM"
VERSION = 8
HEADER = struct.Struct("<4sHH6H4BH2BIdI")
"""Magic, version, lanes, the six dimensions, numbers of the positions and of the eviction, sinks,
slots and their words, bits of keys and values, size after the header, logit unit, CRC-32."""

POSITIONS, EVICTIONS = tuple(Positions), tuple(Eviction)
"""Kinds of positions and evictions, indexed by their numbers in the header."""


def kind_numbers(config: ModelConfig) -> tuple[int, int, int]:
    """Return the numbers of a model's positions and eviction, and its sinks."""
    return POSITIONS.index(config.positions), EVICTIONS.index(config.eviction), config.sinks


CRC_BYTES = 4

RECORD = struct.Struct("<BI")
INSTRUCTION = struct.Struct("<13I4B4x")
"""An instruction in the file: its fields in order, because their widths differ by machine."""

assert len(FIELDS) == len(INSTRUCTION.unpack(bytes(INSTRUCTION.size)))

SETTING = struct.Struct("<H")
SETTINGS = struct.Struct("<5H")
"""Values of the settings registers: end token, last position, last beat of an embedding, strides of
keys and values. Where the end token need not be the last one, that follows."""


@dataclass(frozen=True)
class Image:
    """Contents that are loaded into a machine.

    Attributes
    ----------
    lanes
        Lanes of the machine that it is made for.
    config
        Shape of the model.
    slots, slot_words
        Number of the machine's slots, and operand words of each.
    precision
        Widths of weights, keys, values and everything else.
    logit_unit
        Worth of one unit of a logit's accumulator, in nats.
    regions
        Bytes by region, from address 0; the load port takes one byte in a cycle. The program's
        bytes are those of the file: see ``INSTRUCTION``.
    """

    lanes: int
    config: ModelConfig
    logit_unit: float
    regions: dict[Region, bytes]
    slots: int = 0
    slot_words: int = 0
    precision: Precision = STANDARD

    @property
    def machine(self) -> Machine:
        """The smallest machine that can hold it."""
        return Machine.for_models(
            self.lanes, self.config, slots=self.slots, precision=self.precision
        )

    def encode(self) -> bytes:
        """Return the file's bytes."""
        body = b"".join(
            RECORD.pack(region, len(data)) + data for region, data in sorted(self.regions.items())
        )
        c = self.config
        shape = (c.layers, c.width, c.heads, c.hidden, c.context, c.vocabulary)
        slots = self.slots, self.slot_words
        fields = (MAGIC, VERSION, self.lanes, *shape, *kind_numbers(c), *slots)
        fields = (*fields, *self.precision.cache.widths, len(body), self.logit_unit)
        unchecked = HEADER.pack(*fields, 0) + body
        return HEADER.pack(*fields, _crc(unchecked)) + body

    @property
    def crc(self) -> int:
        """CRC-32 of the image's file."""
        return _crc(self.encode())

    @classmethod
    def decode(cls, data: bytes) -> "Image":
        """Read the bytes of an image file.

        Raises
        ------
        UserError
            If they are not an image, or one of another version, truncated or corrupt.
        """
        if len(data) < HEADER.size or data[: len(MAGIC)] != MAGIC:
            raise UserError("this is not a GPTLoom image: make one with 'gptloom image'")
        _, version, lanes, *shape, keys, values, size, logit_unit, crc = HEADER.unpack_from(data)
        if version != VERSION:
            raise UserError(
                f"the image has format version {version}, this program reads {VERSION}: "
                "make it anew with 'gptloom image'"
            )
        body = data[HEADER.size :]
        if len(body) != size:
            raise UserError(
                f"the image is truncated or padded ({len(body)} bytes of contents instead of "
                f"{size}): copy it again or make it anew with 'gptloom image'"
            )
        if _crc(data) != crc:
            raise UserError("the image is corrupt (CRC differs): make it anew with 'gptloom image'")
        names = ("layers", "width", "heads", "hidden", "context", "vocabulary")
        *shape, positions, eviction, sinks, slots, words = shape
        kind = dict(positions=POSITIONS[positions], eviction=EVICTIONS[eviction], sinks=sinks)
        regions, position = {}, 0
        while position < len(body):
            region, length = RECORD.unpack_from(body, position)
            position += RECORD.size
            regions[Region(region)] = body[position : position + length]
            position += length
        cache = CacheFormat(RowFormat(keys), RowFormat(values))
        precision = Precision(cache=cache)
        if Region.MODEL in regions:
            more = json.loads(regions[Region.MODEL])
            config = ModelConfig.from_dict(more["config"])
            precision = Precision(**more["precision"] | {"cache": cache})
        else:
            config = ModelConfig(**dict(zip(names, shape, strict=True)), **kind)
        return cls(lanes, config, logit_unit, regions, slots, words, precision)

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_file(path, self.encode())

    @classmethod
    def read(cls, path: Path) -> "Image":
        """Read a file; see :meth:`decode`."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read the image {path}: {error.strerror}") from error
        return cls.decode(data)

    def writes(self, machine: Machine) -> Iterator[tuple[Region, int, int]]:
        """Yield region, address and byte of every write on a machine's load port."""
        for region, data in sorted(self.regions.items()):
            if region is Region.MODEL:
                continue
            if region is Region.PROGRAM:
                data = self._program(machine)
            place = self._placement(region, machine)
            for i, byte in enumerate(data):
                yield region, place(i) if place else i, byte

    def _placement(self, region: Region, machine: Machine) -> Callable[[int], int] | None:
        """Return what turns a byte's number in the file to its address; None if they are equal."""
        width, step = self.config.width, machine.stream_elements
        if region is Region.OPERANDS and machine.lane_bits > LANE_BITS:
            # Groups of lanes have the ninth bits at 0, the lower bytes from `NINTHS` on.
            group = NINTHS + 1
            return lambda i: i // group * 2 * NINTHS + (i % group and NINTHS - 1 + i % group)
        embeddings = [Region.TOKENS] * (not machine.gated)
        if machine.positions is Positions.LEARNED:
            embeddings.append(Region.POSITIONS)
        if region in embeddings:
            # The hardware addresses embeddings by row number and element, concatenated.
            return lambda i: i // width * step + i % width
        return None

    def contents(self, machine: Machine) -> dict[Region, bytes]:
        """Return the contents of a machine's memories, by address on the load port.

        Bytes between the written ones are 0.
        """
        loaded = sorted(set(self.regions) - {Region.MODEL})
        written: dict[Region, dict[int, int]] = {region: {} for region in loaded}
        for region, address, byte in self.writes(machine):
            written[region][address] = byte
        return {
            region: bytes(bytes_at.get(i, 0) for i in range(max(bytes_at, default=-1) + 1))
            for region, bytes_at in written.items()
        }

    def _program(self, machine: Machine) -> bytes:
        """Return the instructions in a machine's format, each padded to its stride."""
        layout = InstructionLayout(machine)
        found = INSTRUCTION.iter_unpack(self.regions[Region.PROGRAM])
        return b"".join(
            layout.encode(Instruction(*fields)).ljust(layout.stride, b"\0") for fields in found
        )

    def checksum(self, machine: Machine) -> int:
        """Return the CRC-32 of all data that the hardware computes with, as it reads it back.

        It covers the contents of ``CHECKED``, one after another.
        """
        return zlib.crc32(b"".join(self.checked(machine).values()))

    def checked(self, machine: Machine) -> dict[Region, bytes]:
        """Return the contents that the checksum covers."""
        contents = self.contents(machine)
        return {region: contents[region] for region in CHECKED if region in contents}

    @property
    def bos(self) -> int:
        """Token that begins and ends documents."""
        return next(SETTING.iter_unpack(self.regions[Region.SETTINGS]))[0]

    def checked_sizes(self, machine: Machine) -> dict[Region, int]:
        """Return the number of bytes of each region that the checksum covers."""
        return {region: len(contents) for region, contents in self.checked(machine).items()}

    def check_fits(self, machine: Machine) -> None:
        """Refuse a machine that this image was not made for, or that cannot hold its model.

        Raises
        ------
        UserError
            Naming what differs, or the dimension that does not fit (:func:`.check_fits`).
        """
        if self.lanes != machine.lanes:
            raise UserError(
                f"the image is made for {self.lanes} lanes, the hardware has {machine.lanes}: "
                f"make it anew with 'gptloom image --lanes {machine.lanes}'"
            )
        if (self.slots, self.slot_words) != (machine.slots, machine.slot_words):
            raise UserError(
                f"the image is made for {self.slots} slots, the hardware has {machine.slots}: make "
                f"it anew with 'gptloom image --slots {machine.slots}'"
            )
        check_fits(self.config, self.precision, machine)


def _crc(data: bytes) -> int:
    """Return the CRC-32 of a file except for the header's last field, which holds it."""
    return zlib.crc32(data[HEADER.size :], zlib.crc32(data[: HEADER.size - CRC_BYTES]))


def build_image(model: IntegerModel, machine: Machine) -> Image:
    """Return the image of a model for a machine.

    Raises
    ------
    UserError
        If the model does not fit (:func:`.check_fits`), or begins and ends documents differently.
    """
    bos, end = model.tokenizer.bos, model.tokenizer.end
    if bos != end:
        raise UserError(
            f"the hardware ends a document with the token that begins it, and this model begins "
            f"with {bos} and ends with {end}: give one that uses the same token for both"
        )
    layout = Layout(machine, model.config)
    program = [scheduled.instruction for scheduled in compile_program(model, layout)]
    c = model.config
    rows = contents.exponents if machine.gated else contents.embeddings
    image = Image(
        lanes=machine.lanes,
        config=c,
        slots=machine.slots,
        slot_words=machine.slot_words,
        precision=machine.precision,
        logit_unit=model.logit_unit,
        regions={
            Region.OPERANDS: contents.operands(model, layout),
            Region.PROGRAM: b"".join(INSTRUCTION.pack(*astuple(i)) for i in program),
            **rows(model, layout),
            **contents.positions(model, machine),
            Region.PAGE: encode_page(model),
            Region.SETTINGS: SETTINGS.pack(
                bos,
                c.context - 1,
                c.width // machine.writers - 1,
                layout.key_stride,
                layout.value_stride,
            )
            + (SETTING.pack(c.vocabulary - 1) if machine.gated else b""),
        },
    )
    image.check_fits(machine)
    return image
