"""The core's memories read back between documents, a byte at a time."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.isa import InstructionLayout
from gptloom.firmware.machine import LANE_BITS, QUAD, Machine
from gptloom.firmware.regions import NINTHS, Region, table_bytes
from gptloom.hdl.arithmetic import quotient, remainder
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.core import Address
from gptloom.hdl.delay import delayed


class Readback(wiring.Component):
    """Finds a byte in the words that all memories deliver at an address.

    The address comes with every request and is held until that is taken: no memory needs a
    register for it, and nothing here has to be fast.

    Attributes
    ----------
    latency
        From a request, with the core idle, to its taking: 6 cycles.
    i : In(stream of Address)
        Byte wanted.
    busy : In(1)
        The core computes: requests wait.
    active : Out(1)
        Memories are to be read at the address asked for.
    operands, issue_program, result_program : In
        Words of every unit, and of both halves of an instruction.
    tokens, positions, ... : In
        Words of the machine's tables (:func:`.table_bytes`). All words come two cycles after their
        address at most.
    data : Out(8)
        The byte, as the request is taken; 0 where an instruction's stride is not filled.
    """

    latency = 6

    def __init__(self, machine: Machine):
        self._machine = machine
        halves = InstructionLayout(machine)
        super().__init__(
            {
                "i": In(stream.Signature(Address)),
                "busy": In(1),
                "active": Out(1),
                "operands": In(machine.unit_bits).array(machine.units),
                "issue_program": In(8 * halves.issue_bytes),
                "result_program": In(8 * halves.result_bytes),
                "data": Out(8),
                **{
                    region.name.lower(): In(8 * size)
                    for region, size in table_bytes(machine).items()
                },
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

        # Held as long as the request; whoever has memories is a long way from here.
        address = delayed(m, self.i.p.address)

        def byte(word, stride):
            """Return one of the bytes of a word, two cycles later: block RAM is slow."""
            bits = Cat(word, Const(0, 8 * stride - len(word)))
            least, some = remainder(address, min(stride, QUAD)), []
            for at in range(0, stride, QUAD):
                found = Signal(8, **LOADED)
                m.d.sync += found.eq(bits[8 * at : 8 * (at + QUAD)].word_select(least, 8))
                some.append(found)
            group = quotient(remainder(address, stride), QUAD)
            return delayed(m, Cat(some).word_select(group, 8))

        operand = self._operand(m, address)
        instruction = byte(
            Cat(self.issue_program, self.result_program), InstructionLayout(machine).stride
        )
        found = {
            Region.OPERANDS: operand,
            Region.PROGRAM: instruction,
        }
        for region, size in table_bytes(machine).items():
            found[region] = byte(getattr(self, region.name.lower()), size)
        with m.Switch(self.i.p.region):
            for region, value in found.items():
                with m.Case(region):
                    m.d.sync += self.data.eq(value)
        return m

    def _operand(self, m: Module, address) -> Signal:
        """Return a byte of an operand word, two cycles later."""
        machine, operand = self._machine, Signal(8)
        if machine.lane_bits == LANE_BITS:
            lane, lower = remainder(address, QUAD), LANE_BITS
            unit = remainder(quotient(address, QUAD), machine.units)
        else:
            # Groups of lanes have their ninth bits at 0, their lower bytes from `NINTHS` on.
            slot, group = remainder(address, 2 * NINTHS), quotient(address, 2 * NINTHS)
            lane, lower = remainder(slot, QUAD), machine.lane_bits
            unit = remainder(Cat(quotient(remainder(slot, NINTHS), QUAD), group), machine.units)
        quads = []
        for word in self.operands:
            found = Signal(8, **LOADED)
            m.d.sync += found.eq(word.word_select(lane, lower)[:LANE_BITS])
            quads.append(found)
        m.d.sync += operand.eq(Cat(quads).word_select(unit, 8))
        if machine.lane_bits == LANE_BITS:
            return operand
        pairs = machine.units * QUAD // NINTHS
        tops = Cat(
            word.word_select(i, lower)[LANE_BITS] for word in self.operands for i in range(QUAD)
        )
        ninths, held = Signal(8, **LOADED), Signal(len(tops), **LOADED)
        m.d.sync += [
            held.eq(tops),
            ninths.eq(held.word_select(remainder(group, pairs), NINTHS)),
        ]
        return Mux(slot >= NINTHS, operand, Mux(slot == 0, ninths, 0))
