"""Initial contents of the memories: an image, without the load port."""

from dataclasses import dataclass, field

from gptloom.firmware.image import SETTING, Image
from gptloom.firmware.isa import InstructionLayout
from gptloom.firmware.machine import LANE_BITS, Machine
from gptloom.firmware.regions import NINTHS, Region, operand_stride, table_bytes


@dataclass(frozen=True)
class Preload:
    """Initial words of every memory behind the load port; blank memories need none.

    Attributes
    ----------
    operands, issue_program, result_program, tokens, positions, exponents, gains, page
        Words from address 0, as wide as the memory; the first byte is the lowest. The page belongs
        to the console's memory, not the core's.
    settings
        Values of the settings registers: end token, last position, last beat of a row, strides of
        keys and values.
    """

    operands: list[int] = field(default_factory=list)
    issue_program: list[int] = field(default_factory=list)
    result_program: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    exponents: list[int] = field(default_factory=list)
    gains: list[int] = field(default_factory=list)
    page: list[int] = field(default_factory=list)
    settings: tuple[int, ...] = ()

    @classmethod
    def of(cls, image: Image, machine: Machine) -> "Preload":
        """Return a machine's memory contents after an image is loaded.

        Raises
        ------
        UserError
            If the image does not fit the machine.
        """
        image.check_fits(machine)
        halves = InstructionLayout(machine)
        issue_bits, result_bits = 8 * halves.issue_bytes, 8 * halves.result_bytes
        bytes_per_word = {
            Region.OPERANDS: operand_stride(machine),
            Region.PROGRAM: halves.stride,
            **table_bytes(machine),
            Region.PAGE: 1,
        }
        words = {
            region: [
                int.from_bytes(data[i : i + bytes_per_word[region]], "little")
                for i in range(0, len(data), bytes_per_word[region])
            ]
            for region, data in image.contents(machine).items()
            if region in bytes_per_word
        }
        return cls(
            operands=[_lanes(machine, word) for word in words[Region.OPERANDS]],
            issue_program=[word & ((1 << issue_bits) - 1) for word in words[Region.PROGRAM]],
            result_program=[
                word >> issue_bits & ((1 << result_bits) - 1) for word in words[Region.PROGRAM]
            ],
            tokens=words[Region.TOKENS],
            positions=words.get(Region.POSITIONS, []),
            exponents=words.get(Region.EXPONENTS, []),
            gains=words.get(Region.GAINS, []),
            page=words[Region.PAGE],
            settings=tuple(n for (n,) in SETTING.iter_unpack(image.regions[Region.SETTINGS])),
        )


def _lanes(machine: Machine, word: int) -> int:
    """Return an operand word as the memory has it, from its bytes on the load port."""
    if machine.lane_bits == LANE_BITS:
        return word
    data, found = word.to_bytes(operand_stride(machine), "little"), 0
    for lane in range(machine.lanes):
        at, bit = divmod(lane, NINTHS)
        ninths, low = data[2 * NINTHS * at], data[2 * NINTHS * at + NINTHS + bit]
        found |= (low | (ninths >> bit & 1) << LANE_BITS) << machine.lane_bits * lane
    return found
