"""Endless softmax attention in a fixed number of bits: one layer with ALiBi, recurrently.

Without learned positions, query, key and value of a token in the first layer depend on the token
alone, so a query has as many scores as there are tokens in the vocabulary. And a score falls by
whole octaves with every position: a new token divides all weights of a head by the same power of
two. So attention needs to know only this of the past, for every head and every token q that may be
the next query:

    S[q] = sum_t 2**(score(q, t) - slope * distance) (1, v_t)

Each new token t turns every one of them into ``S[q] / 2**slope + E[q, t] (1, v_t)``, where E
holds the weights of the scores, in a table. The mix is S's second part over its first: in real
numbers exactly the softmax over all earlier tokens, as with an unlimited cache. In integers E and S
have a width each; nothing else is lost. (A. Katharopoulos et al., "Transformers are RNNs", 2020,
has to find a feature map for keys; here the vocabulary is one.)

The folded core implements it with ``--cache recurrent`` (:mod:`.hdl.folded.recurrence`): table and
values are part of the image.
"""

from dataclasses import dataclass

import numpy as np

from gptloom.model.arithmetic import SCORE_FRACTION, Integers
from gptloom.model.cache import Eviction
from gptloom.model.errors import UserError
from gptloom.model.formats import STANDARD
from gptloom.model.golden import GoldenModel, Trace
from gptloom.model.integer import IntegerModel
from gptloom.model.positions import Positions, slope_shifts
from gptloom.model.sites import Becomes, Kind

MOST_TABLE_BITS = 14


def golden_of(model: IntegerModel) -> GoldenModel:
    """Return the golden model of a network with the cache of its configuration."""
    return RecurrentModel(model) if model.config.recurrent else GoldenModel(model)


@dataclass(frozen=True)
class StateWidths:
    """Bits of the recurrent form.

    Attributes
    ----------
    table
        Fraction bits of E, whose largest entry for every query is one; at most 14, because a
        weighted sum has to fit the accumulator.
    fraction
        Fraction bits of S, in units of E's last bit.
    """

    table: int = 14
    fraction: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.table <= MOST_TABLE_BITS or self.fraction < 0:
            raise UserError(
                f"a table of {self.table} bits and sums with {self.fraction} more: choose 1 to "
                f"{MOST_TABLE_BITS}, and 0 or more"
            )

    @property
    def weight_bits(self) -> int:
        """Bits of a sum of weights, unsigned: a geometric series adds at most as much again."""
        return self.table + 2 + self.fraction

    @property
    def value_bits(self) -> int:
        """Bits of a sum of weighted values, signed."""
        return self.weight_bits + STANDARD.cache.values.bits - 1

    def sum_bits(self, head_width: int) -> int:
        """Return the bits of one head's sums for one query."""
        return self.weight_bits + head_width * self.value_bits


class State:
    """Sums of a batch of streams.

    Attributes
    ----------
    sums
        Sums of weights, and of weighted values: [batch, heads, queries, 1 + head width].
    """

    def __init__(self, model: IntegerModel, batch: int):
        c = model.config
        self.sums = np.zeros((batch, c.heads, c.vocabulary, 1 + c.head_width), np.int64)


class RecurrentModel(GoldenModel):
    """The golden model of one layer with ALiBi, with sums instead of a cache.

    Parameters
    ----------
    model
        The network; its context does not matter.
    widths
        Widths of table and sums; hardware has the default ones.

    Attributes
    ----------
    table
        Weights of the scores, [heads, queries, tokens], ``1 << widths.table`` at most.
    values
        Values of all tokens, [heads, tokens, head width].
    slopes
        Bits by which sums fade with every token, [heads, 1, 1].

    Raises
    ------
    UserError
        If the model has several layers, or learned positions.
    """

    def __init__(self, model: IntegerModel, widths: StateWidths | None = None):
        config = model.config
        if config.layers != 1 or config.positions is not Positions.ALIBI:
            raise UserError(
                "the recurrent form needs one layer and ALiBi, so that keys depend on their token "
                "alone: give names-alibi for example"
            )
        super().__init__(model.with_cache(config.context, Eviction.RECURRENT))
        self.widths = widths or StateWidths()
        scores, self.values = self._of_tokens()
        distance = scores.max(axis=-1, keepdims=True) - scores
        weights = np.rint(2.0 ** (self.widths.table - distance / (1 << SCORE_FRACTION)))
        # A query's own token is always included: no sum of weights is zero.
        own = np.arange(config.vocabulary)
        weights[:, own, own] = np.maximum(weights[:, own, own], 1)
        self.table: Integers = weights.astype(np.int64)
        self.slopes = (1 << slope_shifts(config.heads))[:, None, None]

    @property
    def state_bits(self) -> int:
        """Bits that are kept from token to token."""
        c = self.config
        return c.heads * c.vocabulary * self.widths.sum_bits(c.head_width)

    def _of_tokens(self) -> tuple[Integers, Integers]:
        """Return scores [heads, queries, tokens] and values [heads, tokens, head width]."""
        c, values = self.config, {}
        alone = GoldenModel(self.model.with_cache(c.context, Eviction.NONE))
        tokens = np.arange(c.vocabulary)[:, None]
        alone.logits(tokens, lambda *named: values.setdefault(named[:2], named[2]))
        scores, mix = (alone.network.of_kind(kind, 0) for kind in (Kind.SCORES, Kind.MIX))
        q, k, v = (
            values[key].reshape(c.vocabulary, c.heads, c.head_width).swapaxes(0, 1)
            for key in (scores.source, scores.rows, mix.rows)
        )
        return self.operations.quantise_score(scores, q @ k.swapaxes(1, 2)), v

    def new_cache(self, batch: int = 1) -> State:
        """Return the state before any token of `batch` streams."""
        return State(self.model, batch)

    def step(
        self, tokens: Integers, position: int, cache: State, trace: Trace | None = None
    ) -> Integers:
        """Advance a batch of streams by one token each; the position does not matter."""
        tokens = np.asarray(tokens)
        memory = _Sums(self, tokens, cache)
        return self._run(tokens[:, None], np.array([position]), memory, trace)[:, 0]

    def logits(self, tokens: Integers, trace: Trace | None = None) -> Integers:
        """Return accumulators of the logits of whole sequences, step by step."""
        state = self.new_cache(len(tokens))
        steps = [
            self.step(column, place, state) for place, column in enumerate(np.transpose(tokens))
        ]
        return np.stack(steps, axis=1)


@dataclass(frozen=True)
class _Sums:
    """Replacement of a cache: attention takes everything it needs from the state."""

    golden: RecurrentModel
    tokens: Integers
    state: State

    def append(self, layer: int, becomes: Becomes, rows: Integers) -> Integers:
        return rows

    def mix(self) -> tuple[Integers, Integers]:
        """Add the tokens, and return each one's weighted sum of values and sum of weights."""
        golden, tokens, sums = self.golden, self.tokens, self.state.sums
        fraction, slopes = golden.widths.fraction, golden.slopes
        faded = (sums + (1 << slopes >> 1)) >> slopes
        weights = golden.table[:, :, tokens].transpose(2, 0, 1)[..., None] << fraction
        ones = np.ones((len(tokens), golden.config.heads, 1), np.int64)
        added = np.concatenate([ones, golden.values[:, tokens].swapaxes(0, 1)], axis=-1)
        sums[:] = faded + weights * added[:, :, None]
        seen = sums[np.arange(len(tokens)), None, :, tokens] >> fraction
        return seen[..., 1:], np.maximum(seen[..., :1], 1)
