"""The golden model: executes an integer model with NumPy integers, exactly as the hardware does.

Every named intermediate can be traced, so that hardware is compared value by value.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gptloom.model import arithmetic, positions, sampling, tables
from gptloom.model.arithmetic import (
    ACTIVATION_BITS,
    LOGIT_BITS,
    UNIT_MANTISSA,
    WEIGHT_BITS,
    Integers,
)
from gptloom.model.cache import Cached, Eviction, KVCache, Memory, Whole
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.integer import IntegerModel, LogitScale
from gptloom.model.positions import Positions

Trace = Callable[[int, str, Integers], None]
"""Called with layer, site and value [batch, time, ...] of every intermediate, in order."""


Scale = tuple[Integers, Integers]
"""Mantissa and exponent: ``mantissa * 2**-exponent``, up to the site's constant shift."""

_ONE: Scale = (np.int64(UNIT_MANTISSA), np.int64(0))


MAX_POSITION = 255
"""Positions in a document beyond it are told as it."""


@dataclass(frozen=True)
class GeneratedToken:
    """One token out of the core, as it appears on its output stream."""

    token: int
    position: int
    last: bool


def check_prompt(config: ModelConfig, prompt: Sequence[int]) -> Sequence[int]:
    """Return `prompt` if a document can start with it, else raise :class:`.UserError`."""
    longest = config.context - 1
    if len(prompt) > longest and not config.endless:
        raise UserError(
            f"the prompt has {len(prompt)} characters but this model's context leaves room "
            f"for {longest}: shorten it"
        )
    return prompt


class Operations:
    """What the machine does between its products: the integer operations, by layer and site.

    :mod:`.costs` puts real-valued ones in the place of some, to see what each rounding costs.
    """

    def rsqrt(self, value: Integers) -> Scale:
        """Scale of an RMSNorm from its sum of squares."""
        return tables.rsqrt(value)

    def reciprocal(self, value: Integers) -> Scale:
        """Scale of a softmax from its sum of numerators."""
        return tables.reciprocal(value)

    def exp2_negative(self, distance: Integers) -> Integers:
        """Numerator of a softmax from a score's distance to the largest."""
        return tables.exp2_negative(distance)

    def quantise_score(self, layer: int, accumulators: Integers) -> Integers:
        """Score from a q.k dot product."""
        return arithmetic.quantise_score(accumulators)

    def penalty(self, layer: int, distance: Integers, heads: int) -> Integers:
        """Part of a score that ALiBi takes from it at a distance."""
        return positions.penalty(distance, heads)

    def requantise(
        self, layer: int, site: str, accumulators: Integers, scale: Scale, shift: int, bits: int
    ) -> Integers:
        """Value of a site from its dot product, its scale and its constant shift."""
        mantissa, exponent = scale
        return arithmetic.requantise(accumulators, mantissa, shift + exponent, bits)

    def saturate(self, layer: int, site: str, value: Integers, bits: int) -> Integers:
        """Sum of a site's value and the residual stream."""
        return arithmetic.saturate(value, bits)


