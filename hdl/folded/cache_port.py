"""Places of keys and values in the operand memory's words."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal

from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.arithmetic import narrowed, quotient, remainder


def key_number(m: Module, machine: Machine, index, position) -> Signal:
    """Return the number of a key in the cache: position by position, head by head."""
    heads = machine.cached_heads
    head = remainder(quotient(index, QUAD), heads)
    number = Signal(range(machine.context * heads), name="key_number")
    m.d.comb += number.eq(Cat(head, position) if heads > 1 else position)
    return number


def write_words(m: Module, writeback, to, enable, index) -> None:
    """Write keys and values of the token's position where they belong in a word.

    The place is decided on the beat before the result, whose listeners, enabled writers and first
    number these are: write ports are a long way from here.
    """
    machine, result = writeback.machine, writeback.o.beat
    units, writers = machine.units, machine.writers
    number = key_number(m, machine, index, writeback.position)
    key_unit, key_lane = remainder(number, units), remainder(index, QUAD)
    value_unit, value_lane = remainder(index, units), remainder(writeback.position, QUAD)
    bytes_ = Array(narrowed(v, machine.lane_bits) for v in result["values"])
    for unit in range(units):
        stored = machine.cached_unit(unit)
        for lane in range(QUAD):
            # A key fills the lanes of one unit, a value one lane of consecutive units.
            key_writer, value_writer = lane % writers, unit % writers
            key_here = (key_unit == unit) & (key_lane == lane - key_writer)
            value_here = (value_lane == lane) & (value_unit == unit - value_writer)
            m.d.sync += writeback.word_enable[stored][lane].eq(
                (to.keys & key_here & enable.bit_select(key_writer, 1))
                | (to["values"] & value_here & enable.bit_select(value_writer, 1))
            )
            m.d.comb += (
                writeback.word_data[stored]
                .word_select(lane, machine.lane_bits)
                .eq(Mux(result.to.keys, bytes_[key_writer], bytes_[value_writer]))
            )
