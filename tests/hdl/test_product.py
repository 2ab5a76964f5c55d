"""Constant products are NumPy's, for any matrix, format, plan and part."""

from itertools import pairwise

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from carry_cells import ModelledFabric
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptloom.hdl.unrolled.fabric import Fabric
from gptloom.hdl.unrolled.product import Plan, Product
from gptloom.hdl.unrolled.shared import signed_digits
from gptloom.hdl.unrolled.slices import Format, Slicer

FORMATS = [
    (bits, per_cycle)
    for bits in range(4, 9)
    for per_cycle in (1, 2, 3, 4, 8)
    if bits % per_cycle == 0
]


class Whole(wiring.Component):
    """A slicer and a product."""

    def __init__(self, plan, **options):
        self.product = Product(plan, **options)
        self._slicer = Slicer(plan.weights.shape[1], plan.format)
        outputs, inputs = plan.weights.shape
        super().__init__(
            {
                "i": In(plan.format.shape).array(inputs),
                "start": In(1),
                "o": Out(self.product.o[0].shape()).array(outputs),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.slicer, m.submodules.product = self._slicer, self.product
        wiring.connect(m, self._slicer.o, self.product.i)
        m.d.comb += [self._slicer.valid.eq(self.start), self.valid.eq(self.product.valid)]
        m.d.comb += [inner.eq(port) for inner, port in zip(self._slicer.i, self.i, strict=True)]
        m.d.comb += [port.eq(inner) for port, inner in zip(self.o, self.product.o, strict=True)]
        return m


def extremes(plan):
    """Return vectors that give the least and the greatest value of the first output."""
    shape = plan.format.shape
    low = -(1 << shape.width - 1) if shape.signed else 0
    ends = np.array([low, low + (1 << shape.width) - 1])
    first = plan.weights[0] > 0
    return ends, [np.where(first, *ends), np.where(first, *ends[::-1])]


def check(bench, plan, draw, gaps, whole=None, **options):
    """Multiply some vectors, with `gaps` idle cycles after each."""
    whole = whole or Whole(plan, **options)
    block = bench(whole)
    (low, high), vectors = extremes(plan)
    inputs = plan.weights.shape[1]
    vectors += [draw.integers(low, high + 1, inputs) for _ in range(len(gaps) - 2)]
    cycles, starts = [], []
    for vector, gap in zip(vectors, gaps, strict=True):
        starts.append(len(cycles))
        cycles.append({"start": 1, "i": vector.tolist()})
        # Inputs without a start must not matter.
        noise = draw.integers(low, high + 1, inputs).tolist()
        cycles += [{"start": 0, "i": noise}] * (plan.format.count - 1 + gap)
    delay = plan.format.count - 1 + whole.product.latency
    seen = block.play([*cycles, {"start": 0}], ("valid", "o"), after=delay)
    found = {number: s["o"] for number, s in enumerate(seen) if s["valid"]}
    expected = {
        start + delay: (plan.weights @ vector).tolist()
        for start, vector in zip(starts, vectors, strict=True)
    }
    assert found == expected


@st.composite
def plans(draw):
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 9)))
    bits = draw(st.integers(1, 8))
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    weights = random.integers(-(1 << bits - 1), 1 << bits - 1, shape)
    weights *= random.random(shape) < draw(st.sampled_from([1.0, 0.6]))
    if draw(st.booleans()):
        weights[-1] = weights[0]
    format_ = Format(*draw(st.sampled_from(FORMATS)), is_signed=draw(st.booleans()))
    method = draw(st.sampled_from(["tables", "graph", None]))
    return Plan(weights, format_, method=method, chain=draw(st.integers(0, 5)))


# Every example elaborates and simulates a block.
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    plan=plans(),
    gaps=st.lists(st.sampled_from([0, 0, 1, 3]), min_size=3, max_size=5),
    levels=st.sampled_from([1, 2, 3, 5, 20]),
    outputs=st.sampled_from([None, 1, 2]),
    fabric=st.sampled_from([Fabric, ModelledFabric]),
    number=st.integers(0, 1 << 32),
)
def test_equals_numpy(bench, plan, gaps, levels, outputs, fabric, number):
    draw = np.random.default_rng(number)
    options = dict(levels_per_register=levels, outputs_per_copy=outputs, fabric=fabric)
    check(bench, plan, draw, gaps, **options)


