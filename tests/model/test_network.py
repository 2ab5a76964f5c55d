"""The table of sites describes published networks, and is the only list of them."""

import ast
from pathlib import Path

import pytest

from gptloom.model.config import ModelConfig
from gptloom.model.formats import CacheFormat, Precision, RowFormat
from gptloom.model.network import network
from gptloom.model.sites import Becomes, Combination, Kind, Scaling

ALIBI = ModelConfig(width=8, heads=2, hidden=12, context=8, vocabulary=5, positions="alibi")
RECURRENT = ALIBI.with_cache(8, "recurrent")
SHAPES = [ModelConfig(), ModelConfig.GATEGPT, ModelConfig.TWO_LAYER, ALIBI, RECURRENT]


def test_weights_are_those_of_the_published_checkpoint():
    def layer(index):
        square = {f"layer{index}.attn_{name}": (16, 16) for name in ("wq", "wk", "wv", "wo")}
        return square | {f"layer{index}.mlp_fc1": (64, 16), f"layer{index}.mlp_fc2": (16, 64)}

    shapes = {"wte": (27, 16), "wpe": (16, 16)} | layer(0) | layer(1) | {"lm_head": (27, 16)}
    assert [*ModelConfig.TWO_LAYER.weight_shapes().items()] == [*shapes.items()]
    assert "wpe" not in ALIBI.weight_shapes()


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_every_site_reads_what_is_there_by_then(config):
    table, done = network(config), {}
    for site in table.sites:
        reads = [done[key] for key in (site.source, site.rows) if key]
        if site.matrix:
            assert site.matrix.shape == (site.elements, reads[0].elements)
        if site.kind in (Kind.SCORES, Kind.MIX, Kind.SUMS):
            assert reads[-1].is_cached
        if site.combination is Combination.ADD:
            assert any(earlier.is_stream for earlier in done.values())
        assert site.key not in done
        assert table[site.key] is site
        done[site.key] = site
    assert table.head.scale is Scaling.TEMPERATURE
    assert [site.kind for site in table.sites].count(Kind.EMBEDDING) == 1


def test_what_a_recurrent_machine_has_in_a_table_is_not_computed():
    names = [site.name for site in network(RECURRENT).computed]
    assert names == ["embedding", "start", "mix", "out", "hidden", "mlp", "logits"]
    assert network(ALIBI).computed == network(ALIBI).sites


def test_keys_and_values_have_their_own_bits():
    table = network(ModelConfig(), Precision(6, CacheFormat(RowFormat(5), RowFormat(7))))
    cached = {site.becomes: site.bits for site in table.sites if site.is_cached}
    assert cached == {Becomes.KEY: 5, Becomes.VALUE: 7}
    assert {site.bits for site in table.sites if site.kind is Kind.PRODUCT} == {5, 7, 10, 16}


def test_nobody_else_calls_weights_by_their_names():
    """A second list of matrices would be forgotten when the table changes.

    Gains become factors of the matrices that follow, by name, and importers translate names.
    """
    root = Path(__file__).parents[2]
    wanted = {name.rpartition(".")[2] for name in ModelConfig().weight_shapes()}
    knowing = set()
    for room in ("model", "firmware", "hdl", "sim", "boards", "cli"):
        for file in (root / room).rglob("*.py"):
            nodes = ast.walk(ast.parse(file.read_text()))
            texts = {str(node.value) for node in nodes if isinstance(node, ast.Constant)}
            if wanted & {text.rpartition(".")[2] for text in texts}:
                knowing.add(str(file.relative_to(root)))
    translating = {name for name in knowing if name.startswith("model/imports/")}
    assert knowing - translating == {
        "model/microgpt.py", "model/llama.py", "model/gains.py"
    }  # fmt: skip
