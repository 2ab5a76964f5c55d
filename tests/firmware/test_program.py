"""A program describes the golden model's computation, site by site."""

import itertools
from dataclasses import replace

import pytest

from gptloom.firmware.isa import Combination, Destination, Function, Kind, Scale
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import LANES, Machine
from gptloom.firmware.program import compile_program
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.formats import CacheFormat, Precision, RowFormat

FIRST = ["q", "k", "v", "score", "start", "mix", "out", "hidden", "mlp"]
LATER = [site for site in FIRST if site != "start"]
SHAPES = [ModelConfig(), ModelConfig.GATEGPT, ModelConfig(layers=3, heads=2)]


@pytest.fixture(params=itertools.product(LANES, SHAPES), ids=str)
def case(request, random_model):
    lanes, config = request.param
    model = random_model(config)
    layout = Layout(Machine.for_models(lanes, config), config)
    return model, layout, compile_program(model, layout)


def test_sites_come_in_the_golden_models_order(case):
    model, layout, schedule = case
    expected = [(0, site) for site in FIRST]
    for layer in range(1, model.config.layers):
        expected += [(layer, site) for site in LATER]
    expected.append((0, "logits"))
    assert [scheduled.step.site.key for scheduled in schedule] == expected
    assert len(schedule) <= layout.program_words


def test_shifts_scales_and_what_follows_are_the_models(case):
    model, _, schedule = case
    norm = {"q", "k", "v", "start", "mlp"}
    scales = dict.fromkeys(norm, Scale.NORM) | {"mix": Scale.SUM, "logits": Scale.TEMPERATURE}
    for scheduled in schedule:
        i, site = scheduled.instruction, scheduled.step.site.name
        if site != "score":
            assert i.scale == scales.get(site, Scale.ONE), site
        assert (i.function is Function.RELU) == (site == "hidden")
        assert (i.combination is Combination.ADD) == (site in ("out", "mlp"))
        if site not in ("score", "logits"):
            assert i.shift == model.shifts[scheduled.step.site.key] - 1


def test_operands_and_targets(case):
    model, layout, schedule = case
    c = model.config
    sources = dict(q="embedding", k="embedding", v="embedding", score="q", mix="score", out="mix",
                   hidden="embedding", mlp="hidden", logits="embedding")  # fmt: skip
    targets = dict(q="q", score="score", mix="mix", out="embedding", hidden="hidden",
                   mlp="embedding")  # fmt: skip
    weights = dict(q="attn_wq", k="attn_wk", v="attn_wv", out="attn_wo", hidden="mlp_fc1",
                   mlp="mlp_fc2")  # fmt: skip
    names = {*sources.values(), *targets.values()}
    regions = {name: layout.activations(layout.network[0, name]) for name in names}
    keys = len(layout.order(layout.network[0, "k"]))
    rows = dict(q=keys, k=keys, hidden=c.hidden, logits=c.vocabulary)
    for scheduled in schedule:
        i, (layer, site) = scheduled.instruction, scheduled.step.site.key
        if site in sources:
            assert i.source == regions[sources[site]]
        if site in targets:
            assert i.target == regions[targets[site]]
        if site in weights or site == "logits":
            name = f"layer{layer}.{weights[site]}" if site in weights else "lm_head"
            place = layout.matrices[name]
            assert (i.kind, i.base, i.passes, i.quads) == (
                Kind.MATRIX, place.base, place.passes, place.quads,
            )  # fmt: skip
        if site != "score":
            assert i.rows == rows.get(site, c.width)
        if site in ("k", "score"):
            assert (i.base if site == "score" else i.target) == layout.key_base(layer)
        if site in ("v", "mix"):
            assert (i.base if site == "mix" else i.target) == layout.value_base(layer)
    destinations = dict(k=Destination.KEY, v=Destination.VALUE, score=Destination.SCORES,
                        start=Destination.RESIDUAL, out=Destination.STREAM, mlp=Destination.STREAM,
                        logits=Destination.LOGITS)  # fmt: skip
    for scheduled in schedule:
        expected = destinations.get(scheduled.step.site.name, Destination.ACTIVATION)
        assert scheduled.instruction.destination == expected


def test_a_prompts_token_ends_with_its_last_value(case):
    model, _, schedule = case
    last = model.config.layers - 1
    assert [s.step.site.key for s in schedule if s.instruction.prefill_final] == [(last, "v")]
    assert [s.step.site.name for s in schedule if s.instruction.final] == ["logits"]


@pytest.mark.parametrize(
    "precision",
    [Precision(9), Precision(cache=CacheFormat(keys=RowFormat(9))), Precision(scores=12)],
)
def test_a_precision_without_hardware_is_refused(random_model, precision):
    model = replace(random_model(ModelConfig()), precision=precision)
    layout = Layout(Machine.for_models(16, model.config), model.config)
    with pytest.raises(UserError, match=r"computes with 10 bits, and with weights, .* at most 8"):
        compile_program(model, layout)


def test_rows_of_other_widths_are_refused(random_model):
    """The hardware would saturate them elsewhere."""
    narrow = Precision(cache=CacheFormat(values=RowFormat(6)))
    model = replace(random_model(ModelConfig()), precision=narrow)
    layout = Layout(Machine.for_models(16, model.config), model.config)
    with pytest.raises(UserError, match="values of 6 bits, the hardware keeps 8 and 8"):
        compile_program(model, layout)
