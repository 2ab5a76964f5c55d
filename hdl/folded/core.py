"""The folded core: what is connected to what."""

from collections.abc import Sequence
from typing import NamedTuple

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from gptloom.firmware.image import Region
from gptloom.firmware.isa import InstructionLayout
from gptloom.firmware.machine import Machine
from gptloom.hdl.arithmetic import quotient
from gptloom.hdl.core import CoreSignature, Write
from gptloom.hdl.delay import delayed
from gptloom.hdl.folded.access import (
    load,
    load_settings,
    read_back,
)
from gptloom.hdl.folded.control import Control
from gptloom.hdl.folded.drain import Drain
from gptloom.hdl.folded.layouts import (
    Temperature,
    issue_fields,
    result_fields,
    results,
    score_beat,
)
from gptloom.hdl.folded.mac_array import MacArray
from gptloom.hdl.folded.memories import (
    ActivationMemory,
    OperandMemory,
    ProgramMemory,
    stream_memory,
)
from gptloom.hdl.folded.norm import Norm
from gptloom.hdl.folded.parts import embed, gate, recur
from gptloom.hdl.folded.prefix import Prefix
from gptloom.hdl.folded.readback import Readback
from gptloom.hdl.folded.recompute import Recompute
from gptloom.hdl.folded.rows import Rows
from gptloom.hdl.folded.sampler import Sampler
from gptloom.hdl.folded.sequencer import Sequencer
from gptloom.hdl.folded.softmax import Softmax
from gptloom.hdl.folded.writeback import Writeback
from gptloom.hdl.multipliers import Multiplier
from gptloom.hdl.preload import Preload
from gptloom.hdl.tally import Tally
from gptloom.model.cache import Eviction
from gptloom.model.positions import Positions


class _Turn(NamedTuple):
    """Signals of the token that the program computes."""

    start: Signal
    token: Signal
    position: Signal
    sample: Signal


