"""Streams between the memories and the serial line: every byte once, in order, held while it waits.

A consumer takes an item whenever it likes; a producer that has offered one keeps it.
"""

import pytest
from amaranth.hdl import Array, Cat, Const, Mux, Signal
from prove import Bench

from gptloom.firmware.isa import InstructionLayout
from gptloom.firmware.machine import Machine
from gptloom.firmware.page import PAGE_BYTES
from gptloom.firmware.regions import CHECKED, COMMON, Region
from gptloom.hdl.checksum import Checksum
from gptloom.hdl.console import Console
from gptloom.hdl.folded.readback import Readback
from gptloom.model.config import ModelConfig

PARTS = [region for region in CHECKED if region in COMMON]
SIZES = [640, 1, 96, 33]
BOS, CONTEXT = 26, 4


def stays(bench, stream, but=0):
    """Claim that an item offered on a stream holds until it is taken."""
    payload = stream.payload
    payload = payload.as_value() if hasattr(payload, "as_value") else payload
    stalled = bench.before(stream.valid & ~stream.ready)
    bench.claim("stays", ~stalled | (stream.valid & (payload == bench.before(payload))) | but)
    bench.reach("stalls", stalled)


@pytest.mark.parametrize("sizes", [SIZES, [1, *SIZES[1:]]], ids=["proof", "fault"])
def test_checksum_reads_every_byte_once(proved, refuted, sizes):
    """The checksum asks for every byte of every region once, in order, and for no other."""
    bench = Bench(Checksum(dict(zip(PARTS, SIZES, strict=True))))
    m, dut = bench.m, bench.dut
    stays(bench, dut.read)
    # Byte to be read next, or the last one read.
    region = Signal(range(len(sizes) + 1), init=len(sizes))
    at = Signal(range(max(sizes)))
    last = bench.named(at == Array([*(size - 1 for size in sizes), 0])[region], "ends_region")
    taken = bench.named(dut.read.valid & dut.read.ready, "taken")
    with m.If(dut.start & ~dut.busy):
        m.d.sync += [region.eq(0), at.eq(0)]
    with m.Elif(taken & last):
        m.d.sync += [region.eq(region + 1), at.eq(0)]
    with m.Elif(taken):
        m.d.sync += at.eq(at + 1)
    asked = dut.read.p
    bench.claim("region", ~dut.read.valid | (asked.region == Array([*PARTS, 0])[region]))
    bench.claim("address", ~dut.read.valid | (asked.address == at))
    bench.claim("all", dut.busy | (region == len(sizes)))
    # Invariants on internal registers; the place advances only after a byte was divided.
    idle, reads, divides = (bench.state(name) for name in ("IDLE", "READ", "DIVIDE"))
    number, place = bench.inside("number"), bench.inside("at")
    left, at_last, at_end = (bench.inside(name) for name in ("left", "at_last", "at_end"))
    before_last = bench.named(place == bench.inside("last"), "place_ends")
    bench.claim("state", (idle | reads | divides) & (dut.busy == ~idle))
    bench.claim("number", idle | (number < len(PARTS)))
    bench.claim("here", ~reads | ((number == region) & (place == at)))
    ends = bench.named(number == len(PARTS) - 1, "number_ends")
    over = bench.named(Mux(before_last, number + 1, number), "then_number")
    bench.claim("there", ~divides | ((region == over) & (at == Mux(before_last, 0, place + 1))))
    bench.claim("known", ~divides | ((at_last == before_last) & (at_end == ends)) | (left == 7))
    bench.claim("within", idle | (place <= bench.inside("last")))
    bench.reach("third byte", taken & (at == 2))
    if sizes is SIZES:
        proved(bench, 4, reach=24)
    else:
        refuted(bench, 24, "there", induction=False)


def test_readback_gives_the_byte_asked_for(proved):
    """Each request is taken once, with its byte of the memories' outputs, padded with zeros."""
    machine = Machine.for_models(16, ModelConfig())
    bench = Bench(Readback(machine))
    dut = bench.dut
    held = bench.before(dut.i.valid & ~dut.i.ready)
    asked = dut.i.p.as_value()
    bench.assume("request stays", ~held | (dut.i.valid & (asked == bench.before(asked))))
    begins = dut.busy & ~bench.before(dut.busy)
    bench.assume("no document begins meanwhile", ~(begins & bench.before(dut.active)))
    # Words come two cycles after their address, which holds as long as the request.
    reads = bench.before(dut.active) & bench.before(dut.active, 2)
    words = [*dut.operands, dut.issue_program, dut.result_program, dut.tokens, dut.positions]
    same = Cat(word == bench.before(word) for word in words).all()
    bench.assume("words stay", ~bench.before(reads & dut.active) | same)
    operands = Cat(dut.operands)
    instruction = Cat(dut.issue_program, dut.result_program)
    stride = InstructionLayout(machine).stride
    filled = Const(0, 8 * stride - len(instruction))
    memories = {
        Region.OPERANDS: (operands, machine.lanes),
        Region.PROGRAM: (Cat(instruction, filled), stride),
        Region.TOKENS: (dut.tokens, machine.writers),
        Region.POSITIONS: (dut.positions, machine.writers),
    }
    for region, (word, step) in memories.items():
        # Strides are powers of two.
        place = dut.i.p.address & (step - 1)
        right = dut.data == (word >> (place << 3))[:8]
        chosen = dut.i.ready & (dut.i.p.region == region)
        bench.claim(region.name, ~chosen | right)
        bench.reach(region.name, chosen & (dut.data == 77))
    bench.claim("asked", ~dut.i.ready | dut.i.valid)
    bench.claim("reads", ~dut.i.ready | (dut.active & bench.before(dut.active, 4)))
    bench.claim("once", ~bench.before(dut.i.ready) | ~dut.i.ready)
    waited = bench.inside("waited")
    # A document that began with the request lets it wait.
    counted = dut.i.valid & bench.before(dut.active) & (dut.active | (waited == 1))
    bench.claim("counts", (waited == 0) | (counted & (waited < dut.latency)))
    proved(bench, 8, reach=10)


def test_console_holds_its_character(proved):
    """A character holds until it is taken, and tokens never wait for it."""
    bench = Bench(Console(range(PAGE_BYTES), BOS, CONTEXT, mirror=True))
    dut = bench.dut
    sends = bench.state("SEND")
    stays(bench, dut.o)
    bench.claim("only then", dut.o.valid == sends)
    bench.claim("always ready", dut.i.ready)
    bench.claim("checks when asked", ~dut.check | ~dut.o.valid)
    bench.reach("sends", sends & bench.before(sends, 3))
    proved(bench, 4, reach=16)
