"""Small designs for tests of simulation engines."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


class Sum(wiring.Component):
    """A registered running sum, as a block inside another."""

    i: In(signed(8))
    acc: Out(signed(12))

    def elaborate(self, platform):
        """Return the design."""
        m = Module()
        doubled = Signal(signed(9))
        m.d.comb += doubled.eq(self.i << 1)
        m.d.sync += self.acc.eq(self.acc + doubled)
        return m


class Block(wiring.Component):
    """A stream through a memory, signed and wide ports, and combinational paths."""

    i: In(stream.Signature(signed(8)))
    o: Out(stream.Signature(signed(12)))
    seed: In(7, init=5)
    wide_in: In(100)
    wide: Out(100)
    parity: Out(1)
    fixed: Out(9, init=300)
    count: Out(6)

    def elaborate(self, platform):
        """Return the design."""
        m = Module()
        m.submodules.mem = mem = Memory(shape=signed(8), depth=24, init=[3, -5, 100])
        read, write = mem.read_port(transparent_for=(w := mem.write_port(),)), w
        m.submodules.sum = total = Sum()
        busy = Signal()
        m.d.comb += [
            self.i.ready.eq(~busy),
            write.en.eq(self.i.valid & self.i.ready),
            write.data.eq(self.i.payload),
            write.addr.eq(self.count),
            read.addr.eq(self.seed),
            total.i.eq(read.data),
            self.o.payload.eq(total.acc ^ self.i.payload),
            self.o.valid.eq(busy & (self.count[:2] == 3)),
            self.parity.eq(self.wide_in.xor()),
        ]
        m.d.sync += [busy.eq((busy & ~self.o.ready) | write.en), self.count.eq(self.count + 1)]
        m.d.sync += self.wide.eq(Cat(self.wide_in[1:], self.parity) ^ self.seed)
        return m


class Ripple(wiring.Component):
    """Bits of one signal that depend on each other, which CXXRTL treats as feedback."""

    a: In(8)
    y: Out(8)
    top_bit: Out(1)

    def elaborate(self, platform):
        """Return the design."""
        m = Module()
        chain = Signal(8)
        m.d.comb += chain[0].eq(self.a[0])
        for bit in range(1, 8):
            m.d.comb += chain[bit].eq(chain[bit - 1] ^ self.a[bit])
        m.d.comb += self.top_bit.eq(chain[7])
        m.d.sync += self.y.eq(self.y + chain)
        return m


class Adder(wiring.Component):
    """An adder without registers: the sync domain exists but does nothing."""

    a: In(4)
    y: Out(5)

    def __init__(self, constant=1):
        self._constant = constant
        super().__init__()

    def elaborate(self, platform):
        """Return the design."""
        m = Module()
        m.d.comb += self.y.eq(self.a + self._constant)
        return m
