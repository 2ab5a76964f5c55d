"""The golden model: executes an integer model with NumPy integers, exactly as the hardware does.

Every named intermediate can be traced, so that hardware can be compared value by value.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gptloom.model import arithmetic, positions, sampling, tables
from gptloom.model.arithmetic import (
    GATE_SHIFT,
    UNIT_MANTISSA,
    Integers,
)
from gptloom.model.cache import Cached, Eviction, KVCache, Memory, Whole
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.formats import STANDARD, Precision
from gptloom.model.integer import IntegerModel, LogitScale
from gptloom.model.positions import Positions
from gptloom.model.sites import Becomes, Combination, Function, Key, Kind, Scaling, Site

Trace = Callable[[int, str, Integers], None]
"""Called with layer, site and value [batch, time, ...] of every intermediate, in order."""


Scale = tuple[Integers, Integers]
"""Mantissa and exponent: ``mantissa * 2**-exponent``, up to the site's constant shift."""

_UNIT_GAIN = 1 << arithmetic.EMBEDDING_SHIFT
"""Gain of a norm without gains."""

_UNSEEN = -(1 << 20)
"""Score of a key that is not seen: so far below the others that its numerator is zero."""

LEAST_SUM_EXPONENT = arithmetic.MANTISSA_BITS - 1
"""Exponent of the least sum of numerators: the largest one alone."""

_ONE: Scale = (np.int64(UNIT_MANTISSA), np.int64(0))


MAX_POSITION = 255
"""Largest position that is reported in documents without end; later ones are reported as it."""


def reported_position(config: ModelConfig, place: int) -> int:
    """Return a token's position as cores report it, from its place in its document."""
    return min(place, MAX_POSITION) if config.endless else place


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
            f"the prompt has {len(prompt)} tokens but this model's context leaves room "
            f"for {longest}: shorten it"
        )
    return prompt


class Operations:
    """Operations of the machine between its products, in integers, by site.

    :mod:`.costs` replaces some by real-valued ones, to see the cost of each rounding.

    Parameters
    ----------
    precision
        Precision of the model.
    """

    def __init__(self, precision: Precision = STANDARD):
        self.precision = precision

    def rsqrt(self, value: Integers) -> Scale:
        """Return the scale of an RMSNorm from its sum of squares."""
        return tables.rsqrt(value)

    def reciprocal(self, value: Integers) -> Scale:
        """Return the scale of a softmax from its sum of numerators."""
        return tables.reciprocal(value)

    def exp2_negative(self, distance: Integers) -> Integers:
        """Return the numerator of a softmax from a score's distance to the largest."""
        return tables.exp2_negative(distance)

    def quantise_score(self, site: Site, accumulators: Integers) -> Integers:
        """Return the score from a q.k dot product."""
        return arithmetic.quantise_score(accumulators, self.precision.score_shift, site.bits)

    def penalty(self, site: Site, distance: Integers, heads: int) -> Integers:
        """Return the penalty that ALiBi subtracts from a score at a distance."""
        return positions.penalty(distance, heads)

    def requantise(self, site: Site, accumulators: Integers, scale: Scale, shift: int) -> Integers:
        """Return a site's value from its dot product, its scale and its constant shift."""
        mantissa, exponent = scale
        pre_shift, bits = self.precision.pre_shift, site.scaled_bits
        if site.scale is Scaling.SUM and self.precision.exponent_first:
            # The largest numerator is in the sum, so its leading one is at this place at least.
            accumulators = accumulators >> exponent - LEAST_SUM_EXPONENT
            exponent, pre_shift = LEAST_SUM_EXPONENT, 0
        return arithmetic.requantise(accumulators, mantissa, shift + exponent, bits, pre_shift)

    def saturate(self, site: Site, value: Integers) -> Integers:
        """Return the sum of a site's value and the value it is combined with, saturated."""
        return arithmetic.saturate(value, site.bits)

    def rotation(self, positions: Integers, width: int, theta: float) -> tuple[Integers, Integers]:
        """Return cosine and sine of every pair's angle, [positions, width / 2]."""
        return tables.rotation(positions, tables.rotary_speeds(width, theta))

    def rotate(self, site: Site, pairs: Integers, cosine: Integers, sine: Integers) -> Integers:
        """Return a site's pairs of elements, turned."""
        return arithmetic.rotate(pairs, cosine, sine, site.scaled_bits - site.bits, site.bits)

    def silu(self, value: Integers) -> Integers:
        """Return the SiLU of a scaled sum."""
        return tables.silu(value)

    def gated(self, site: Site, value: Integers, gate: Integers) -> Integers:
        """Return the product of a site's value and a gate."""
        return arithmetic.saturate(arithmetic.round_shift(value * gate, GATE_SHIFT), site.bits)


