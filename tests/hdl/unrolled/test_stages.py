"""Every value of every token in its cycle, against the golden model's trace; planted faults."""

from dataclasses import replace

import pytest
from small_core import SMALL, make_core, play, random_model

from gptloom.sim.stages import DivergenceError, Scoreboard

CYCLES = 800
SITES = (
    *("q", "k", "v", "score", "numerator", "denominator", "weighted", "mix", "a1", "wo", "a2"),
    *("hidden", "residual", "root", "direct", "noise", "offset", "b", "token"),
)


def judge(model, core, recorded):
    """Compare a recording with a model; return how many values were."""
    scoreboard = Scoreboard(core, model, recorded.streams)
    return scoreboard.check(recorded.signals, recorded.widths)


# The mix of the last one takes longer than anything else.
SHAPES = [
    (2, 2, None),
    *(pytest.param(shape, marks=pytest.mark.long) for shape in [(1, 1, 1), (4, 4, 1), (8, 4, 1)]),
]


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def played(request):
    """A model, a core of some shape, and what was recorded of it."""
    model = random_model()
    core = make_core(model, *request.param)
    return model, core, play(core, model, CYCLES)


def test_every_value_is_there_in_its_cycle(played):
    model, core, recorded = played
    assert 0 < core.cells < 2 * core.positions * SMALL.width, "both kinds of multipliers"
    # More than a hundred values of each token.
    assert recorded.tokens > CYCLES / core.interval / 4
    assert judge(model, core, recorded) > 120 * recorded.tokens


@pytest.mark.parametrize("site", SITES)
def test_a_wrong_bit_is_found_where_it_is(played, site):
    """In any stage, of the last element of one token."""
    model, core, recorded = played
    scoreboard = Scoreboard(core, model, recorded.streams)
    (stage,) = (stage for stage in scoreboard.stages if stage.site == site)
    # The first stream has no prompt, so that all of its tokens are sampled.
    signals = recorded.signals
    entered = (signals["turns.enter"] & (signals["turns.turn"] == 0)).nonzero()[0]
    cycle = int(entered[len(entered) // 2])
    # The first position's, where there are later ones that are not seen.
    element = 1 if site in ("score", "numerator") else len(stage.signals) - 1
    name, due = stage.signals[element], cycle + stage.cycles[element]
    wrong = recorded.signals[name].copy()
    wrong[due] ^= 1
    with pytest.raises(DivergenceError) as caught:
        scoreboard.check(signals | {name: wrong}, recorded.widths)
    found = caught.value
    assert (found.cycle, found.seen) == (due, int(wrong[due]))
    assert f"{site}, element {element}, cycle {due}: expected" in str(found)


def test_another_model_is_found(played):
    model, core, recorded = played
    (layer,) = model.layers
    weights = {**layer.weights, "b": layer.weights["b"].copy()}
    weights["b"][2, 3] ^= 1
    other = replace(model, layers=(replace(layer, weights=weights),))
    with pytest.raises(DivergenceError, match="b, element 2, cycle"):
        judge(other, core, recorded)
