"""The largest value of every dimension runs, and each signal is compared in each cycle."""

from dataclasses import replace
from functools import partial

import pytest

from gptloom.firmware.fit import MOST
from gptloom.firmware.machine import Machine
from gptloom.model.config import ModelConfig
from gptloom.sim.engines import open_engine
from verification.scoreboard.bench import CheckedCore

pytestmark = pytest.mark.nightly

SMALL = ModelConfig(layers=1, width=8, heads=2, hidden=8, context=8, vocabulary=5)
CASES = [(name, lanes) for name in MOST for lanes in (8, 64) if (name, lanes) != ("width", 8)]


@pytest.mark.parametrize(("name", "lanes"), CASES)
def test_the_largest_of_a_dimension(random_model, waves, name, lanes):
    others = {"width": 4 * MOST[name]} if name == "heads" else {}
    config = replace(SMALL, **{name: MOST[name]}, **others)
    machine, model = Machine.for_models(lanes, config), random_model(config, 3, 1)
    # Of a large design, simulations have registers only, unless all names are asked for.
    engine = partial(open_engine, every_name=True)
    core = CheckedCore(machine, engine, waves.folder, keep=waves.keep)
    with core.engine:
        core.power_on(model)
        core.session.temperature(model.logit_scale(1.0))
        core.session.seed(5)
        # Known tokens take documents to the last positions, without a token that ends them.
        known = [n % (config.vocabulary - 1) for n in range(config.context - 3)]
        tokens = core.documents(1) + core.documents(1, known)
    assert tokens[-1].last