class GoldenModel:
    """Integer forward pass, with and without a KV cache, and generation.

    Parameters
    ----------
    model
        The network.
    operations
        Operations between the products; others than the machine's are for analysis only.
    """

    def __init__(self, model: IntegerModel, operations: Operations | None = None):
        self.model = model
        self.config = model.config
        self.network = model.network
        self.operations = operations or Operations(model.precision)

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
            Cache whose rows are read, and one of them is written.
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
        """Return the accumulators of the logits for whole sequences at once, without a cache.

        Parameters
        ----------
        tokens
            [batch, time] token ids, time up to the context unless there is eviction.
        trace
            Receives every intermediate, except with eviction by attention.

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
        """Return the logits over the temperature, Q8.7."""
        mantissa = np.int64(scale.mantissa), np.int64(0)
        head = self.network.head
        shift = scale.shift + self.model.row_shifts.get(head.matrix.name, 0)
        return self.operations.requantise(head, accumulators, mantissa, shift)

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
        """Yield documents without end, token by token, as the hardware emits them.

        With eviction they are one stream: a document that ends is followed by another that can
        see it, like those that the model was trained on, and only the first begins with the prompt.

        Parameters
        ----------
        seed
            Seed of the noise, 1 to 2**32 - 1.
        temperature
            Sampling temperature, 0.1 to 2.0, or 0 for greedy decoding.
        prompt
            Token ids that every document starts with, without the beginning-of-document token.
        trace
            Called with the document's number and the position in it before each step; returns the
            function that receives the step's intermediates.
        """
        scale = self.model.logit_scale(temperature)
        noise = sampling.noise(seed, self.model.precision.noise_bits)
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
                        receive(*self.network.head.key, logits[None, None])
                    values = np.array([next(noise) for _ in range(self.config.vocabulary)])
                    token = sampling.draw(logits, 0 if scale.greedy else values)
                    last = token == bos
                    if not self.config.endless:
                        last = last or position == self.config.context - 1
                    place = reported_position(self.config, position - begun)
                    yield GeneratedToken(token, place, last)
                    if last:
                        document, begun = document + 1, position + 1
                    if last and not self.config.endless:
                        break
                position += 1

    def check_prompt(self, prompt: Sequence[int]) -> Sequence[int]:
        """Return `prompt` if a document can start with it, else raise :class:`.UserError`."""
        return check_prompt(self.config, prompt)

    def _run(self, tokens, positions, memory: Memory, trace: Trace | None) -> Integers:
        """Execute the table of sites, and return the accumulators of the logits."""
        m, do = self.model, self.operations
        found: dict[Key, Integers] = {}
        rows: dict[Key, Integers] = {}
        scales: dict[Scaling, Scale] = {Scaling.ONE: _ONE}
        stream = None
        *sites, head = self.network.sites
        for site in sites:
            source = found.get(site.source)
            match site.kind:
                case Kind.EMBEDDING:
                    value = self._embedding(tokens, positions)
                case Kind.NORM:
                    gain = m.weights[site.gain.name] if site.gain else _UNIT_GAIN
                    value = source * gain
                case Kind.PRODUCT:
                    value = arithmetic.matrix_product(source, m.weights[site.matrix.name].T)
                case Kind.SCORES:
                    value = self._scores(site, source, rows[site.rows], memory)
                case Kind.SOFTMAX:
                    value = self._numerators(source, memory)
                    scales[Scaling.SUM] = do.reciprocal(np.sum(value, axis=2)[..., None])
                case Kind.MIX:
                    value = self._mix(source, rows[site.rows])
                case Kind.SUMS:
                    value, total = memory.mix()
                    scales[Scaling.SUM] = do.reciprocal(total)
            if site.shifted:
                shift = m.shifts[site.key] + self._row_shifts(site, tokens)
                value = do.requantise(site, value, scales[site.scale], shift)
                value = value.reshape(*tokens.shape, site.elements)
            if site.rotated:
                value = self._rotated(site, value, positions)
            match site.function:
                case Function.RELU:
                    value = np.maximum(value, 0)
                case Function.SILU:
                    value = do.silu(value)
            match site.combination:
                case Combination.ADD:
                    value = do.saturate(site, value + stream)
                case Combination.MULTIPLY:
                    value = do.gated(site, value, found[site.factor])
            if site.is_cached:
                rows[site.key] = memory.append(site.layer, site.becomes, value)
            if site.is_stream:
                stream = value
            if site.becomes is Becomes.STREAM:
                scales[Scaling.NORM] = do.rsqrt(np.sum(value**2, axis=-1, keepdims=True))
            if trace:
                trace(*site.key, value)
            found[site.key] = value
        return arithmetic.matrix_product(found[head.source], m.weights[head.matrix.name].T)

    def _embedding(self, tokens, positions) -> Integers:
        rows = self.model.weights[self.network.tokens.name][tokens]
        if self.network.positions:
            rows = rows + self.model.weights[self.network.positions.name][positions]
        return rows * _UNIT_GAIN if self.network.embedding.shifted else rows

    def _row_shifts(self, site: Site, tokens) -> Integers:
        """Return the shifts of a site's elements beside its own, shaped like its sums or less."""
        if site.kind is Kind.EMBEDDING:
            shifts = self.model.row_shifts.get(self.network.tokens.name)
            return np.int64(0) if shifts is None else shifts[tokens][..., None]
        name = site.matrix.name if site.matrix else None
        return self.model.row_shifts.get(name, np.int64(0))

    def _by_head(self, rows: Integers) -> Integers:
        """Return cached rows [batch, time, width] as [batch, cached heads, 1, time, head width]."""
        split = rows.reshape(*rows.shape[:2], -1, self.config.head_width)
        return split.swapaxes(1, 2)[:, :, None]

    def _for_sharers(self, values: Integers) -> Integers:
        """Return values [batch, heads, ...] as [batch, cached heads, heads that share one, ...]."""
        return values.reshape(len(values), self.config.cached_heads, -1, *values.shape[2:])

    def _rotated(self, site: Site, rows: Integers, positions) -> Integers:
        """Return queries or keys with every pair of elements turned."""
        width, do = self.config.head_width, self.operations
        turns = do.rotation(positions, width, self.config.theta)
        cosine, sine = (table[:, None] for table in turns)
        pairs = rows.reshape(*rows.shape[:2], -1, width // 2, 2)
        return do.rotate(site, pairs, cosine, sine).reshape(rows.shape)

    def _scores(self, site: Site, q: Integers, keys: Integers, memory: Memory) -> Integers:
        """Return the scores of the keys, [batch, time, keys, heads]."""
        heads, do = self.config.heads, self.operations
        queries = q.reshape(*q.shape[:2], heads, -1).swapaxes(1, 2)
        columns = self._by_head(keys).swapaxes(3, 4)
        products = arithmetic.matrix_product(self._for_sharers(queries), columns)
        products = products.reshape(len(q), heads, *products.shape[3:])
        scores = do.quantise_score(site, products.transpose(0, 2, 3, 1))
        if self.config.positions is Positions.ALIBI:
            scores = do.saturate(site, scores - do.penalty(site, memory.distance, heads))
        return scores

    def _mix(self, numerators: Integers, values: Integers) -> Integers:
        """Return the sums over values, weighted by numerators: [batch, time, heads, head width]."""
        weights = self._for_sharers(numerators.transpose(0, 3, 1, 2))
        mixed = arithmetic.matrix_product(weights, self._by_head(values))
        mixed = mixed.reshape(len(mixed), self.config.heads, *mixed.shape[3:])
        return mixed.swapaxes(1, 2)

    def _numerators(self, scores: Integers, memory: Memory) -> Integers:
        """Return the numerators of the softmax, shaped as the scores; zeros for unseen keys."""
        seen = memory.visible[..., None]
        scores = np.where(seen, scores, _UNSEEN)
        distance = np.max(scores, axis=2, keepdims=True) - scores
        numerators = self.operations.exp2_negative(distance)
        memory.attend(numerators)
        return numerators
