"""Activations some bits at a time."""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.attributes import LOADED


class Format:
    """How activations are numbers, and how they are cut.

    Parameters
    ----------
    activation_bits
        Bits of an activation, 1 to 16.
    bits_per_cycle
        Bits of a slice, a divisor of these.
    is_signed
        Activations are in two's complement.

    Attributes
    ----------
    count
        Slices of an activation, which is also the interval between vectors in cycles.
    biased
        Slices are those of the activation plus ``2**(activation_bits - 1)``: of a signed activation
        that takes several. The bias is an inverted sign; a product takes it away again as a
        constant, and no slice counts negative.
    """

    def __init__(self, activation_bits: int, bits_per_cycle: int, *, is_signed: bool):
        if not 1 <= activation_bits <= 16:
            raise ValueError(f"activations of {activation_bits} bits: choose 1 to 16")
        if bits_per_cycle < 1 or activation_bits % bits_per_cycle:
            divisors = [n for n in range(1, activation_bits + 1) if activation_bits % n == 0]
            raise ValueError(
                f"{bits_per_cycle} bits per cycle do not divide activations of {activation_bits} "
                f"bits: choose one of {divisors}"
            )
        self.activation_bits, self.bits_per_cycle = activation_bits, bits_per_cycle
        self.is_signed = is_signed
        self.count = activation_bits // bits_per_cycle
        self.biased = is_signed and self.count > 1

    @property
    def shape(self) -> Shape:
        """Shape of an activation."""
        return signed(self.activation_bits) if self.is_signed else unsigned(self.activation_bits)

    @property
    def bit_values(self) -> list[int]:
        """What each bit of a slice counts, in the first slice."""
        values = [1 << k for k in range(self.bits_per_cycle)]
        if self.is_signed and not self.biased:
            values[-1] = -values[-1]
        return values


class Slices(wiring.Signature):
    """Slices of a vector of activations, lowest first, in consecutive cycles.

    Members
    -------
    bits : Out(bits_per_cycle) of every input
        The slice.
    inverted : Out(bits_per_cycle) of every input
        Its complement: carry cells need some bits inverted, and have nothing to invert them with.
    valid, first, last : Out(1)
        There is a slice; it is a vector's first; it is a vector's last.
    """

    def __init__(self, inputs: int, format_: Format):
        bits = Out(format_.bits_per_cycle).array(inputs)
        super().__init__(
            {"bits": bits, "inverted": bits, "valid": Out(1), "first": Out(1), "last": Out(1)}
        )


class Slicer(wiring.Component):
    """Cuts vectors of activations into slices: a shift register for every input.

    Attributes
    ----------
    i : In(activation_bits) of every input
        Activations.
    valid : In(1)
        Takes them; `count` cycles after the last vector at the earliest, or that one is cut short.
    o : Out(Slices)
        The slices, the first one with `valid`, of no register: whoever takes them has some.
    """

    def __init__(self, inputs: int, format_: Format):
        self._format = format_
        super().__init__(
            {
                "i": In(format_.shape).array(inputs),
                "valid": In(1),
                "o": Out(Slices(inputs, format_)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits, width = self._format.bits_per_cycle, self._format.activation_bits
        bias = Const(self._format.biased << width - 1, width)
        for i, value in enumerate(self.i):
            rest = Signal(width - bits, name=f"rest_{i}", **LOADED)
            now = Signal(width, name=f"now_{i}")
            m.d.comb += [
                now.eq(Mux(self.valid | (bits == width), value ^ bias, rest)),
                self.o.bits[i].eq(now),
                self.o.inverted[i].eq(~now),
            ]
            m.d.sync += rest.eq(now >> bits)

        # One bit for each slice, so that no marker needs logic.
        later = Signal(self._format.count - 1)
        at = Cat(self.valid, later)
        m.d.sync += later.eq(at)
        m.d.comb += [self.o.valid.eq(at.any()), self.o.first.eq(at[0]), self.o.last.eq(at[-1])]
        return m
