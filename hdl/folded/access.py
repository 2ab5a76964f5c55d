"""How the folded core's memories are loaded, and read back between documents."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring

from gptloom.firmware.image import SETTINGS, Region
from gptloom.firmware.isa import InstructionLayout
from gptloom.firmware.machine import QUAD
from gptloom.hdl.arithmetic import quotient, remainder


def read_back(
    m: Module,
    core,
    readback,
    embedding,
    issue_program,
    result_program,
    operands,
    sequencer,
    mac_array,
) -> None:
    """Read at the addresses of the sequence, or between documents where one is asked for."""
    wiring.connect(m, wiring.flipped(core.read), readback.i)
    address, reading = core.read.p.address, readback.active
    instruction = quotient(address, InstructionLayout(core.machine).stride)
    word = quotient(address, core.machine.lanes)
    m.d.comb += [
        readback.busy.eq(core.busy),
        core.read_data.eq(readback.data),
        issue_program.address.eq(Mux(reading, instruction, sequencer.fetch_address)),
        result_program.address.eq(Mux(reading, instruction, mac_array.next_operation)),
        operands.address.eq(Mux(reading, word, sequencer.operand)),
        embedding.reading.eq(reading),
        embedding.read_address.eq(address),
        readback.issue_program.eq(issue_program.word),
        readback.result_program.eq(result_program.word),
    ]
    for unit in range(core.machine.units):
        m.d.comb += readback.operands[unit].eq(operands.words[unit])
    for word, read in zip((readback.tokens, readback.positions), embedding.words, strict=False):
        m.d.comb += word.eq(read)


def load_settings(m: Module, init, loaded, readers) -> None:
    """Give what the image says of the model, by address, to its readers."""
    write, bytes_ = loaded.write, SETTINGS.size // len(readers)
    for i, (setting, value) in enumerate(zip(readers, init, strict=True)):
        register = Signal.like(setting[0], name=setting[0].name, init=value)
        m.d.comb += [reader.eq(register) for reader in setting]
        for byte in range(bytes_):
            part = register[8 * byte : 8 * (byte + 1)]
            chosen = remainder(write.address, 16) == bytes_ * i + byte
            with m.If(loaded.into[Region.SETTINGS] & chosen):
                m.d.sync += part.eq(write.data)


def load(
    m: Module, machine, loaded, embedding, issue_program, result_program, operands, writeback
) -> None:
    """Model image into the memories, a byte at a time; otherwise keys and values."""
    write, into = loaded.write, loaded.into
    halves = InstructionLayout(machine)
    m.d.comb += [
        embedding.write_address.eq(write.address),
        embedding.write_data.eq(write.data),
        embedding.write_tokens.eq(into[Region.TOKENS]),
        embedding.write_positions.eq(into[Region.POSITIONS]),
        issue_program.write_address.eq(quotient(write.address, halves.stride)),
        issue_program.write_byte.eq(remainder(write.address, halves.stride)),
        issue_program.write_data.eq(write.data),
        issue_program.write_enable.eq(into[Region.PROGRAM]),
        # Bytes that a word does not have are not written.
        result_program.write_address.eq(issue_program.write_address),
        result_program.write_byte.eq(issue_program.write_byte - halves.issue_bytes),
        result_program.write_data.eq(write.data),
        result_program.write_enable.eq(issue_program.write_enable),
    ]
    lane = remainder(write.address, machine.lanes)
    loads = into[Region.OPERANDS]
    m.d.comb += operands.write_address.eq(
        Mux(loads, quotient(write.address, machine.lanes), writeback.word)
    )
    for unit in range(machine.units):
        lanes = Mux(
            loads & (quotient(lane, QUAD) == unit), Const(1, QUAD) << remainder(lane, QUAD), 0
        )
        m.d.comb += [
            operands.write_enable[unit].eq(writeback.word_enable[unit] | lanes),
            operands.write_data[unit].eq(
                Mux(loads, write.data.replicate(QUAD), writeback.word_data[unit])
            ),
        ]
