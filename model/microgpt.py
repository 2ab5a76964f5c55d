"""The table of a microGPT's sites (A. Karpathy, gist 8627fe009c40f57531cb18360106ce95).

============  ============  ============  =======  ===========  =========================
site          computes      reads         scale    post         becomes
============  ============  ============  =======  ===========  =========================
embedding     rows' sum     token                               stream
start         its norm      embedding     norm                  residual
q             wq            stream        norm                  an activation
k, v          wk, wv        stream        norm                  rows of the cache
score         q . keys      q             (fixed)               scores
numerator     softmax       score                               numerators
mix           e . values    numerator     1/sum                 an activation
out           wo            mix           one      add stream   stream
hidden        fc1           stream        one      ReLU         an activation
mlp           fc2           hidden        norm     add stream   stream
logits        lm_head       stream        1/T                   logits
============  ============  ============  =======  ===========  =========================

A value's scale in the integer model is ``mantissa * 2**-shift`` (:func:`.arithmetic.requantise`).
The scalar of each RMSNorm is deferred past the matrix that follows it (for the MLP past ReLU and
the second matrix: ReLU commutes with a positive factor), so products start before the norm is
known. Layer 0 skips its own norm, which would normalise the embedding's normalised sum again.
"""

from typing import TYPE_CHECKING

from gptloom.model.arithmetic import LOGIT_BITS, MANTISSA_BITS
from gptloom.model.formats import Precision
from gptloom.model.positions import Positions
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


def table(
    config: "ModelConfig", precision: Precision
) -> tuple[Weights, Weights | None, tuple[Site, ...]]:
    """Return the embeddings of tokens and positions, and the sites.

    Parameters
    ----------
    config
        The shape.
    precision
        Bits of weights and cached rows.
    """
    width = config.width
    tokens, positions = Weights("wte", config.vocabulary, width), None
    if config.positions is Positions.LEARNED:
        positions = Weights("wpe", config.context, width)
    embedding = Site(None, "embedding", Kind.EMBEDDING, width, becomes=Becomes.STREAM)
    start = Site(
        None, "start", Kind.NORM, width, source=embedding.key, normed=True,
        scale=Scaling.NORM, becomes=Becomes.RESIDUAL,
    )  # fmt: skip
    sites = [embedding, start]
    stream = embedding.key
    for layer in range(config.layers):
        sites += _layer(config, precision, layer, stream)
        stream = sites[-1].key
    logits = Site(
        None, "logits", Kind.PRODUCT, config.vocabulary, LOGIT_BITS, source=stream,
        matrix=Weights("lm_head", config.vocabulary, width),
        scale=Scaling.TEMPERATURE, becomes=Becomes.LOGITS, phase="lm_head",
    )  # fmt: skip
    return tokens, positions, (*sites, logits)


def _layer(config: "ModelConfig", precision: Precision, layer: int, stream: Key) -> list[Site]:
    """Return the sites of a layer that reads the stream at a given site."""
    width, hidden_width, tabled = config.width, config.hidden, config.recurrent

    def product(name: str, matrix: str, rows: int, columns: int, **fields) -> Site:
        weights = Weights(f"layer{layer}.{matrix}", rows, columns)
        return Site(layer, name, Kind.PRODUCT, rows, matrix=weights, **fields)

    from_stream = dict(source=stream, normed=True, scale=Scaling.NORM, phase="qkv", tabled=tabled)
    q = product(
        "q", "attn_wq", width, width, **from_stream, order=ElementOrder.HEAD_BY_HEAD,
        path=Path.SCORE, lean=-1,
    )  # fmt: skip
    k = product(
        "k", "attn_wk", width, width, **from_stream, order=ElementOrder.HEAD_BY_HEAD,
        bits=precision.cache.keys.bits, becomes=Becomes.KEY, path=Path.SCORE, lean=1,
    )  # fmt: skip
    v = product(
        "v", "attn_wv", width, width, **from_stream, order=ElementOrder.INTERLEAVED,
        bits=precision.cache.values.bits, becomes=Becomes.VALUE, path=Path.VALUE, lean=-2,
    )  # fmt: skip
    score = Site(
        layer,
        "score",
        Kind.SCORES,
        config.heads,
        source=q.key,
        rows=k.key,
        becomes=Becomes.SCORES,
        phase="scores",
    )
    numerator = Site(
        layer, "numerator", Kind.SOFTMAX, config.heads, MANTISSA_BITS, source=score.key,
        becomes=Becomes.SCORES,
    )  # fmt: skip
    mix = Site(
        layer, "mix", Kind.SUMS if tabled else Kind.MIX, width,
        source=None if tabled else numerator.key, rows=v.key,
        order=ElementOrder.INTERLEAVED, scale=Scaling.SUM, path=Path.VALUE, lean=-3, phase="values",
    )  # fmt: skip
    to_stream = dict(combination=Combination.ADD, becomes=Becomes.STREAM)
    out = product(
        "out", "attn_wo", width, width, source=mix.key, **to_stream, scale=Scaling.ONE,
        path=Path.VALUE, lean=5, phase="Wo",
    )  # fmt: skip
    hidden = product(
        "hidden", "mlp_fc1", hidden_width, width, source=out.key, normed=True, scale=Scaling.ONE,
        function=Function.RELU, path=Path.MLP, lean=3, phase="fc1",
    )  # fmt: skip
    mlp = product(
        "mlp", "mlp_fc2", width, hidden_width, source=hidden.key, **to_stream, scale=Scaling.NORM,
        path=Path.MLP, lean=-3, phase="fc2",
    )  # fmt: skip
    attention = [] if tabled else [score, numerator]
    return [q, k, v, *attention, mix, out, hidden, mlp]
