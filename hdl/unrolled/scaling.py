"""Products of values and a factor that is no constant."""

from amaranth.hdl import Cat, Const, Module, Signal, Value

from gptloom.hdl.attributes import LOADED
from gptloom.hdl.multipliers import Digit, Partial, recoded

DIGIT_BITS = 2


def _digits(bits: int) -> int:
    """Return the digits of an unsigned factor, one of which takes the last carry."""
    return bits // DIGIT_BITS + 1


def code_bits(bits: int, in_fabric: bool) -> int:
    """Return the width of what :func:`code_of` makes of a factor of `bits` bits."""
    return DIGIT_BITS * _digits(bits) if in_fabric else bits


def code_of(factor: int, bits: int, in_fabric: bool) -> int:
    """Return how a factor enters :func:`scaled`.

    Parameters
    ----------
    factor, bits
        An unsigned number, and the width of it.
    in_fabric
        As digits of base 4, two bits each, where 3 is -1; see :func:`.multipliers.recoded`. It is
        made before a register: behind it, synthesis would make it anew for every bit of a product.
        Else as it is.
    """
    if not in_fabric:
        return factor
    code = carry = 0
    for i in range(0, DIGIT_BITS * _digits(bits), DIGIT_BITS):
        digit = (factor >> i & 3) + carry
        code |= (digit & 3) << i
        carry = int(digit >= 3)
    return code


def coded(m: Module, factor: Value, in_fabric: bool) -> Value:
    """Return the code of an unsigned factor, as :func:`code_of` does."""
    if not in_fabric:
        return factor
    padding = Const(0, DIGIT_BITS * _digits(len(factor)) - len(factor))
    return Cat(digit.code for digit in recoded(m, Cat(factor, padding)))


def scaled(m: Module, value: Value, code: Value, in_fabric: bool) -> Value:
    """Return a product, exactly, one cycle later.

    Parameters
    ----------
    m
        Gets the hardware.
    value
        Signed.
    code
        Of an unsigned factor.
    in_fabric
        Of lookup tables and carry chains: then two of these follow the registers. Else of a
        multiplier, with a register behind it.

    Returns
    -------
    Value
        Signed, as wide as both together at least.
    """
    if not in_fabric:
        product = Signal.like(value * code, name="product", **LOADED)
        m.d.sync += product.eq(value * code)
        return product
    rows = [
        Partial.of(m, value, Digit(Cat(code[i : i + DIGIT_BITS], Const(0, 1))))
        for i in range(0, len(code), DIGIT_BITS)
    ]
    parts = [low.join(m, high) for low, high in zip(rows[::2], rows[1::2], strict=False)]
    total, *others = (part.registered(m) for part in parts + rows[len(rows) & ~1 :])
    for part in others:
        total = total.join(m, part)
    # The last digit is never -1.
    return total.value.as_signed()
