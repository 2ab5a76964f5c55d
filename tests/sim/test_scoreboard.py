"""Every watched signal in every cycle, in any use of the core; and tests of the check itself."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gptloom.firmware.image import Region
from gptloom.firmware.machine import Machine
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.golden import GoldenModel
from gptloom.model.quantise import quantise
from gptloom.sim.engines import open_engine
from verification.flips import check_all_judged, check_flips
from verification.scoreboard.bench import CheckedCore
from verification.scoreboard.judge import first_mismatch
from verification.scoreboard.player import Habits, Player

# One process compiles the core of most, also for other modules.
pytestmark = pytest.mark.xdist_group("names, 16 lanes")

# The machines that other tests compile as well, and those of the long runs.
NAMES = (ModelConfig.MICROGPT,)
WIDE = (ModelConfig.MICROGPT, ModelConfig.GATEGPT)
DEEP = (ModelConfig.MICROGPT, ModelConfig.TWO_LAYER)

HABITS = {
    "as fast as it goes": Habits(),
    "prompts of all lengths": Habits(longest=20),
    "gaps": Habits(offer=0.02, take=0.3, longest=16),
    "a slow reader": Habits(take=0.002, warm=0.001),
    "temperatures": Habits(warm=0.02, longest=3),
    "seeds and bytes read back": Habits(seed=0.01, read=0.01, longest=5),
    "resets": Habits(reset=0.002, longest=17, take=0.5),
    "resets without end": Habits(reset=0.05, read=0.2, seed=0.2),
    "loads": Habits(load=0.02, longest=5),
    "everything": Habits(0.2, 0.02, 0.005, 0.002, 0.002, 0.0005, 20, load=0.001),
}


@pytest.fixture(scope="module")
def shipped():
    return {name: quantise(load_checkpoint(name)) for name in ("names", "names-24", "names-2l")}


@pytest.fixture(scope="module")
def opened():
    """Return checked cores by lanes and the models that they hold; each is opened once."""
    built = {}

    def get(lanes, *configs):
        machine = Machine.for_models(lanes, *configs)
        if machine not in built:
            built[machine] = CheckedCore(machine, open_engine, Path())
        return built[machine]

    yield get
    for core in built.values():
        core.engine.close()


@pytest.fixture
def cores(opened, waves):
    """Return the same, with the test's own folder for waveforms."""

    def get(lanes, *configs):
        core = opened(lanes, *configs)
        core.folder, core.keep = waves.folder, waves.keep
        return core

    return get


def powered(core, model, seed=1, temperature=1.0):
    core.power_on(model)
    core.session.temperature(model.logit_scale(temperature))
    core.session.seed(seed)
    return core


QUICK = [("names", 16, NAMES)]
WIDTHS = [
    ("names-2l", 64, DEEP),
    ("names", 8, NAMES),
]
REST = [
    ("names", 32, NAMES),
    ("names", 64, DEEP),
    ("names-24", 16, WIDE),
    ("names-24", 8, (ModelConfig.GATEGPT,)),
    ("names-2l", 32, (ModelConfig.TWO_LAYER,)),
]


# Each width in CI, each shipped model on each of its machines at night.
CASES = (
    QUICK
    + [pytest.param(*case, marks=pytest.mark.long) for case in WIDTHS]
    + [pytest.param(*case, marks=pytest.mark.nightly) for case in REST]
)


@pytest.mark.parametrize(("name", "lanes", "configs"), CASES)
def test_documents(cores, shipped, name, lanes, configs):
    model = shipped[name]
    core = powered(cores(lanes, *configs), model, seed=7, temperature=0.8)
    prompt = model.tokenizer.encode("ann")
    for known in ((), prompt):
        expected = GoldenModel(model).generate(7, 0.8, known)
        core.session.seed(7)
        seen = core.documents(8, known)
        assert [t.token for t in seen] == [next(expected).token for _ in seen]


def _abused():
    """Every habit on one width each day; on the others the two that have all of them in CI."""
    for case in CASES:
        values, marks = getattr(case, "values", case), list(getattr(case, "marks", ()))
        for habits in HABITS:
            rare = bool(marks) and habits not in ("everything", "resets without end")
            night = [pytest.mark.nightly] if rare else marks
            yield pytest.param(*values, habits, marks=night)