class FoldedCore(wiring.Component):
    """A whole transformer on one MAC array, with run-time weights.

    The face is :class:`.CoreSignature`. `tap` shows what is computed, cycle by cycle, for
    comparison with the golden model; it is not needed for operation.

    Attributes
    ----------
    machine
        Dimensions that the core is built for.
    multipliers
        Multiplier of each lane; the default is for simulation.
    preload
        Contents of the memories from power-on; without it, the load port fills them.
    cached
        Whether keys and values are kept from token to token; if not, all are computed anew
        (:class:`.Recompute`), for comparison. Not of a recurrent machine.
    tap : Out
        `result`: a beat of results as it is written. `score_valid`: a position's scores, or with
        `numerators` its softmax numerators, are written as `scores`, for the heads in `heads`.
        `start`: a token begins, which stays at `token_position` until the next one does.
    """

    def __init__(
        self,
        machine: Machine,
        multipliers: Sequence[type[Multiplier]] | None = None,
        preload: Preload | None = None,
        cached: bool = True,
    ):
        if machine.slots and not cached:
            raise ValueError("without a cache there are no prefixes to be kept in its slots")
        if machine.rotary and not cached:
            raise ValueError("without a cache positions repeat, and rotations go on")
        self.machine = machine
        self.cached = cached
        self.multipliers = multipliers
        self.preload = preload or Preload()
        tap = data.StructLayout(
            {
                "result": results(machine),
                "score_valid": 1,
                "numerators": 1,
                "position": range(machine.context),
                "heads": machine.heads,
                "scores": score_beat(machine),
                "start": 1,
                "token_position": range(machine.context),
            }
        )
        members = dict(CoreSignature().members)
        super().__init__({**members, "tap": Out(tap)})

    def elaborate(self, platform):
        m = Module()
        machine = self.machine
        halves = InstructionLayout(machine)
        m.submodules.control = control = Control(machine)
        m.submodules.issue_program = issue_program = ProgramMemory(
            machine, issue_fields(machine).size, halves.issue_bytes, self.preload.issue_program
        )
        m.submodules.result_program = result_program = ProgramMemory(
            machine, result_fields(machine).size, halves.result_bytes, self.preload.result_program
        )
        m.submodules.sequencer = sequencer = Sequencer(machine)
        m.submodules.operands = operands = OperandMemory(machine, self.preload.operands)
        m.submodules.activations = activations = ActivationMemory(machine)
        m.submodules.stream = stream = stream_memory(machine)
        m.submodules.mac_array = mac_array = MacArray(machine, self.multipliers)
        m.submodules.drain = drain = Drain(machine)
        m.submodules.writeback = writeback = Writeback(machine)
        m.submodules.norm = norm = Norm(machine)
        m.submodules.sampler = sampler = Sampler(machine)

        m.submodules.readback = readback = Readback(machine)

        temperature = Signal(Temperature)
        with m.If(control.start):
            m.d.sync += temperature.eq(self.temperature)
        # Memories are a long way from whoever loads them.
        loaded = Signal(data.StructLayout({"valid": 1, "into": len(Region), "write": Write}))
        taken = self.load.valid & self.load.ready
        m.d.sync += [
            loaded.valid.eq(taken),
            loaded.into.eq(Mux(taken, 1 << self.load.p.region, 0)),
            loaded.write.eq(self.load.p),
        ]
        prefix = self._prefix(m, loaded, control)
        self._document(m, loaded, readback.active, control, prefix, sampler)
        turn = self._turn(m, control, sampler, sequencer)
        programs = issue_program, result_program
        if machine.gated:
            embedding, tables = gate(m, self, loaded, control, turn, operands, drain, writeback)
        else:
            embedding, tables = embed(m, self, loaded, turn)
        row = embedding if machine.gated else None
        read_back(m, self, readback, tables, row, *programs, operands, sequencer, mac_array)
        load(m, machine, loaded, *programs, operands, writeback)
        # Sums leave the drain for write-back, and results write-back for whoever listens.
        wiring.connect(m, embedding.o, writeback.embedding)
        wiring.connect(m, drain.o, writeback.i)
        wiring.connect(m, writeback.o, stream.i, norm.i, sampler.i)
        m.d.comb += [
            # A token starts with its embedding,
            embedding.start.eq(turn.start),
            embedding.token.eq(turn.token),
            # the program issues operands,
            sequencer.start.eq(turn.start),
            sequencer.sample.eq(turn.sample),
            sequencer.instruction.eq(issue_program.word),
            issue_program.enable.eq(sequencer.fetch),
            # the MAC array multiplies them,
            mac_array.issue.eq(sequencer.issue),
            mac_array.quads.eq(activations.quads),
            # the drain takes whole passes,
            drain.load.eq(mac_array.done),
            drain.job.eq(mac_array.job),
            result_program.enable.eq(1),
            drain.instruction.eq(result_program.word),
            # and results are scaled.
            writeback.norm.eq(norm.norm),
            writeback.temperature.eq(temperature),
            sampler.greedy.eq(temperature.greedy),
            # The residual stream is read for the beat to come.
            stream.address.eq(quotient(drain.next_index, machine.writers)),
            writeback.stream.eq(stream.elements),
            activations.address.eq(sequencer.row),
            activations.write_address.eq(writeback.row),
            activations.write_enable.eq(writeback.row_enable),
            activations.write_data.eq(writeback.row_data),
            self.tap.result.eq(writeback.o.beat),
        ]
        for unit in range(machine.units):
            m.d.comb += [
                mac_array.words[unit].eq(operands.words[unit]),
                drain.sums[unit].eq(mac_array.sums[unit]),
            ]
        rows = None
        if machine.recurrent:
            recur(m, self, loaded, readback, control, sequencer, sampler, drain, writeback)
        else:
            rows = self._attend(
                m, control, prefix, turn, sequencer, activations, mac_array, drain, writeback
            )
        load_settings(
            m,
            self.preload.settings,
            loaded,
            [
                [control.bos, *([] if machine.gated else [sampler.last_token])],
                [
                    control.last_position,
                    *([rows.final_row] if rows else []),
                    *([prefix.final] if prefix else []),
                ],
                [embedding.last_beat],
                [sequencer.key_stride, writeback.key_stride],
                [sequencer.value_stride, writeback.value_stride],
                *([[sampler.last_token]] if machine.gated else []),
            ],
        )
        return m

    def _attend(
        self,
        m: Module,
        control,
        prefix,
        turn: "_Turn",
        sequencer,
        activations,
        mac_array,
        drain,
        writeback,
    ) -> Rows | None:
        """Attention to the rows of the cache; return who finds them, where that is wanted."""
        machine = self.machine
        m.submodules.softmax = softmax = Softmax(machine)
        rows, row, last = self._rows(m, control, turn, softmax)
        self._count(m, turn, softmax, prefix, rows, last)
        m.d.comb += [
            sequencer.position.eq(last),
            sequencer.softmax_ready.eq(softmax.ready),
            activations.address.eq(Mux(softmax.reading, softmax.read_row, sequencer.row)),
            writeback.reciprocals.eq(softmax.reciprocals),
            writeback.position.eq(row),
            softmax.begin.eq(sequencer.scores_begin),
            softmax.position.eq(last),
            softmax.quads.eq(activations.quads),
        ]
        if machine.overlaps:
            m.d.comb += mac_array.numerators.eq(softmax.fresh)
        if machine.slots > 1:
            m.d.comb += [
                sequencer.places.eq(prefix.places),
                writeback.slot.eq(prefix.places.tail),
            ]
        wiring.connect(m, drain.scores, softmax.i)
        # The softmax writes activations as well.
        with m.If(softmax.tap_valid):
            m.d.comb += [
                activations.write_address.eq(softmax.row),
                activations.write_enable.eq(softmax.row_enable),
                activations.write_data.eq(softmax.row_data),
            ]
        m.d.comb += [
            self.tap.score_valid.eq(softmax.tap_valid),
            self.tap.numerators.eq(softmax.tap_numerators),
            self.tap.position.eq(softmax.tap_position),
            self.tap.heads.eq(softmax.tap_heads),
            self.tap.scores.eq(softmax.tap_scores),
            self.tap.start.eq(turn.start),
            self.tap.token_position.eq(turn.position),
        ]
        return rows

    def _turn(self, m: Module, control, sampler, sequencer) -> "_Turn":
        """Return what the program computes: the token of the document, or all up to it."""
        if self.cached:
            m.d.comb += [control.finished.eq(sequencer.finished), control.done.eq(sampler.done)]
            return _Turn(control.start, control.token, control.position, control.sample)
        m.submodules.recompute = recompute = Recompute(self.machine)
        m.d.comb += [
            recompute.token_start.eq(control.start),
            recompute.token.eq(control.token),
            recompute.position.eq(control.position),
            recompute.sample.eq(control.sample),
            control.finished.eq(recompute.token_finished),
            control.done.eq(recompute.token_done),
            recompute.finished.eq(sequencer.finished),
            recompute.done.eq(sampler.done),
        ]
        return _Turn(recompute.start, recompute.now, recompute.place, recompute.wanted)

    def _rows(self, m: Module, control, turn: "_Turn", softmax) -> tuple[Rows | None, Value, Value]:
        """Return the token's row of the cache and the last one in use, and what finds them."""
        if self.machine.positions is not Positions.ALIBI and self.machine.eviction is Eviction.NONE:
            return None, turn.position, turn.position
        m.submodules.rows = rows = Rows(self.machine)
        m.d.comb += [
            rows.start.eq(turn.start),
            rows.first.eq(control.fresh),
            rows.position.eq(turn.position),
            rows.at.eq(softmax.at),
            rows.passes.eq(softmax.passes),
            softmax.distance.eq(rows.distance[: len(softmax.distance)]),
            rows.attended.eq(softmax.tap_valid & softmax.tap_numerators),
            rows.place.eq(softmax.tap_position),
        ]
        for numerator, score in zip(rows.numerators, softmax.tap_scores[0], strict=True):
            m.d.comb += numerator.eq(score)
        return rows, rows.row, rows.last

    def _prefix(self, m: Module, loaded, control) -> Prefix | None:
        """Return what places documents in slots of the cache, if there are any."""
        if not self.machine.slots:
            return None
        m.submodules.prefix = prefix = Prefix(self.machine)
        wiring.connect(m, prefix.o, control.i)
        m.d.comb += [
            prefix.busy.eq(control.busy),
            prefix.clear.eq(loaded.valid),
            prefix.start.eq(control.start),
            prefix.token.eq(control.token),
            prefix.position.eq(control.position),
            control.keep.eq(prefix.keep),
        ]
        return prefix

    def _count(self, m: Module, turn, softmax, prefix, rows, last) -> None:
        """Count what happens in the cache."""
        endless = self.machine.eviction is not Eviction.NONE
        m.submodules.tally = tally = Tally(
            self.machine.context, 1, evicts=endless, keeps=bool(prefix)
        )
        # Numerators come in words of four rows.
        attended = softmax.tap_valid & softmax.tap_numerators & (softmax.tap_position <= last)
        m.d.comb += [
            tally.start.eq(turn.start),
            tally.occupied.eq(last + 1),
            tally.attended.eq(attended),
            self.cache.eq(tally.counters),
        ]
        if rows:
            m.d.comb += tally.evicts.eq(rows.evicts)
        if prefix:
            m.d.comb += [tally.placed.eq(delayed(m, prefix.placed)), tally.keep.eq(prefix.keep)]

    def _document(self, m: Module, loaded, reading, control, prefix, sampler) -> None:
        """Prompts in, tokens out."""
        first = prefix or control
        wiring.connect(m, wiring.flipped(self.i), first.i)
        wiring.connect(m, control.o, wiring.flipped(self.o))
        begun = prefix.active if prefix else Const(0)
        waits = self.load.valid | loaded.valid | self.seed.valid | self.read.valid | reading
        seeded, deep = self.seed.valid & self.seed.ready, self.machine.deep
        configured = loaded.into[Region.SETTINGS]
        m.d.comb += [
            self.counters.eq(control.counters),
            self.busy.eq(control.busy | begun),
            self.load.ready.eq(~self.busy),
            first.hold.eq(waits),
            control.sampled.eq(sampler.token),
            self.seed.ready.eq(~self.busy),
            # How many values are drawn depends on the model: a new one has them drawn again.
            sampler.load.eq(delayed(m, seeded | configured, deep)),
            sampler.seed.eq(delayed(m, Mux(seeded, self.seed.payload, 1), deep)),
        ]
