"""How the folded core's memories are loaded, and read back between documents."""

from itertools import zip_longest

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring

from gptloom.firmware.image import SETTING
from gptloom.firmware.isa import InstructionLayout
from gptloom.firmware.machine import LANE_BITS, QUAD
from gptloom.firmware.regions import NINTHS, Region, operand_stride
from gptloom.hdl.arithmetic import quotient, remainder


def read_back(
    m: Module,
    core,
    readback,
    tables,
    row,
    issue_program,
    result_program,
    operands,
    sequencer,
    mac_array,
) -> None:
    """Read at the addresses of the sequence, or between documents where one is asked for.

    `tables` are who has what else is read, with the regions of its words; `row` reads a token's
    row of the operands before the sequence does, where there is one.
    """
    wiring.connect(m, wiring.flipped(core.read), readback.i)
    address, reading = core.read.p.address, readback.active
    instruction = quotient(address, InstructionLayout(core.machine).stride)
    word = quotient(address, operand_stride(core.machine))
    operand = Mux(row.reading, row.address, sequencer.operand) if row else sequencer.operand
    m.d.comb += [
        readback.busy.eq(core.busy),
        core.read_data.eq(readback.data),
        issue_program.address.eq(Mux(reading, instruction, sequencer.fetch_address)),
        result_program.address.eq(Mux(reading, instruction, mac_array.next_operation)),
        operands.address.eq(Mux(reading, word, operand)),
        readback.issue_program.eq(issue_program.word),
        readback.result_program.eq(result_program.word),
    ]
    for unit in range(core.machine.units):
        m.d.comb += readback.operands[unit].eq(operands.words[unit])
    for table, words in tables:
        m.d.comb += [table.reading.eq(reading), table.read_address.eq(address)]
        for region, read in words.items():
            m.d.comb += getattr(readback, region.name.lower()).eq(read)


def load_settings(m: Module, init, loaded, readers) -> None:
    """Give what the image says of the model, by address, to its readers."""
    write, bytes_ = loaded.write, SETTING.size
    for i, (setting, value) in enumerate(zip_longest(readers, init, fillvalue=0)):
        register = Signal.like(setting[0], name=setting[0].name, init=value)
        m.d.comb += [reader.eq(register) for reader in setting]
        for byte in range(bytes_):
            part = register[8 * byte : 8 * (byte + 1)]
            chosen = remainder(write.address, 16) == bytes_ * i + byte
            with m.If(loaded.into[Region.SETTINGS] & chosen):
                m.d.sync += part.eq(write.data)


def load_embedding(m: Module, loaded, embedding) -> None:
    """Model image into the embeddings."""
    m.d.comb += [
        embedding.write_address.eq(loaded.write.address),
        embedding.write_data.eq(loaded.write.data),
        embedding.write_tokens.eq(loaded.into[Region.TOKENS]),
        embedding.write_positions.eq(loaded.into[Region.POSITIONS]),
    ]


def load_tables(m: Module, loaded, tables) -> None:
    """Model image into tables by region."""
    for region, table in tables.items():
        m.d.comb += [
            table.write_address.eq(loaded.write.address),
            table.write_data.eq(loaded.write.data),
            table.write_enable.eq(loaded.into[region]),
        ]


def load(m: Module, machine, loaded, issue_program, result_program, operands, writeback) -> None:
    """Model image into program and operands, a byte at a time; otherwise keys and values."""
    write, into = loaded.write, loaded.into
    halves = InstructionLayout(machine)
    m.d.comb += [
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
    loads, byte = into[Region.OPERANDS], write.data
    lane, writes = remainder(write.address, machine.lanes), loads
    stride = operand_stride(machine)
    if machine.lane_bits > LANE_BITS:
        # The ninth bits of a group come first, its lower bytes from `NINTHS` on.
        slot, ninths = remainder(write.address, 2 * NINTHS), Signal(NINTHS)
        with m.If(loads & (slot == 0)):
            m.d.sync += ninths.eq(write.data)
        within = remainder(slot, NINTHS)
        lane = remainder(Cat(within, quotient(write.address, 2 * NINTHS)), machine.lanes)
        writes, byte = loads & (slot >= NINTHS), Cat(write.data, ninths.bit_select(within, 1))
    m.d.comb += operands.write_address.eq(
        Mux(loads, quotient(write.address, stride), writeback.word)
    )
    for unit in range(machine.units):
        lanes = Mux(
            writes & (quotient(lane, QUAD) == unit), Const(1, QUAD) << remainder(lane, QUAD), 0
        )
        m.d.comb += [
            operands.write_enable[unit].eq(writeback.word_enable[unit] | lanes),
            operands.write_data[unit].eq(
                Mux(loads, byte.replicate(QUAD), writeback.word_data[unit])
            ),
        ]
