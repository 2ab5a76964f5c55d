"""Faults planted in the hardware are found in the first cycle and place in which they show."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from amaranth.hdl import Signal
from vcd.reader import TokenKind, tokenize

from gptloom.firmware.image import build_image
from gptloom.firmware.isa import InstructionLayout
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import Machine
from gptloom.firmware.program import compile_program
from gptloom.firmware.timeline import spans
from gptloom.hdl.folded import core as core_module
from gptloom.hdl.folded import noise, norm, reciprocal, requantise, scaling, softmax
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.folded.drain import Drain
from gptloom.hdl.folded.writeback import Writeback
from gptloom.hdl.multipliers import Multiplier
from gptloom.hdl.preload import Preload
from gptloom.model.config import ModelConfig
from gptloom.sim.engines import open_engine
from verification.scoreboard.bench import CheckedCore, DivergenceError
from verification.scoreboard.player import Habits, Player
from verification.scoreboard.reference import Reference

CONFIG = ModelConfig(layers=2, width=8, heads=2, hidden=8, context=4, vocabulary=5)
MACHINE = Machine.for_models(16, CONFIG)


class OffByOne(Multiplier):
    """Adds one to products of a negative element and a non-negative weight."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        product, wrong = Signal.like(self.o), Signal()
        m.d.sync += [product.eq(self.a * self.b), wrong.eq(self.a[-1] & ~self.b[-1])]
        with m.If(wrong):
            m.d.sync += self.o.eq(product + 1)
        return m


class StrayWrite(Writeback):
    """Writes into the cache when the second position's hidden layer is written."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        result = self.o.beat
        with m.If((self.position == 1) & (result.operation == 7) & (result.index == 5)):
            m.d.sync += self.word_enable[2][1].eq(1)
        return m


class LostResult(Drain):
    """Drops the last row of the second layer's queries."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        with m.If((self.o.operation == 9) & (self.o.index == 7)):
            m.d.comb += self.o.valid.eq(0)
        return m


@pytest.fixture
def diverge(random_model, tmp_path):
    """Run a faulty core until the fault shows."""
    model = random_model(CONFIG, 3, 1)

    def run(corrupt=lambda preload: None, **parameters):
        preload = Preload.of(build_image(model, MACHINE), MACHINE)
        corrupt(preload)
        core = FoldedCore(MACHINE, preload=preload, **parameters)
        bench = CheckedCore(MACHINE, partial(open_engine, kind="pysim"), tmp_path, core)
        bench.power_on(model)
        bench.session.temperature(model.logit_scale(0.8))
        with pytest.raises(DivergenceError) as error:
            bench.documents(2, [1])
        return error.value.mismatch, str(error.value)

    return run


def place(mismatch):
    return mismatch.signal, mismatch.layer, mismatch.step


# Consecutive whole passes of keys and values, positions that share a word or take two, noise of
# three words.
WIDER = ModelConfig(layers=1, width=16, heads=4, hidden=16, context=8, vocabulary=9)
ONE_HEAD = replace(CONFIG, heads=1)


@pytest.mark.parametrize(
    ("lanes", "config"),
    [
        (16, CONFIG),
        pytest.param(8, WIDER, marks=pytest.mark.long),
        pytest.param(16, ONE_HEAD, marks=pytest.mark.long),
        pytest.param(8, CONFIG, marks=pytest.mark.long),
        pytest.param(64, WIDER, marks=pytest.mark.long),
        pytest.param(32, WIDER, marks=pytest.mark.nightly),
    ],
)
def test_without_a_fault_there_is_no_divergence(random_model, waves, lanes, config):
    model, machine = random_model(config, 3, 1), Machine.for_models(lanes, config)
    core = FoldedCore(machine, preload=Preload.of(build_image(model, machine), machine))
    simulate = partial(open_engine, kind="pysim")
    bench = CheckedCore(machine, simulate, waves.folder, core, waves.keep)
    bench.power_on(model)
    bench.session.temperature(model.logit_scale(0.8))
    assert len(bench.documents(1, [1])) >= 1
    bench.load(model := random_model(config, 4, 1))
    assert len(bench.documents(1, [1, 0])) >= 1
    bench.play(Player(machine, model, lanes), Habits(0.5, 0.02, 0.05, 0.005, 0.02, 0, 9), 1_500)
    bench.play(Player(machine, model, lanes), Habits(0.5, 0.5, 0.05, 0.02, 0.02, 0.01, 6), 500)


def test_a_wrong_product(diverge, random_model):
    multipliers = [Multiplier] * 16
    multipliers[6] = OffByOne
    mismatch, text = diverge(multipliers=multipliers)
    # Unit 1's third lane has the first product of a negative element and a non-negative weight.
    numbers = Reference(MACHINE, model := random_model(CONFIG, 3, 1)).numbers
    elements = (model.weights["wte"][-1] + model.weights["wpe"][0])[2::4]
    table = model.network
    wrong = {
        s: (numbers.tiles(table[0, s])[:, 1, :, 2] >= 0) & (elements < 0) for s in ("q", "k", "v")
    }
    step = next(step for step, places in wrong.items() if places.any())
    pass_, quad = np.argwhere(wrong[step])[0]
    assert place(mismatch) == ("mac_array.total_1", 0, step)
    assert mismatch.element == f"sum {pass_}, {quad}, 1"
    assert mismatch.seen == mismatch.expected + 1
    assert f"layer 0, step {step}, sum" in text


