"""The table of sites of a model of the Llama family.

H. Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023; llama2.c.

============  ============  ============  =======  ===========  =========================
site          computes      reads         scale    post         becomes
============  ============  ============  =======  ===========  =========================
embedding     row           token         one                   stream
input         its norm      stream        norm                  an activation
q             wq            input         one      rotation     an activation
k             wk            input         one      rotation     rows of the cache
v             wv            input         one                   rows of the cache
score         q . keys      q             (fixed)               scores
numerator     softmax       score                               numerators
mix           e . values    numerator     1/sum                 an activation
out           wo            mix           one      add stream   stream
middle        its norm      stream        norm                  an activation
gate          w1            middle        one      SiLU         factors
up            w3            middle        one      times gate   an activation
mlp           w2            up            one      add stream   stream
final         its norm      stream        norm     gain         an activation
logits        lm_head       final         1/T                   logits
============  ============  ============  =======  ===========  =========================

No norm is deferred past a matrix, because SiLU needs its argument's true scale.

Gains of norms are factors of the columns of the matrices that follow, and part of these. Only the
final gain stays where the matrix of the logits is the embedding's. Neighbouring elements are the
pairs that a rotation turns, as in llama2.c. A key and a value serve ``heads / cached_heads`` heads
in a row.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from gptloom.model.arithmetic import LOGIT_BITS, MANTISSA_BITS, SILU_BITS, SILU_RESULT_BITS
from gptloom.model.formats import Precision
from gptloom.model.sites import (
    Becomes,
    Combination,
    ElementOrder,
    Function,
    Key,
    Kind,
    Path,
    Scaling,
    Site,
    Weights,
)

if TYPE_CHECKING:
    from gptloom.model.config import ModelConfig


def table(config: "ModelConfig", precision: Precision) -> tuple[Weights, None, tuple[Site, ...]]:
    """Return the embedding of tokens, none of positions, and the sites.

    Parameters
    ----------
    config
        The shape.
    precision
        Bits of weights and cached rows.
    """
    width, bits = config.width, precision.activations
    tokens = Weights("wte", config.vocabulary, width)
    embedding = Site(
        None, "embedding", Kind.EMBEDDING, width, precision.stream, scale=Scaling.ONE,
        becomes=Becomes.STREAM, phase="embed",
    )  # fmt: skip
    sites, stream = [embedding], embedding.key
    for layer in range(config.layers):
        sites += _layer(config, precision, layer, stream)
        stream = sites[-1].key
    final = replace(
        _norm(None, "final", config, bits, stream),
        gain=Weights("final_gain", 1, width) if config.tied else None,
    )
    logits = Site(
        None, "logits", Kind.PRODUCT, config.vocabulary, LOGIT_BITS, source=final.key,
        matrix=tokens if config.tied else Weights("lm_head", config.vocabulary, width),
        scale=Scaling.TEMPERATURE, becomes=Becomes.LOGITS, phase="lm_head",
    )  # fmt: skip
    return tokens, None, (*sites, final, logits)


def _norm(layer: int | None, name: str, config: "ModelConfig", bits: int, stream: Key) -> Site:
    """Return the site of a norm of the stream at a given site."""
    return Site(
        layer, name, Kind.NORM, config.width, bits, source=stream, normed=True,
        scale=Scaling.NORM, phase="norms",
    )  # fmt: skip


def _layer(config: "ModelConfig", precision: Precision, layer: int, stream: Key) -> list[Site]:
    """Return the sites of a layer that reads the stream at a given site."""
    width, hidden, bits = config.width, config.hidden, precision.activations
    queries, cached = (n * config.head_width for n in (config.heads, config.cached_heads))

    def product(name: str, matrix: str, rows: int, columns: int, **fields) -> Site:
        weights = Weights(f"layer{layer}.{matrix}", rows, columns)
        return Site(
            layer, name, Kind.PRODUCT, rows, matrix=weights, scale=Scaling.ONE,
            **{"bits": bits} | fields,
        )  # fmt: skip

    source = _norm(layer, "input", config, bits, stream)
    from_stream = dict(source=source.key, phase="qkv")
    rotated = dict(product_bits=precision.unrotated, rotated=True, order=ElementOrder.HEAD_BY_HEAD)
    q = product("q", "attn_wq", queries, width, **from_stream, **rotated, path=Path.SCORE)
    k = product(
        "k", "attn_wk", cached, width, **from_stream, **rotated, path=Path.SCORE,
        bits=precision.cache.keys.bits, becomes=Becomes.KEY,
    )  # fmt: skip
    v = product(
        "v", "attn_wv", cached, width, **from_stream, order=ElementOrder.INTERLEAVED,
        bits=precision.cache.values.bits, becomes=Becomes.VALUE, path=Path.VALUE,
    )  # fmt: skip
    score = Site(
        layer, "score", Kind.SCORES, config.heads, precision.scores, source=q.key, rows=k.key,
        becomes=Becomes.SCORES, phase="scores",
    )  # fmt: skip
    numerator = Site(
        layer, "numerator", Kind.SOFTMAX, config.heads, MANTISSA_BITS, source=score.key,
        becomes=Becomes.SCORES,
    )  # fmt: skip
    mix = Site(
        layer, "mix", Kind.MIX, queries, bits, source=numerator.key, rows=v.key,
        order=ElementOrder.INTERLEAVED, scale=Scaling.SUM, path=Path.VALUE, phase="values",
    )  # fmt: skip
    to_stream = dict(combination=Combination.ADD, becomes=Becomes.STREAM, bits=precision.stream)
    out = product(
        "out", "attn_wo", width, queries, source=mix.key, **to_stream, path=Path.VALUE, phase="Wo"
    )
    middle = _norm(layer, "middle", config, bits, out.key)
    gate = product(
        "gate", "mlp_gate", hidden, width, source=middle.key, function=Function.SILU,
        product_bits=SILU_BITS, bits=SILU_RESULT_BITS, becomes=Becomes.GATE, phase="MLP",
    )  # fmt: skip
    up = product(
        "up", "mlp_up", hidden, width, source=middle.key, combination=Combination.MULTIPLY,
        factor=gate.key, path=Path.MLP, phase="MLP",
    )  # fmt: skip
    down = product(
        "mlp", "mlp_down", width, hidden, source=up.key, **to_stream, path=Path.MLP, phase="MLP"
    )
    return [source, q, k, v, score, numerator, mix, out, middle, gate, up, down]