@pytest.mark.parametrize("method", ["tables", "graph"])
@pytest.mark.parametrize(
    "per_cycle",
    [
        pytest.param(1, marks=pytest.mark.nightly),
        pytest.param(2, marks=pytest.mark.nightly),
        pytest.param(4, marks=pytest.mark.nightly),
        pytest.param(8, marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("is_signed", [False, True])
def test_equals_numpy_for_matrices_of_a_network(bench, seed, method, per_cycle, is_signed):
    draw = np.random.default_rng([seed, per_cycle])
    plan = Plan(
        draw.normal(0, 30, (8, 20)).clip(-128, 127).astype(int),
        Format(8, per_cycle, is_signed=is_signed),
        method=method,
    )
    gaps = draw.choice([0, 0, 0, 1, 5], 12).tolist()
    for fabric in (Fabric, ModelledFabric):
        check(bench, plan, draw, gaps, fabric=fabric)


def test_an_input_that_is_used_late_only(bench):
    weights = np.array([[-1, 0, -1, -1], [0, -1, 0, 0]])
    plan = Plan(weights, Format(4, 1, is_signed=False), method="graph")
    check(bench, plan, np.random.default_rng(0), [0, 0, 0], levels_per_register=1)


@pytest.mark.parametrize("method", ["tables", "graph"])
@pytest.mark.parametrize("row", [[0, 0], [-1, 0], [-128, -128], [0, 4], [-64, -32]])
def test_rows_that_need_few_or_no_sums(bench, method, row):
    draw = np.random.default_rng(3)
    for format_ in (Format(4, 2, is_signed=True), Format(4, 4, is_signed=False)):
        plan = Plan(np.array([row, [1, -1]]), format_, method=method)
        check(bench, plan, draw, [0, 1, 0], fabric=ModelledFabric)


def test_outputs_are_as_wide_as_their_greatest_value(bench):
    plan = Plan(np.array([[3, -5], [100, 27]]), Format(8, 2, is_signed=False))
    assert [bounds.tolist() for bounds in plan.bounds] == [[-1275, 0], [765, 127 * 255]]
    whole = Whole(plan)
    check(bench, plan, np.random.default_rng(4), [0, 0], whole=whole)
    assert whole.o[0].shape().width == 16


def test_latency_is_levels_by_register():
    # A table of four bits, four carry chains of three, and the accumulator.
    plan = Plan(np.arange(1, 17)[None], Format(8, 1, is_signed=False), method="tables")
    assert plan.levels == 6
    assert [plan.latency(levels) for levels in range(1, 8)] == [6, 3, 2, 2, 2, 1, 1]


@pytest.mark.parametrize("number", [0, 1, -1, 7, 23, -107, 127, -128])
def test_signed_digits_are_canonical(number):
    digits = signed_digits(number)
    assert sum(digit << position for position, digit in digits) == number
    positions = [position for position, _ in digits]
    assert all(b - a > 1 for a, b in pairwise(positions))


def test_equal_rows_are_made_once():
    rows = np.array([[3, 5, -7], [9, 0, 2]])
    for method in ("tables", "graph"):
        plans = [
            Plan(weights, Format(8, 8, is_signed=True), method=method)
            for weights in (rows, np.vstack([rows, rows]))
        ]
        assert plans[0].cells == plans[1].cells


def test_a_plan_takes_the_smaller_method():
    weights = np.random.default_rng(5).integers(-128, 128, (12, 8))
    for per_cycle, better in ((1, "tables"), (8, "graph")):
        format_ = Format(8, per_cycle, is_signed=True)
        cells = {name: Plan(weights, format_, method=name).cells for name in ("tables", "graph")}
        plan = Plan(weights, format_)
        assert plan.method == better
        assert plan.cells == min(cells.values()) < max(cells.values())


@pytest.mark.parametrize(
    ("bits", "per_cycle", "sentence"),
    [(8, 3, "do not divide"), (8, 0, "do not divide"), (7, 2, r"choose one of \[1, 7\]"),
     (0, 1, "choose 1 to 16"), (17, 1, "choose 1 to 16")],
)  # fmt: skip
def test_formats_that_cannot_be_are_refused(bits, per_cycle, sentence):
    with pytest.raises(ValueError, match=sentence):
        Format(bits, per_cycle, is_signed=False)


@pytest.mark.parametrize("weights", [np.zeros((0, 3), int), np.ones(3, int), np.ones((2, 2))])
def test_what_is_no_matrix_of_integers_is_refused(weights):
    with pytest.raises(ValueError, match="matrix of integers"):
        Plan(weights, Format(8, 1, is_signed=False))


def test_fewer_than_one_level_per_register_is_refused():
    plan = Plan(np.ones((1, 1), int), Format(8, 1, is_signed=False))
    with pytest.raises(ValueError, match="1 is the least"):
        plan.latency(0)
