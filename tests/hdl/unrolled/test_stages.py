"""Every value of every token in its cycle, against the golden model's trace; planted faults."""

from dataclasses import replace

import pytest
from small_core import make_core, play, random_model

from gptloom.model.merged.integer import Widths
from verification.stages import DivergenceError, Scoreboard

# One process compiles a shape's core for all tests of it.
pytestmark = pytest.mark.xdist_group("stages")

CYCLES = 1000
SITES = (
    *("k", "v", "score", "numerator", "denominator", "weighted", "mix", "a1", "wo", "a2"),
    *("hidden", "residual", "root", "direct", "b"),
)
OF_SAMPLES = ("noise", "offset", "token")
LATER_SITES = ("stream", "scale", "inverse", "f", "d", "x", "fx", "lx")


def judge(model, core, recorded):
    """Compare a recording with a model; return the number of values compared."""
    scoreboard = Scoreboard(core, model, recorded.streams)
    return scoreboard.check(recorded.signals, recorded.widths)


# Layers, bits of keys and of values, then the core's parameters.
SHAPES = [
    pytest.param((1, 8, 8, 2, 2, None), marks=pytest.mark.long),
    pytest.param((1, 8, 8, 1, 1, 1), marks=pytest.mark.nightly),
    pytest.param((1, 4, 5, 4, 4, 1), marks=pytest.mark.nightly),
    # The mix takes longest.
    pytest.param((1, 8, 8, 8, 4, 1), marks=pytest.mark.nightly),
    pytest.param((2, 5, 4, 2, 2, None), marks=pytest.mark.nightly),
    # A token every cycle; products are ready before offsets.
    pytest.param((2, 8, 8, 8, 4, None), marks=pytest.mark.nightly),
]


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def played(request):
    """Return a model, a core of some shape, and its recording."""
    layers, keys, values, *shape = request.param
    model = random_model(layers, Widths(keys=keys, values=values))
    core = make_core(model, *shape)
    return model, core, play(core, model, CYCLES)


def test_every_value_is_there_in_its_cycle(played):
    model, core, recorded = played
    assert 0 < core.cells < core.factors, "both kinds of multipliers"
    # More than a hundred values for each token.
    assert recorded.tokens >= 20
    assert judge(model, core, recorded) > 120 * recorded.tokens


def test_a_wrong_bit_is_found_where_it_is(played):
    """A wrong bit in the last element of one token is found, in any stage."""
    model, core, recorded = played
    scoreboard = Scoreboard(core, model, recorded.streams)
    last = len(model.layers) - 1
    assert {(stage.layer, stage.site) for stage in scoreboard.stages} == {
        (0, "q"),
        *((layer, site) for layer in range(last + 1) for site in SITES),
        *((layer, site) for layer in range(1, last + 1) for site in LATER_SITES),
        *((last, site) for site in OF_SAMPLES),
    }
    # The first stream has no prompt, so that all of its tokens are sampled.
    signals = recorded.signals
    entered = (signals["turns.enter"] & (signals["turns.turn"] == 0)).nonzero()[0]
    cycle = int(entered[len(entered) // 2])
    for stage in scoreboard.stages:
        # The first position's element, if later positions may not be seen.
        element = 1 if stage.site in ("score", "numerator") else len(stage.signals) - 1
        name, due = stage.signals[element], cycle + stage.cycles[element]
        wrong = recorded.signals[name].copy()
        wrong[due] ^= 1
        with pytest.raises(DivergenceError) as caught:
            scoreboard.check(signals | {name: wrong}, recorded.widths)
        found = caught.value
        assert (found.layer, found.site, found.cycle) == (stage.layer, stage.site, due)
        assert found.seen == int(wrong[due])
        expected = f"layer {stage.layer}, {stage.site}, element {element}, cycle {due}: expected"
        assert expected in str(found)


def test_another_model_is_found(played):
    model, core, recorded = played
    last = model.layers[-1]
    weights = {**last.weights, "b": last.weights["b"].copy()}
    weights["b"][2, 3] ^= 1
    other = replace(model, layers=(*model.layers[:-1], replace(last, weights=weights)))
    with pytest.raises(DivergenceError, match="b, element 2, cycle"):
        judge(other, core, recorded)
