"""Parts of a core that only some machines have, and what they are connected to."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from gptloom.firmware.image import Region
from gptloom.hdl.arithmetic import quotient
from gptloom.hdl.folded.access import load_embedding, load_tables
from gptloom.hdl.folded.embedding import Embedding
from gptloom.hdl.folded.exponents import Exponents
from gptloom.hdl.folded.gains import Gains
from gptloom.hdl.folded.memories import gate_memory
from gptloom.hdl.folded.recurrence import Recurrence
from gptloom.hdl.folded.rotation import Rotation
from gptloom.hdl.folded.token_row import TokenRow
from gptloom.model.cache import Eviction


def embed(m: Module, core, loaded, turn) -> tuple[Embedding, list]:
    """Embeddings in tables of their own; return them, and what is read of them."""
    m.submodules.embedding = embedding = Embedding(
        core.machine, core.preload.tokens, core.preload.positions
    )
    m.d.comb += embedding.position.eq(turn.position)
    load_embedding(m, loaded, embedding)
    words = zip((Region.TOKENS, Region.POSITIONS), embedding.words, strict=False)
    return embedding, [(embedding, dict(words))]


def gate(
    m: Module, core, loaded, control, turn, operands, drain, writeback
) -> tuple[TokenRow, list]:
    """Add what the family of Llama needs; return who reads embeddings, and other tables."""
    machine, preload = core.machine, core.preload
    m.submodules.token_row = row = TokenRow(machine)
    m.submodules.exponents = exponents = Exponents(machine, preload.exponents, preload.tokens)
    m.submodules.rotation = rotation = Rotation(machine, preload.positions)
    m.submodules.gates = gates = gate_memory(machine)
    m.submodules.gains = gains = Gains(machine, preload.gains)
    wiring.connect(m, writeback.silu, gates.i)
    first = control.fresh if machine.eviction is not Eviction.NONE else turn.position == 0
    beside = quotient(drain.next_index, machine.writers)
    m.d.comb += [
        *(word.eq(read) for word, read in zip(row.words, operands.words, strict=True)),
        exponents.start.eq(turn.start),
        exponents.token.eq(turn.token),
        exponents.i.valid.eq(drain.o.valid),
        exponents.i.instruction.eq(drain.o.instruction),
        rotation.start.eq(turn.start),
        rotation.first.eq(first),
        rotation.quad.eq(writeback.quad),
        gates.address.eq(beside),
        gains.address.eq(beside),
        writeback.exponents.eq(exponents.o),
        writeback.turns.eq(rotation.turns),
        writeback.gates.eq(gates.elements),
        writeback.gains.eq(gains.elements),
    ]
    tables = {
        Region.TOKENS: exponents.tokens,
        Region.EXPONENTS: exponents.rows,
        Region.POSITIONS: rotation.speeds,
        Region.GAINS: gains.table,
    }
    load_tables(m, loaded, tables)
    words = {region: table.word for region, table in tables.items()}
    return row, [
        (exponents, {r: words[r] for r in (Region.TOKENS, Region.EXPONENTS)}),
        (rotation, {Region.POSITIONS: words[Region.POSITIONS]}),
        (gains, {Region.GAINS: words[Region.GAINS]}),
    ]


def recur(m: Module, core, loaded, readback, control, sequencer, sampler, drain, writeback) -> None:
    """Keep sums in the place of the cache."""
    m.submodules.recurrence = recurrence = Recurrence(core.machine, core.preload.positions)
    m.d.comb += [
        recurrence.start.eq(control.start),
        recurrence.token.eq(control.token),
        recurrence.fresh.eq(control.fresh),
        # They are read for the beat to come, as the residual stream is.
        recurrence.index.eq(drain.next_index),
        writeback.reciprocals.eq(recurrence.reciprocals),
        recurrence.write_address.eq(loaded.write.address),
        recurrence.write_enable.eq(loaded.into[Region.POSITIONS]),
        recurrence.write_data.eq(loaded.write.data),
        recurrence.reading.eq(readback.active),
        recurrence.read_address.eq(core.read.p.address),
        readback.positions.eq(recurrence.word),
    ]
    for mixed, sum_ in zip(writeback.recurrent, recurrence.sums, strict=True):
        m.d.comb += mixed.eq(sum_)
    # A token is over with the last of its sums.
    for over, ends in ((control.finished, sequencer.finished), (control.done, sampler.done)):
        waits = Signal()
        m.d.sync += waits.eq((ends | waits) & recurrence.busy)
        m.d.comb += over.eq((ends | waits) & ~recurrence.busy)