@pytest.mark.parametrize(
    ("module", "table", "signal", "step"),
    [
        pytest.param(*(norm, "RSQRT_TABLE", "norm.norm", "embedding"), marks=pytest.mark.long),
        pytest.param(
            *(softmax, "EXP2_TABLE", "softmax.numerator_", "numerator"), marks=pytest.mark.long
        ),
        pytest.param(
            *(reciprocal, "RECIPROCAL_TABLE", "softmax.reciprocals", "numerator"),
            marks=pytest.mark.long,
        ),
        (noise, "noise_entries", "sampler.noise.values", "logits"),
    ],
)
def test_wrong_tables(diverge, monkeypatch, module, table, signal, step):
    right = getattr(module, table)
    # Noise has a table for each number of entries.
    wrong = (lambda bits: right(bits) ^ 1) if callable(right) else right ^ 1
    monkeypatch.setattr(module, table, wrong)
    mismatch, _ = diverge()
    assert mismatch.signal.startswith(signal)
    assert (mismatch.layer, mismatch.step) == (0, step)
    assert bin(mismatch.expected ^ mismatch.seen).count("1") <= 2


@pytest.mark.long
def test_a_wrong_scale(diverge, monkeypatch):
    class Shifted(requantise.Requantise):
        def __init__(self, bits, deep, widths, usual, pre_shift):
            super().__init__(bits, deep, widths, usual, pre_shift + 1)

    monkeypatch.setattr(scaling, "Requantise", Shifted)
    mismatch, _ = diverge()
    assert place(mismatch) == ("writeback.o__beat", 0, "q")
    assert mismatch.element.startswith("element ")


def test_a_write_when_nothing_is_due(diverge, monkeypatch):
    monkeypatch.setattr(core_module, "Writeback", StrayWrite)
    mismatch, text = diverge()
    assert mismatch.signal == "operands.write_enable__2"
    assert mismatch.element == "nothing due"
    assert (mismatch.expected, mismatch.seen) == (0, 2)
    assert mismatch.token[1] == 1
    assert "position 1" in text


def test_an_instruction_a_cycle_early(diverge, random_model):
    model = random_model(CONFIG, 3, 1)
    program = compile_program(model, Layout(MACHINE, CONFIG))
    number = next(
        i for i, s in enumerate(program) if s.step.site.layer == 1 and s.instruction.delay > 0
    )
    widths = InstructionLayout(MACHINE).issue
    at = sum(list(widths.values())[: list(widths).index("delay")])

    def hurry(preload):
        preload.issue_program[number] -= 1 << at

    mismatch, _ = diverge(hurry)
    span = spans(program, MACHINE, 0)[number]
    assert place(mismatch) == ("sequencer.issue", *span.scheduled.step.site.key)
    assert mismatch.cycle == mismatch.token[0] + span.start - 1


def test_a_result_that_is_missing_and_its_window(diverge, monkeypatch, tmp_path):
    monkeypatch.setattr(core_module, "Drain", LostResult)
    mismatch, text = diverge()
    assert place(mismatch) == ("drain.o__valid", 1, "q")
    assert mismatch.element == "element 7"
    assert (mismatch.expected, mismatch.seen) == (1, 0)
    file = tmp_path / f"divergence-{mismatch.cycle}.vcd"
    assert str(file) in text
    names, scopes, changes = {}, [], {}
    with file.open("rb") as stream:
        for token in tokenize(stream):
            if token.kind is TokenKind.SCOPE:
                scopes.append(token.scope.ident)
            elif token.kind is TokenKind.UPSCOPE:
                scopes.pop()
            elif token.kind is TokenKind.VAR:
                names[token.var.id_code] = ".".join([*scopes[1:], token.var.reference])
            elif token.kind is TokenKind.CHANGE_SCALAR:
                change = token.scalar_change
                changes.setdefault(names[change.id_code], []).append(change.value)
    seen, expected = changes["drain.o__valid"], changes["expected.drain.o__valid"]
    assert len(names) > 80
    # The recorded signal lacks a cycle at the end of its last pulse.
    assert seen.count("1") >= 1
    assert expected.count("1") >= 1
    assert set(changes["judged.drain.o__valid"]) == {"1"}


def test_every_field_of_a_plan_is_needed_once(random_model):
    """No two fields of a cell overlap: their sum would match neither."""
    for lanes in (8, 64):
        reference = Reference(Machine.for_models(lanes, CONFIG), random_model(CONFIG, 1))
        for position in range(CONFIG.context):
            plan = reference.plan(position, position, True)
            for table in (plan.due, plan.held):
                stops = np.append(table.starts[1:], len(table.sources))
                for first, stop in zip(table.starts, stops, strict=True):
                    bits = [
                        int(w) << int(s)
                        for w, s in zip(
                            table.widths[first:stop], table.shifts[first:stop], strict=True
                        )
                    ]
                    assert sum(bits) == np.bitwise_or.reduce(np.array(bits, np.uint64))
