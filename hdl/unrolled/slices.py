"""Activations a few bits at a time."""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.attributes import LOADED


class Format:
    """Number format of activations, and their division into slices.

    Parameters
    ----------
    activation_bits
        Bits of an activation, 1 to 16.
    bits_per_cycle
        Bits of a slice, a divisor of `activation_bits`.
    is_signed
        Activations are in two's complement.

    Attributes
    ----------
    count
        Slices of an activation, also the interval between vectors in cycles.
    biased
        The slices are those of the activation plus ``2**(activation_bits - 1)``, so that no slice
        counts negative: true if a signed activation takes several. The bias inverts the sign bit; a
        product removes it again as a constant.
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
        """Weight of each bit of a slice, in the first slice."""
        values = [1 << k for k in range(self.bits_per_cycle)]
        if self.is_signed and not self.biased:
            values[-1] = -values[-1]
        return values


class Slices(wiring.Signature):
    """Slices of a vector of activations, lowest first, in consecutive cycles.

    Members
    -------
    bits : Out(bits_per_cycle) of every input
        Bits of the slice.
    inverted : Out(bits_per_cycle) of every input
        Complement of `bits`: carry cells need some bits inverted, and cannot invert them.
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
        Vector of activations.
    valid : In(1)
        `i` is taken; at the earliest `count` cycles after the last vector, which is otherwise cut
        short.
    o : Out(Slices)
        The slices, the first one with `valid`, unregistered: the receiver registers them.
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

        # One-hot, one bit for each slice: the markers need no decoding.
        later = Signal(self._format.count - 1)
        at = Cat(self.valid, later)
        m.d.sync += later.eq(at)
        m.d.comb += [self.o.valid.eq(at.any()), self.o.first.eq(at[0]), self.o.last.eq(at[-1])]
        return m