@pytest.mark.parametrize(("name", "lanes", "configs", "habits"), list(_abused()))
def test_whatever_is_done_to_the_core(cores, shipped, seed, name, lanes, configs, habits):
    number = list(HABITS).index(habits) + lanes + 1_000 * seed
    core = powered(cores(lanes, *configs), shipped[name])
    player = Player(core.machine, shipped[name], number)
    taken = core.play(player, HABITS[habits], 8_000 if lanes > 8 else 24_000)
    assert taken or "resets" in habits


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "lanes", "configs"), QUICK + WIDTHS + REST)
def test_long_runs(cores, shipped, name, lanes, configs, record_property):
    begun, cycles = time.perf_counter(), 0
    core = powered(cores(lanes, *configs), shipped[name], seed=99)
    tokens = core.documents(400)
    assert len(tokens) > 2_000
    cycles += core.engine.cycles
    for number in range(20):
        powered(core, shipped[name])
        core.play(Player(core.machine, shipped[name], number), HABITS["everything"], 40_000)
        cycles += core.engine.cycles
    names = sum(token.last for token in tokens)
    watched = len(core.reference(shipped[name]).signals.all)
    record_property(
        "summary",
        f"{name}, {lanes} lanes: {names} names and {cycles:,} cycles compared, {watched} signals "
        f"in each, {cycles / (time.perf_counter() - begun):,.0f} cycles/s",
    )


@pytest.mark.parametrize("length", [1, 2, 14, 15])
def test_prompts(cores, shipped, length):
    model = shipped["names"]
    core = powered(cores(16, *NAMES), model)
    tokens = core.documents(2, model.tokenizer.encode("maximilianannab"[:length]))
    assert tokens[0].position == length


@pytest.mark.long
@pytest.mark.xdist_group("64 lanes")
def test_another_model_in_the_same_core(cores, shipped):
    core = powered(cores(64, *DEEP), shipped["names"])
    for name in ("names", "names-2l", "names"):
        core.load(shipped[name])
        assert core.documents(3)


SMALL = replace(ModelConfig.MICROGPT, context=8, hidden=36, vocabulary=9)


@pytest.mark.parametrize(("config", "finer"), [(ModelConfig.MICROGPT, 0), (SMALL, 2)])
def test_random_models(cores, random_model, config, finer):
    """All values of weights, saturated scores and sums, heads as different as possible."""
    model = random_model(config, 3 + finer, finer)
    core = powered(cores(16, *NAMES), model)
    core.documents(4)
    core.documents(2, [1, 2, 3, 4])
    assert core.play(Player(core.machine, model, finer), HABITS["everything"], 4_000)


@pytest.fixture
def recorded(cores, shipped):
    """Return some documents' recording, with its expected values."""
    core = powered(cores(16, *NAMES), shipped["names"])
    ends = 0
    for token in core.session.tokens([5]):
        ends += token.last
        if token.last:
            assert 0 <= core.session.read(Region.TOKENS, ends) < 256
        if ends == 3:
            break
    rows, reference = core.engine.recorded_rows(), core.reference(shipped["names"])
    return rows, core._expectation.advance(rows, core._begin), core._expectation.runs, reference


def test_every_judged_bit_that_flips_is_found(recorded):
    check_flips(*recorded)


def test_bits_that_are_not_judged_do_not_matter(recorded):
    rows, block, runs, reference = recorded
    noisy = rows ^ (np.random.default_rng(1).integers(0, 1 << 63, rows.shape).astype(np.uint64))
    noisy = np.where(block.masks, (noisy & ~block.masks) | (rows & block.masks), noisy)
    assert (noisy != rows).mean() > 0.1
    assert first_mismatch(noisy, block, runs, reference) is None


def test_all_that_a_token_computes_is_judged(recorded):
    _, block, _, _ = recorded
    # One bank is enough for sixteen lanes: the offset is never used.
    check_all_judged(block, "sequencer.issue")
