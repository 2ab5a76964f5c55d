"""Plan of one token: the place of every value in every cycle, before any value is known."""

from collections.abc import Sequence
from dataclasses import dataclass

from gptloom.firmware.isa import Kind
from gptloom.firmware.schedule import Scheduled
from gptloom.firmware.timeline import EMIT, Span, spans, timeline
from verification.scoreboard.array_plan import ArrayPlan
from verification.scoreboard.cells import Label, Table, TableMaker
from verification.scoreboard.function_plan import FunctionPlan
from verification.scoreboard.result_plan import ResultPlan
from verification.scoreboard.sheet import Sheet
from verification.scoreboard.signals import Signals
from verification.scoreboard.values import TokenNumbers


@dataclass(frozen=True)
class Plan:
    """One token at one row of the cache, with or without a sample at its end.

    Attributes
    ----------
    spans
        Its instructions.
    due
        Values of signals in single cycles.
    held
        Values to which held signals change, in the columns of held signals alone.
    finished
        Last cycle of its program, relative to its start.
    done
        Cycle in which its token is sampled, if it is; a prompt's token has no sample.
    """

    spans: tuple[Span, ...]
    due: Table
    held: Table
    finished: int
    done: int

    def step_at(self, cycle: int) -> Label:
        """Return the instruction that the sequencer works on in a cycle."""
        for span in self.spans:
            if cycle < span.end:
                return Label(*span.scheduled.step.site.key)
        return Label(0, "after the program")


def make_plan(
    schedule: Sequence[Scheduled],
    numbers: TokenNumbers,
    signals: Signals,
    row: int,
    last: int,
    sample: bool,
) -> Plan:
    """Return the plan of a token.

    Parameters
    ----------
    schedule
        The program.
    numbers, signals
        Numbers that may be due, and signals to show them.
    row, last
        Row of the cache that the token gets, and the last one in use.
    sample
        Whether logits are computed; if not, the program ends early.
    """
    layout = numbers.layout
    machine = layout.machine
    program = spans(schedule, machine, last)
    end = timeline(schedule, machine, last)[-1].start
    if not sample:
        final = next(i for i, s in enumerate(program) if s.scheduled.instruction.prefill_final)
        program = program[: final + 1]
    sheet = Sheet(
        signals=signals,
        numbers=numbers,
        layout=layout,
        row=row,
        last=last,
        due=TableMaker(signals.count),
        held=TableMaker(signals.held_count),
    )
    array, results, functions = ArrayPlan(sheet), ResultPlan(sheet), FunctionPlan(sheet)
    embedding = layout.network.embedding
    sheet.label(embedding)
    results.embedding()
    if embedding.shifted:
        array.row()
    else:
        functions.norm(embedding, results.embedded)
    for operation, span in enumerate(program):
        sheet.label(span.scheduled.step.site)
        array.issues(operation, span)
        array.operands(span)
        array.accumulators(span)
        if span.scheduled.instruction.kind is Kind.SCORES:
            functions.scores(span)
            functions.softmax(span)
        else:
            written = results.results(operation, span)
            functions.norm_of_results(span, written)
    finished = program[-1].end - 1
    sheet.due.constant(finished, signals.columns["sequencer.finished"], 1, 1)
    if sample:
        functions.sample(program[-1], end - EMIT)
    return Plan(tuple(program), sheet.due.table(), sheet.held.table(), finished, end - EMIT)