class GoldenModel:
    """Integer forward pass, with and without a KV cache, and generation.

    Parameters
    ----------
    model
        The network.
    operations
        What happens between the products; others than the machine's are for analysis only.
    """

    def __init__(self, model: IntegerModel, operations: Operations | None = None):
        self.model = model
        self.config = model.config
        self.operations = operations or Operations()

    def new_cache(self, batch: int = 1) -> KVCache:
        """Return an empty cache for `batch` documents."""
        return KVCache(self.config, batch)

    def step(
        self, tokens: Integers, position: int, cache: KVCache, trace: Trace | None = None
    ) -> Integers:
        """Advance a batch by one token each and append its keys and values to the cache.

        Parameters
        ----------
        tokens
            [batch] token ids.
        position
            Position of these tokens: the one after those that the cache has seen.
        cache
            Its rows are read, and one of them is written.
        trace
            Receives every intermediate; scores and numerators by row.

        Returns
        -------
        Integers
            [batch, vocabulary] accumulators of the logits.

        Raises
        ------
        UserError
            The cache is full, and its policy is to evict nothing.
        """
        memory = Cached(cache, position)
        return self._run(np.asarray(tokens)[:, None], np.array([position]), memory, trace)[:, 0]

    def logits(self, tokens: Integers, trace: Trace | None = None) -> Integers:
        """Accumulators of the logits for whole sequences at once, without a cache.

        Parameters
        ----------
        tokens
            [batch, time] token ids, time up to the context unless there is eviction.
        trace
            Receives every intermediate, but of eviction by attention.

        Returns
        -------
        Integers
            [batch, time, vocabulary].
        """
        tokens = np.asarray(tokens)
        if self.config.eviction is Eviction.ATTENTION:
            cache = self.new_cache(len(tokens))
            steps = [self.step(column, place, cache) for place, column in enumerate(tokens.T)]
            return np.stack(steps, axis=1)
        time = tokens.shape[1]
        return self._run(tokens, np.arange(time), Whole(self.config, time), trace)

    def scaled_logits(self, accumulators: Integers, scale: LogitScale) -> Integers:
        """Logits over the temperature, Q8.7."""
        return self.operations.requantise(
            0,
            "logits",
            accumulators,
            (np.int64(scale.mantissa), np.int64(0)),
            scale.shift,
            LOGIT_BITS,
        )

    def nats(self, tokens: Integers, trace: Trace | None = None) -> np.ndarray:
        """Return the sampler's logits at temperature 1, in nats: float64, shaped as `logits`."""
        scaled = self.scaled_logits(self.logits(tokens, trace), self.model.logit_scale(1.0))
        return scaled / (1 << arithmetic.LOGIT_FRACTION)

    def generate(
        self,
        seed: int,
        temperature: float,
        prompt: Sequence[int] = (),
        trace: Callable[[int, int], Trace] | None = None,
    ) -> Iterator[GeneratedToken]:
        """Documents without end, token by token, as the hardware emits them.

        With eviction they are one stream: a document that ends is followed by another that can
        see it, as those the model was trained on, and only the first begins with the prompt.

        Parameters
        ----------
        seed
            1 to 2**32 - 1.
        temperature
            0.1 to 2.0, or 0 for greedy.
        prompt
            Token ids that every document starts with, the beginning-of-document token left out.
        trace
            Called with the document's number and the position in it before each step; returns what
            receives the step's intermediates.
        """
        scale = self.model.logit_scale(temperature)
        noise = sampling.noise(seed)
        bos = self.model.tokenizer.bos
        known = [bos, *self.check_prompt(prompt)]
        document = 0
        while True:
            cache, token, position, begun = self.new_cache(), known[0], 0, 0
            while True:
                receive = trace(document, position - begun) if trace else None
                accumulators = self.step(np.array([token]), position, cache, receive)
                if position + 1 < len(known):
                    token = known[position + 1]
                else:
                    logits = self.scaled_logits(accumulators[0], scale)
                    if receive:
                        receive(0, "logits", logits[None, None])
                    values = np.array([next(noise) for _ in range(self.config.vocabulary)])
                    token = sampling.draw(logits, 0 if scale.greedy else values)
                    last = token == bos
                    if not self.config.endless:
                        last = last or position == self.config.context - 1
                    yield GeneratedToken(token, min(position - begun, MAX_POSITION), last)
                    if last:
                        document, begun = document + 1, position + 1
                    if last and not self.config.endless:
                        break
                position += 1

    def check_prompt(self, prompt: Sequence[int]) -> Sequence[int]:
        """Return `prompt` if a document can start with it, else raise :class:`.UserError`."""
        return check_prompt(self.config, prompt)

    def _run(self, tokens, positions, memory: Memory, trace: Trace | None) -> Integers:
        """All layers."""
        m, do = self.model, self.operations

        def note(layer: int, site: str, value: Integers) -> Integers:
            if trace:
                trace(layer, site, value)
            return value

        embedding = m.token_embedding[tokens]
        if self.config.positions is Positions.LEARNED:
            embedding = embedding + m.position_embedding[positions]
        note(0, "embedding", embedding)
        norm = do.rsqrt(np.sum(embedding**2, axis=-1, keepdims=True))
        start = embedding * (1 << arithmetic.EMBEDDING_SHIFT)
        x = do.requantise(0, "start", start, norm, m.start_shift, ACTIVATION_BITS)
        note(0, "start", x)
        source = embedding
        for index, layer in enumerate(m.layers):
            w = layer.weights

            def scaled(site, accumulators, scale, bits=ACTIVATION_BITS, index=index, layer=layer):
                return do.requantise(index, site, accumulators, scale, layer.shifts[site], bits)

            q = note(index, "q", scaled("q", source @ w["wq"].T, norm))
            k = note(index, "k", scaled("k", source @ w["wk"].T, norm, WEIGHT_BITS))
            v = note(index, "v", scaled("v", source @ w["wv"].T, norm, WEIGHT_BITS))
            keys, values = memory.append(index, k, v)
            mixed, scale = self._attention(index, q, keys, values, memory, note)
            mixed = scaled("mix", mixed, scale).reshape(x.shape)
            note(index, "mix", mixed)
            out = scaled("out", mixed @ w["wo"].T, _ONE)
            x = note(index, "out", do.saturate(index, "out", out + x, ACTIVATION_BITS))
            norm = do.rsqrt(np.sum(x**2, axis=-1, keepdims=True))
            hidden = scaled("hidden", x @ w["fc1"].T, _ONE)
            hidden = note(index, "hidden", np.maximum(hidden, 0))
            mlp = scaled("mlp", hidden @ w["fc2"].T, norm)
            x = note(index, "mlp", do.saturate(index, "mlp", mlp + x, ACTIVATION_BITS))
            norm = do.rsqrt(np.sum(x**2, axis=-1, keepdims=True))
            source = x
        return source @ m.lm_head.T

    def _attention(self, index, q, keys, values, memory: Memory, note) -> tuple[Integers, Scale]:
        """Weighted sums of the values, [batch, time, heads, head width], and what scales them.

        `q`, `keys` and `values` are [batch, time, width].
        """
        c, do = self.config, self.operations
        q = q.reshape(*q.shape[:2], c.heads, c.head_width)
        keys = keys.reshape(*keys.shape[:2], c.heads, c.head_width)
        values = values.reshape(*values.shape[:2], c.heads, c.head_width)
        scores = do.quantise_score(index, np.einsum("bthd,bshd->btsh", q, keys))
        if c.positions is Positions.ALIBI:
            scores = scores - do.penalty(index, memory.distance, c.heads)
            scores = do.saturate(index, "score", scores, ACTIVATION_BITS)
        note(index, "score", scores)
        seen = memory.visible[..., None]
        lowest = np.iinfo(np.int64).min
        maximum = np.max(np.where(seen, scores, lowest), axis=2, keepdims=True)
        distance = np.where(seen, maximum - scores, 0)
        numerators = note(index, "numerator", np.where(seen, do.exp2_negative(distance), 0))
        memory.attend(numerators)
        mantissa, exponent = do.reciprocal(np.sum(numerators, axis=2))
        weighted = np.einsum("btsh,bshd->bthd", numerators, values)
        return weighted, (mantissa[..., None], exponent[..., None])
