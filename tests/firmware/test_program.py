"""A program says what the golden model computes, site by site."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptloom.firmware.isa import WIDTHS, Destination, Kind, Scale
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
    model, layout, slots = case
    expected = [(0, site) for site in FIRST]
    for layer in range(1, model.config.layers):
        expected += [(layer, site) for site in LATER]
    expected.append((0, "logits"))
    assert [slot.step.site.key for slot in slots] == expected
    assert len(slots) <= layout.program_words


def test_shifts_scales_and_what_follows_are_the_models(case):
    model, _, slots = case
    norm = {"q", "k", "v", "start", "mlp"}
    scales = dict.fromkeys(norm, Scale.NORM) | {"mix": Scale.SUM, "logits": Scale.TEMPERATURE}
    for slot in slots:
        i, site = slot.instruction, slot.step.site.name
        if site != "score":
            assert i.scale == scales.get(site, Scale.ONE), site
        assert i.relu == (site == "hidden")
        assert i.residual == (site in ("out", "mlp"))
        if site not in ("score", "logits"):
            assert i.shift == model.shifts[slot.step.site.key] - 1


def test_operands_and_targets(case):
    model, layout, slots = case
    c = model.config
    sources = dict(q="embedding", k="embedding", v="embedding", score="q", mix="score", out="mix",
                   hidden="embedding", mlp="hidden", logits="embedding")  # fmt: skip
    targets = dict(q="q", score="score", mix="mix", out="embedding", hidden="hidden",
                   mlp="embedding")  # fmt: skip
    weights = dict(q="attn_wq", k="attn_wk", v="attn_wv", out="attn_wo", hidden="mlp_fc1",
                   mlp="mlp_fc2")  # fmt: skip
    names = {*sources.values(), *targets.values()}
    regions = {name: layout.activations(layout.network[0, name]) for name in names}
    rows = dict(q=layout.key_rows, k=layout.key_rows, hidden=c.hidden, logits=c.vocabulary)
    for slot in slots:
        i, (layer, site) = slot.instruction, slot.step.site.key
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
    for slot in slots:
        expected = destinations.get(slot.step.site.name, Destination.ACTIVATION)
        assert slot.instruction.destination == expected


def test_a_prompts_token_ends_with_its_last_value(case):
    model, _, slots = case
    last = model.config.layers - 1
    assert [s.step.site.key for s in slots if s.instruction.prefill_final] == [(last, "v")]
    assert [s.step.site.name for s in slots if s.instruction.final] == ["logits"]


def test_rows_of_other_widths_are_refused(random_model):
    """The hardware would saturate them elsewhere."""
    narrow = Precision(cache=CacheFormat(values=RowFormat(6)))
    model = replace(random_model(ModelConfig()), precision=narrow)
    layout = Layout(Machine.for_models(16, model.config), model.config)
    with pytest.raises(UserError, match="keeps keys and values of 8 bits"):
        compile_program(model, layout)


TOO_LARGE = [
    (64, ModelConfig(layers=8, width=8, heads=2, hidden=8, context=4), "8 layers take 66 instruct"),
    (8, ModelConfig(context=64), "context of 64 takes 128 passes over the keys with 8 lanes"),
    (8, ModelConfig(width=64, hidden=128), "takes 4576 words"),
    (16, ModelConfig(layers=7, width=64, hidden=64), "takes 11760 words"),
]


@pytest.mark.parametrize(("lanes", "config", "message"), TOO_LARGE)
def test_what_instructions_cannot_say_is_refused(random_model, lanes, config, message):
    with pytest.raises(UserError, match=message):
        compile_program(random_model(config), Layout(Machine.for_models(lanes, config), config))


def test_the_most_layers_and_positions_that_can_be_said(random_model):
    for lanes, config in ((64, replace(TOO_LARGE[0][1], layers=7)), (8, ModelConfig(context=32))):
        layout = Layout(Machine.for_models(lanes, config), config)
        assert compile_program(random_model(config), layout)


@st.composite
def large_shapes(draw):
    """Return a lane count and a shape, near the end of what addresses reach as often as not."""
    heads = draw(st.sampled_from((1, 2, 4)))
    quads = st.integers(1, 32).map(lambda n: 4 * n)
    width = draw(quads.filter(lambda n: n % heads == 0))
    config = ModelConfig(
        layers=draw(st.integers(1, 7)), width=width, heads=heads, hidden=draw(quads),
        context=draw(quads), vocabulary=draw(st.integers(2, 64)),
    )  # fmt: skip
    return draw(st.sampled_from(LANES)), config


@given(large_shapes())
@example((8, ModelConfig(heads=2, width=60, hidden=120)))
@settings(deadline=None, derandomize=True, database=None, max_examples=150)
def test_no_address_of_what_is_accepted_is_cut(random_model, case):
    lanes, config = case
    try:
        layout = Layout(Machine.for_models(lanes, config), config)
        slots = compile_program(random_model(config), layout)
    except UserError:
        return
    last = config.layers - 1
    ends = [
        layout.value_base(last) + layout.value_passes * layout.value_stride,
        *(slot.instruction.base + slot.instruction.passes * slot.instruction.quads
          for slot in slots if slot.instruction.kind == Kind.MATRIX),
    ]  # fmt: skip
    assert max(ends) <= 1 << WIDTHS["base"]
    assert layout.activation_words <= layout.machine.activation_words
    assert max(layout.key_stride, layout.value_stride) < 256


def test_values_beyond_the_last_address_are_refused(random_model):
    config = ModelConfig(heads=2, width=60, hidden=120)
    with pytest.raises(UserError, match="takes 4118 words of weights, keys and values with 8 lan"):
        compile_program(random_model(config), Layout(Machine.for_models(8, config), config))
