"""Coverage of a core compared in every cycle: every possible event occurs."""

from dataclasses import replace

import pytest

from gptloom.firmware.machine import Machine
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.formats import FINE
from gptloom.model.quantise import quantise
from gptloom.sim.engines import open_engine
from verification.llama import make_loud
from verification.scoreboard.bench import CheckedCore
from verification.scoreboard.player import Habits, Player

LLAMA = ModelConfig(
    1, 8, 4, 12, 8, 9, positions="rotary", eviction="window", sinks=1, family="llama", kv_heads=2,
    head_dim=6, theta=20.0, tied=True,
)  # fmt: skip

PROMPTS = Habits(warm=0.002, seed=0.001, longest=20)
BUSY = Habits(0.3, 0.05, 0.01, 0.002, 0.002, 0.0005, 20, load=0.002)
STALLS = Habits(offer=0.05, take=0.001, seed=0.01, read=0.01, reset=0.0005, longest=20)
RESETS = Habits(offer=0.03, take=0.5, reset=0.003, longest=40)
CUT = Habits(offer=0.004, reset=0.0001, longest=200)


def cover(machine, scenarios, waves, record_property):
    """Use models in a core, each with its habits, and expect every situation."""
    core = CheckedCore(machine, open_engine, waves.folder, keep=waves.keep)
    cycles = tokens = 0
    with core.engine:
        for number, (model, habits) in enumerate(scenarios):
            core.power_on(model)
            core.session.temperature(model.logit_scale(1.0))
            tokens += len(core.documents(10))
            tokens += core.play(Player(machine, model, number), habits, 40_000)
            cycles += core.engine.cycles
    (coverage,) = core.coverage.values()
    groups = ", ".join(f"{group} {hit}/{n}" for group, (hit, n) in coverage.by_group().items())
    watched = len(core.reference(model).signals.all)
    record_property(
        "summary",
        f"functional coverage: {len(coverage.goals) - len(coverage.missing)} of "
        f"{len(coverage.goals)} bins in {cycles:,} cycles, {tokens:,} tokens, {watched} signals "
        f"in every cycle ({groups})",
    )
    assert coverage.missing == []


@pytest.mark.nightly
def test_everything_happens(random_model, waves, record_property):
    config = ModelConfig.MICROGPT
    shipped = quantise(load_checkpoint("names"))
    # Values exceed their ranges in one model, and differ in the last bits in the other.
    coarse, fine = random_model(config, 3, 0), random_model(config, 3, 2)
    shifts = coarse.shifts | {(0, "mix"): coarse.shifts[0, "mix"] - 1}
    loud = replace(coarse, shifts=shifts, logit_unit=4e-3)
    scenarios = [(shipped, habits) for habits in (PROMPTS, BUSY, STALLS, RESETS, CUT)]
    scenarios += [(model, PROMPTS) for model in (coarse, fine, loud)]
    cover(Machine.for_models(16, config), scenarios, waves, record_property)


@pytest.mark.nightly
def test_everything_happens_in_a_llama(waves, record_property):
    # Values differ in the last bits in one model, and exceed their ranges in the others.
    fine, coarse, loud = (make_loud(LLAMA, FINE, seed, most) for seed, most in enumerate((0, 3, 6)))
    shifts = loud.shifts | {(0, "q"): loud.shifts[0, "q"] - 10}
    loud = replace(loud, shifts=shifts, logit_unit=256 * loud.logit_unit)
    scenarios = [(fine, habits) for habits in (PROMPTS, BUSY, STALLS, RESETS)]
    scenarios += [(model, PROMPTS) for model in (coarse, loud)]
    machine = Machine.for_models(32, LLAMA, precision=FINE)
    cover(machine, scenarios, waves, record_property)
