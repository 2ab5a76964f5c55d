"""The core's memories read back between documents, a byte at a time."""

from amaranth.hdl import Array, Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.image import Region
from gptloom.firmware.isa import InstructionLayout
from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.arithmetic import quotient, remainder
from gptloom.hdl.core import Address
from gptloom.hdl.folded.layouts import UNIT_BITS


class Readback(wiring.Component):
    """Finds a byte in the words that all memories deliver at an address.

    The address comes with every request and is held until that is taken: no memory needs a
    register for it, and nothing here has to be fast.

    Attributes
    ----------
    latency
        From a request, with the core idle, to its taking: 5 cycles.
    i : In(stream of Address)
        Byte wanted.
    busy : In(1)
        The core computes: requests wait.
    active : Out(1)
        Memories are to be read at the address asked for.
    operands, issue_program, result_program, tokens, positions : In
        Words one cycle after their address, the last one after two at most: of every unit, of both
        halves of an instruction, of embeddings or what stands for those of positions.
    data : Out(8)
        The byte, as the request is taken; 0 where an instruction's stride is not filled.
    """

    latency = 5

    def __init__(self, machine: Machine):
        self._machine = machine
        halves = InstructionLayout(machine)
        super().__init__(
            {
                "i": In(stream.Signature(Address)),
                "busy": In(1),
                "active": Out(1),
                "operands": In(UNIT_BITS).array(machine.units),
                "issue_program": In(8 * halves.issue_bytes),
                "result_program": In(8 * halves.result_bytes),
                "tokens": In(8 * machine.writers),
                "positions": In(8 * machine.position_bytes),
                "data": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        waited = Signal(range(self.latency))
        with m.If(self.active & ~self.i.ready):
            m.d.sync += waited.eq(waited + 1)
        with m.Else():
            m.d.sync += waited.eq(0)
        m.d.sync += self.active.eq(self.i.valid & ~self.busy & ~self.i.ready)
        m.d.comb += self.i.ready.eq(waited == self.latency - 1)

        address = self.i.p.address

        def byte(word, stride):
            """Return one of the bytes of a word, a cycle later."""
            bits = Cat(word, Const(0, 8 * stride - len(word)))
            found = Signal(8)
            m.d.sync += found.eq(bits.word_select(remainder(address, stride), 8))
            return found

        # In two steps: block RAM is slow, and at 64 lanes there are as many bytes.
        quads = Cat(byte(self.operands[unit], QUAD) for unit in range(machine.units))
        operand = Signal(8)
        unit = remainder(quotient(address, QUAD), machine.units)
        m.d.sync += operand.eq(quads.word_select(unit, 8))
        instruction = byte(
            Cat(self.issue_program, self.result_program), InstructionLayout(machine).stride
        )
        found = {
            Region.OPERANDS: operand,
            Region.PROGRAM: instruction,
            Region.TOKENS: byte(self.tokens, machine.writers),
        }
        if machine.position_words:
            found[Region.POSITIONS] = byte(self.positions, machine.position_bytes)
        m.d.sync += self.data.eq(Array(found[region] for region in sorted(found))[self.i.p.region])
        return m
