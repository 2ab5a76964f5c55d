"""Expected values of the core's ports, and of the path from its load port to the memories."""

from collections.abc import Mapping

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from gptloom.firmware.machine import LANE_BITS, QUAD, Machine
from gptloom.firmware.regions import NINTHS, Region
from gptloom.hdl.core import COUNTER_BITS, Address, Write
from verification.scoreboard.block import Block
from verification.scoreboard.control import Course, State, Stimulus
from verification.scoreboard.signals import strobes

_ADDRESS = data.Layout.cast(Address)
_WRITE = data.Layout.cast(Write)


class Interface:
    """Turns events into values, block by block; it begins at power-on.

    Attributes
    ----------
    contents
        Loaded contents as they are read back: bytes by region and address.
    """

    def __init__(self, machine: Machine, contents: Mapping[Region, bytes]):
        self._machine = machine
        self.contents = contents
        self._states: list[tuple[int, int]] = [(0, State.IDLE)]
        self._outputs: list[tuple[int, int, int]] = [(0, 0, 0)]
        self._loaded, self._write = np.uint64(0), np.uint64(0)
        self._strobes, self._ninths = strobes(machine), 0
        self._tokens, self._stalls, self._born = 0, 0, 0

    def place(self, block: Block, course: Course, inputs: Stimulus) -> None:
        """Expect the ports' values in a block of cycles."""
        self._states += course.states
        states = self._filled(block, self._states)
        idle = states == State.IDLE
        open_ = (states == State.PROMPT) | (states == State.DROP)
        loads = inputs["load__valid"] * idle * (1 - inputs["rst"])
        loaded = self._delayed(loads, "_loaded")
        write = self._delayed(inputs["load__payload"], "_write")
        hold = inputs["load__valid"] | loaded | inputs["seed__valid"] | inputs["read__valid"]
        block.expect("busy", ~idle)
        block.expect("load__ready", idle)
        block.expect("seed__ready", idle)
        block.expect("i__ready", (idle & (hold == 0)) | open_)
        self._reads(block, course, inputs)
        self._output(block, course)
        self._counters(block, course)
        if loaded.any():
            self._loads(block, np.flatnonzero(loaded), write)
        self._states, self._outputs = self._states[-4:], self._outputs[-4:]

    def _reads(self, block: Block, course: Course, inputs: Stimulus) -> None:
        """Expect the bytes that are read back, from the contents at the block's end."""
        columns = block.signals.columns
        for cycle in course.reads:
            row = cycle - block.begin
            address = _ADDRESS.from_bits(int(inputs["read__payload"][row]))
            block.values[row, columns["read__ready"]] = 1
            block.values[row, columns["read_data"]] = self.contents[address.region][address.address]
            block.masks[row, columns["read_data"]] = (1 << _width(block, "read_data")) - 1

    def _output(self, block: Block, course: Course) -> None:
        # A token may replace the one before in the cycle in which that is taken.
        events = [(cycle + 1, 0, 0, 0) for cycle in course.taken]
        events += [(e.cycle, 1, 1, e.payload) for e in course.emissions]
        events += [(cycle, 2, 0, 0) for cycle in course.resets]
        self._outputs += [(cycle, valid, bits) for cycle, _, valid, bits in sorted(events)]
        valid = self._filled(block, [(cycle, valid) for cycle, valid, _ in self._outputs])
        payload = self._filled(block, [(cycle, bits) for cycle, _, bits in self._outputs])
        block.expect("o__valid", valid)
        block.expect("o__payload", payload)
        column = block.signals.columns["o__payload"]
        block.masks[:, column] = np.where(valid == 1, (1 << _width(block, "o__payload")) - 1, 0)

    def _counters(self, block: Block, course: Course) -> None:
        cycles = len(block.values)
        # One cycle more: a count at the end shows in the next block.
        tokens = np.zeros(cycles + 1, np.int64)
        stalls, age = tokens.copy(), np.arange(cycles + 1) + block.begin - self._born
        tokens[0], stalls[0] = self._tokens, self._stalls
        for emission in course.emissions:
            tokens[emission.cycle - block.begin] += 1
        for first, stop in course.stalls:
            stalls[first - block.begin + 1 : stop - block.begin + 1] += 1
        tokens, stalls = np.cumsum(tokens), np.cumsum(stalls)
        for reset in course.resets:
            at = reset - block.begin
            age[at:] = np.arange(cycles + 1 - at)
            tokens[at:] -= tokens[at]
            stalls[at:] -= stalls[at]
            self._born = reset
        self._tokens, self._stalls = int(tokens[-1]), int(stalls[-1])
        column = block.signals.columns["counters"]
        for number, counter in enumerate((age, tokens, stalls)):
            at = number * COUNTER_BITS
            bits = (counter[:-1] & ((1 << COUNTER_BITS) - 1)).astype(np.uint64)
            block.values[:, column + at // 64] |= bits << np.uint64(at % 64)

    def _loads(self, block: Block, cycles: NDArray[np.int64], write: NDArray[np.uint64]) -> None:
        """Expect the writes of bytes loaded a cycle before."""
        m, columns = self._machine, block.signals.columns
        fields = {
            name: (write[cycles] >> np.uint64(place.offset)).astype(np.int64)
            & ((1 << place.width) - 1)
            for name, place in ((name, _WRITE[name]) for name in ("region", "address", "data"))
        }
        for region, path in self._strobes.items():
            block.values[cycles[fields["region"] == region], columns[path]] = 1
        is_operand = fields["region"] == Region.OPERANDS
        now, address = cycles[is_operand], fields["address"][is_operand]
        byte, column = fields["data"][is_operand], columns["operands.write_address"]
        word, lane = address // m.lanes, address % m.lanes
        if m.lane_bits > LANE_BITS:
            word //= 2
            now, word, lane, byte = self._joined(block, now, address, byte)
        block.values[now, column] = word.astype(np.uint64)
        block.masks[now, column] = (1 << _width(block, "operands.write_address")) - 1
        enables = np.array([columns[f"operands.write_enable__{u}"] for u in range(m.units)])
        datas = np.array([columns[f"operands.write_data__{u}"] for u in range(m.units)])
        unit, at = lane // QUAD, (lane % QUAD).astype(np.uint64)
        shift = at * np.uint64(m.lane_bits)
        block.values[now, enables[unit]] = np.uint64(1) << at
        block.values[now, datas[unit]] = byte.astype(np.uint64) << shift
        block.masks[now, datas[unit]] = np.uint64((1 << m.lane_bits) - 1) << shift

    def _joined(self, block: Block, now, address, byte) -> tuple[NDArray, ...]:
        """Return cycle, word, lane and contents of every lane that is written whole.

        The ninth bits of a group of lanes come before their lower bytes, and stay until others do.
        """
        m, found = self._machine, []
        for cycle, place, bits in zip(now.tolist(), address.tolist(), byte.tolist(), strict=True):
            group, slot = divmod(place, 2 * NINTHS)
            if slot == 0:
                self._ninths = bits
            if slot >= NINTHS:
                number = slot - NINTHS
                ninth = self._ninths >> number & 1
                word, lane = divmod(group * NINTHS + number, m.lanes)
                found.append((cycle, word, lane, bits | ninth << LANE_BITS))
        return tuple(np.array(found, np.int64).reshape(-1, 4).T)

    @staticmethod
    def _filled(block: Block, events: list[tuple[int, int]]) -> NDArray[np.uint64]:
        """Return the value of every cycle from events in order: each lasts until the next."""
        starts = np.array([max(cycle - block.begin, 0) for cycle, _ in events])
        values = np.array([value for _, value in events], np.uint64)
        cycles = np.arange(len(block.values))
        return values[np.searchsorted(starts, cycles, "right") - 1]

    def _delayed(self, values: NDArray[np.uint64], carried: str) -> NDArray[np.uint64]:
        """Return values one cycle later; the last one is carried to the next block."""
        delayed = np.concatenate([[getattr(self, carried)], values[:-1]]).astype(np.uint64)
        setattr(self, carried, values[-1])
        return delayed


def _width(block: Block, path: str) -> int:
    return block.signals.by_path[path].width
