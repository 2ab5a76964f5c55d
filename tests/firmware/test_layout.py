"""Nothing overlaps in the memories, and all of it is inside."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import LANES, QUAD, Machine
from gptloom.model.config import ModelConfig

HEADS = st.sampled_from((1, 2, 4))
SIZES = st.integers(1, 16).map(lambda quads: quads * QUAD)
LAYOUTS = st.builds(
    lambda lanes, config: Layout(Machine.for_models(lanes, config), config),
    st.sampled_from(LANES),
    st.builds(
        ModelConfig,
        layers=st.integers(1, 3),
        width=SIZES,
        heads=HEADS,
        hidden=SIZES,
        context=SIZES,
        vocabulary=st.integers(2, 64),
    ),
)
SETTINGS = settings(deadline=None, derandomize=True)


@SETTINGS
@given(LAYOUTS)
def test_weights_keys_and_values_share_the_operand_memory_without_overlap(layout):
    config = layout.config
    regions = []
    for name, place in layout.matrices.items():
        regions.append((place.base, place.base + place.passes * place.quads))
        inputs = config.hidden if name.endswith("fc2") else config.width
        assert place.quads * QUAD == inputs
        assert place.passes * layout.machine.units >= place.rows
        assert (place.passes - 1) * layout.machine.units < place.rows
    for layer in range(config.layers):
        keys, values = layout.key_base(layer), layout.value_base(layer)
        regions.append((keys, keys + layout.head_quads * layout.key_stride))
        regions.append((values, values + layout.value_passes * layout.value_stride))
    regions.sort()
    assert regions[0][0] == 0
    for (_, end), (begin, _) in pairwise(regions):
        assert end == begin
    assert regions[-1][1] == layout.operand_words <= layout.machine.operand_words


@SETTINGS
@given(LAYOUTS)
def test_the_cache_has_a_byte_for_every_element_of_every_position(layout):
    c, m = layout.config, layout.machine
    keys, values = layout.head_quads * layout.key_stride, layout.value_passes * layout.value_stride
    assert keys * m.lanes >= c.context * len(layout.order(layout.network[0, "k"]))
    assert values * m.lanes >= c.context * c.width
    # The last position of the last head, in words of `units` keys.
    assert (c.context * c.heads - 1) // m.units < layout.key_stride


@SETTINGS
@given(LAYOUTS)
def test_activations_share_the_banks_without_overlap(layout):
    c = layout.config
    regions = {
        "embedding": c.width,
        "q": len(layout.order(layout.network[0, "q"])),
        "score": c.context * c.heads,
        "mix": c.width,
        "hidden": c.hidden,
    }
    used = set()
    for name, elements in regions.items():
        base = layout.activations(layout.network[0, name])
        # Quads are distributed over the banks in turn.
        words = {base + quad // c.heads for quad in range(-(-elements // QUAD))}
        assert not used & words
        used |= words
    assert used == set(range(layout.activation_words))
    assert layout.activation_words <= layout.machine.activation_words


@SETTINGS
@given(LAYOUTS)
def test_orders_are_permutations_that_keep_heads_apart(layout):
    c = layout.config
    queries, values = (layout.order(layout.network[0, name]) for name in "qv")
    assert sorted(values) == list(range(c.width))
    assert sorted(queries[queries >= 0]) == list(range(c.width))
    assert len(queries) == layout.head_quads * QUAD * c.heads
    # Every quad of queries, padding aside, belongs to the head whose bank holds it.
    for quad, rows in enumerate(queries.reshape(-1, QUAD)):
        assert {int(row) // c.head_width for row in rows if row >= 0} <= {quad % c.heads}
    # So does every value, whose scale is that of the head.
    assert (values // c.head_width == np.arange(c.width) % c.heads).all()
