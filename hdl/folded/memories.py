"""The folded core's memories."""

from collections.abc import Sequence
from math import ceil

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.firmware.isa import InstructionLayout
from gptloom.firmware.latencies import operand_latency
from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.arithmetic import narrowed, quotient
from gptloom.hdl.attributes import BLOCK_RAM, NO_COLLISION
from gptloom.hdl.delay import delayed, late
from gptloom.hdl.folded.layouts import ResultBus, quad
from gptloom.model.arithmetic import SILU_RESULT_BITS

DEEPEST = 2048
"""Words that a block RAM of an ECP5 has at most with bytes of nine bits. Yosys gives every memory
blocks of one depth: banks of their own take fewer for what is left beyond a multiple, and can have
a register each."""


def bank_depths(words: int) -> list[int]:
    """Return the words of each bank of an operand memory with so many."""
    return [min(DEEPEST, words - begin) for begin in range(0, words, DEEPEST)]


class OperandMemory(wiring.Component):
    """Weights, keys and values: one word holds a byte for every lane, or nine bits. Block RAM.

    Each unit of four lanes has a memory of its own, in banks; all are read at one address.

    Attributes
    ----------
    latency
        From `address` to `words`: 1 cycle, or 2 in a gated machine, whose many block RAMs have a
        register behind each.
    init
        First words at power-on, the first unit lowest; the others are 0.
    address : In
        Word to read.
    words : Out
        Four bytes for each unit.
    write_address : In
        Word to write.
    write_enable, write_data : In
        For each unit, one bit a lane and the lanes' bytes.
    """

    def __init__(self, machine: Machine, init: Sequence[int] = ()):
        self._machine = machine
        self.latency = operand_latency(machine)
        self.init = init
        super().__init__(
            {
                "address": In(machine.address_bits),
                "words": Out(machine.unit_bits).array(machine.units),
                "write_address": In(machine.address_bits),
                "write_enable": In(QUAD).array(machine.units),
                "write_data": In(machine.unit_bits).array(machine.units),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits, depth = self._machine.unit_bits, self._machine.operand_words
        depths = bank_depths(depth)
        read_bank, write_bank = (quotient(a, DEEPEST) for a in (self.address, self.write_address))
        if len(depths) > 1:
            read_bank = delayed(m, read_bank, self.latency)
        for unit in range(self._machine.units):
            init = [word >> (unit * bits) & ((1 << bits) - 1) for word in self.init]
            words = []
            for number, bank in enumerate(depths):
                begin = number * DEEPEST
                memory = Memory(
                    shape=unsigned(bits),
                    depth=bank,
                    init=init[begin : begin + bank],
                    attrs=BLOCK_RAM | NO_COLLISION,
                )
                m.submodules[f"unit_{unit}_{number}"] = memory
                read = memory.read_port()
                write = memory.write_port(granularity=self._machine.lane_bits)
                enables = self.write_enable[unit]
                m.d.comb += [
                    read.addr.eq(self.address[: len(read.addr)]),
                    write.addr.eq(self.write_address[: len(write.addr)]),
                    write.en.eq(Mux(write_bank == number, enables, 0)),
                    write.data.eq(self.write_data[unit]),
                ]
                words.append(late(m, read.data, self.latency - 1))
            m.d.comb += self.words[unit].eq(Array(words)[read_bank])
        return m


class ActivationMemory(wiring.Component):
    """The MAC array's other operand: a bank of quads for every head, read together.

    Vectors are spread over the banks quad by quad; queries and softmax numerators keep each head in
    its own bank. The MAC array sees one quad of one bank everywhere, or every head its own bank.

    Attributes
    ----------
    address : In
        Word to read in all banks; `quads` follow one cycle later.
    write_address, write_enable, write_data : In
        Word, one bit for each element of each bank (bank-major), and the elements.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        elements = machine.heads * QUAD
        super().__init__(
            {
                "address": In(range(machine.activation_words)),
                "quads": Out(data.ArrayLayout(quad(machine), machine.heads)),
                "write_address": In(range(machine.activation_words)),
                "write_enable": In(elements),
                "write_data": In(elements * machine.element_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=unsigned(len(self.write_data)),
            depth=self._machine.activation_words,
            init=[],
            attrs=NO_COLLISION,
        )
        read = memory.read_port()
        write = memory.write_port(granularity=self._machine.element_bits)
        m.d.comb += [
            read.addr.eq(self.address),
            self.quads.eq(read.data),
            write.addr.eq(self.write_address),
            write.en.eq(self.write_enable),
            write.data.eq(self.write_data),
        ]
        return m


class ResultMemory(wiring.Component):
    """Results that other results are combined with, as many a word as are written in a cycle.

    Attributes
    ----------
    address : In
        Word to read; `elements` follow one cycle later.
    i : In
        Write-back's results; those for `listener` are written.
    """

    def __init__(self, machine: Machine, listener: str, elements: int, bits: int):
        self._machine, self._listener, self._bits = machine, listener, bits
        self._depth = max(2, ceil(elements / machine.writers))
        super().__init__(
            {
                "address": In(range(self._depth)),
                "elements": Out(data.ArrayLayout(signed(bits), machine.writers)),
                "i": In(ResultBus(machine)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = self._bits * self._machine.writers
        m.submodules.memory = memory = Memory(
            shape=unsigned(bits), depth=self._depth, init=[], attrs=NO_COLLISION
        )
        read = memory.read_port()
        write = memory.write_port(granularity=self._bits)
        result = self.i.beat
        address = Signal(range(self._depth), name="write_address")
        enable = Signal(self._machine.writers, name="write_enable")
        elements = Signal(bits, name="write_data")
        m.d.comb += [
            address.eq(quotient(result.index, self._machine.writers)),
            enable.eq(Mux(result.to[self._listener], result.enable, 0)),
            elements.eq(Cat(narrowed(v, self._bits) for v in result["values"])),
            read.addr.eq(self.address),
            self.elements.eq(read.data),
            write.addr.eq(address),
            write.en.eq(enable),
            write.data.eq(elements),
        ]
        return m


def stream_memory(machine: Machine) -> ResultMemory:
    """Return the memory of the residual stream."""
    return ResultMemory(machine, "stream", machine.stream_elements, machine.precision.stream)


def gate_memory(machine: Machine) -> ResultMemory:
    """Return the memory of the gates, whose products with other results follow."""
    return ResultMemory(machine, "gates", machine.inputs, SILU_RESULT_BITS)


class ProgramMemory(wiring.Component):
    """Instructions, written byte by byte.

    Attributes
    ----------
    init
        First words at power-on; the others are 0.
    enable, address : In
        Word to read; `word` follows one cycle later and stays.
    write_address, write_byte, write_enable, write_data : In
        Word, byte of the word, strobe, data.
    """

    def __init__(self, machine: Machine, bits: int, word_bytes: int, init: Sequence[int] = ()):
        self._machine, self._bytes = machine, word_bytes
        self.init = init
        super().__init__(
            {
                "enable": In(1),
                "address": In(range(machine.program_words)),
                "word": Out(bits),
                "write_address": In(range(machine.program_words)),
                "write_byte": In(range(InstructionLayout(machine).stride)),
                "write_enable": In(1),
                "write_data": In(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=unsigned(8 * self._bytes),
            depth=self._machine.program_words,
            init=self.init,
            attrs=BLOCK_RAM | NO_COLLISION,
        )
        read = memory.read_port()
        write = memory.write_port(granularity=8)
        m.d.comb += [
            read.en.eq(self.enable),
            read.addr.eq(self.address),
            self.word.eq(read.data),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data.replicate(self._bytes)),
            write.en.eq(Mux(self.write_enable, Cat(1), 0) << self.write_byte),
        ]
        return m
