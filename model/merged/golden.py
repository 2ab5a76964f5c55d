"""The golden model of the merged form: NumPy integers, exactly as the hardware computes.

Each step and its width are listed in :mod:`.integer`. Every named intermediate can be traced.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gptloom.model import sampling
from gptloom.model.arithmetic import Integers, round_shift
from gptloom.model.cache import Cached, KVCache, Memory, Whole
from gptloom.model.golden import GeneratedToken, Trace, check_prompt, reported_position
from gptloom.model.merged.algebra import table_places
from gptloom.model.merged.integer import MergedModel, NoiseScale
from gptloom.model.merged.steps import LayerSteps, Outputs, offset_of
from gptloom.model.sites import Becomes


@dataclass(frozen=True)
class Stream:
    """Settings of one stream of documents.

    Attributes
    ----------
    seed
        Seed of the noise, 1 to 2**32 - 1.
    temperature
        Sampling temperature, 0.1 to 2.0, or 0 for greedy decoding.
    prompt
        Token ids that every document starts with, without the beginning-of-document token; with
        eviction only the first one starts with it, and all others can see that one.
    """

    seed: int
    temperature: float
    prompt: tuple[int, ...] = ()


class GoldenModel:
    """Integer forward pass, with and without a KV cache, and generation.

    Parameters
    ----------
    model
        The network.
    """

    def __init__(self, model: MergedModel):
        self.model = model
        self.config = model.config

    def new_cache(self, batch: int = 1) -> KVCache:
        """Return an empty cache for `batch` documents."""
        return KVCache(self.config, batch)

    def step(
        self,
        tokens: Integers,
        position: Integers | int,
        cache: KVCache,
        trace: Trace | None = None,
    ) -> Outputs:
        """Advance a batch by one token each and append its keys and values to the cache.

        Parameters
        ----------
        tokens
            [batch] token ids.
        position
            Position of these tokens, common or one each, [batch]. It is the one after those that
            the cache has seen of the document; 0 begins another.
        cache
            Cache whose rows are read, and one per document is written.
        trace
            Receives every intermediate.

        Returns
        -------
        Outputs
            The layer's outputs, [batch, ...] each.

        Raises
        ------
        UserError
            The cache is full, and nothing is to be evicted.
        """
        tokens = np.asarray(tokens)
        positions = np.broadcast_to(position, tokens.shape)
        memory = Cached(cache, positions)
        outputs = self._run(tokens[:, None], positions[:, None], memory, trace)
        return Outputs(*(value[:, 0] for value in outputs))

    def outputs(self, tokens: Integers, trace: Trace | None = None) -> Outputs:
        """Compute whole sequences at once, without a cache.

        Parameters
        ----------
        tokens
            [batch, time] token ids, time up to the context unless there is eviction.
        trace
            Receives every intermediate.

        Returns
        -------
        Outputs
            The layer's outputs, [batch, time, ...] each.
        """
        tokens = np.asarray(tokens)
        time = tokens.shape[1]
        return self._run(tokens, np.arange(time), Whole(self.config, time), trace)

    def nats(self, tokens: Integers, trace: Trace | None = None) -> np.ndarray:
        """Return the logits of whole sequences in nats: float64 [batch, time, vocabulary]."""
        outputs = self.outputs(tokens, trace)
        return self.noisy(outputs) * self.unit(outputs)

    def unit(self, outputs: Outputs) -> np.ndarray:
        """Return the worth of a unit of the logits in nats: float64 [..., 1]."""
        worth = self.model.logit_unit * 2.0 ** self.model.layers[-1].shifts["offset"]
        return worth / np.maximum(outputs.root, 1)

    def noisy(self, outputs: Outputs, noise: Integers | int = 0) -> Integers:
        """Return the sum whose largest element is the next token; without noise, the logits."""
        return outputs.product + self.offset(outputs, noise)

    def offset(self, outputs: Outputs, noise: Integers | int) -> Integers:
        """Return the sum of everything that is added to the last product."""
        return offset_of(outputs, self.model.layers[-1].shifts["offset"], noise)

    def scaled_noise(self, values: Integers, scale: NoiseScale) -> Integers:
        """Return Gumbel noise (Q5.7) times the temperature, in units of ``direct``."""
        return round_shift(np.asarray(values) * scale.mantissa, scale.shift)

    def generate(
        self,
        seed: int,
        temperature: float,
        prompt: Sequence[int] = (),
        trace: Callable[[int, int], Trace] | None = None,
    ) -> Iterator[GeneratedToken]:
        """Yield documents without end, token by token, as one stream of the hardware emits them.

        Parameters
        ----------
        seed, temperature, prompt
            Settings as in `Stream`.
        trace
            Called with the document's number and the position before each step; returns the
            function that receives the step's intermediates.
        """

        def first(documents: list[int], positions: list[int]) -> Trace | None:
            return trace(documents[0], positions[0]) if trace else None

        for (item,) in self.generate_streams([Stream(seed, temperature, tuple(prompt))], first):
            if item:
                yield item

    def generate_streams(
        self,
        streams: Sequence[Stream],
        trace: Callable[[list[int], list[int]], Trace | None] = lambda *_: None,
    ) -> Iterator[list[GeneratedToken | None]]:
        """Yield the tokens that every stream emits, step by step; None while a prompt is read.

        The tokens of a stream do not depend on the others.

        Parameters
        ----------
        streams
            Streams that run side by side.
        trace
            Called before each step with the number of every stream's document and the position in
            it; returns the function that receives the step's intermediates, [streams, 1, ...] each.
        """
        runs = [_Run(self, stream) for stream in streams]
        cache = self.new_cache(len(runs))
        while True:
            places = [run.position - run.begun for run in runs]
            receive = trace([run.document for run in runs], places)
            tokens, positions = np.array([(run.token, run.position) for run in runs]).T
            outputs = self.step(tokens, positions, cache, receive)
            noise = np.array([run.noise() for run in runs])
            offset, noisy = self.offset(outputs, noise), self.noisy(outputs, noise)
            drawn = np.array([sampling.draw(row, 0) for row in noisy])
            if receive:
                for site, value in (
                    ("noise", noise),
                    ("offset", offset),
                    ("noisy", noisy),
                    ("token", drawn),
                ):
                    receive(self.config.layers - 1, site, value[:, None])
            yield [run.advance(int(token)) for run, token in zip(runs, drawn, strict=True)]

    def check_prompt(self, prompt: Sequence[int]) -> Sequence[int]:
        """Return `prompt` if a document can start with it, else raise :class:`.UserError`."""
        return check_prompt(self.config, prompt)

    def _run(self, tokens, positions, memory: Memory, trace: Trace | None) -> Outputs:
        """Return the last layer's outputs."""
        m = self.model
        where, outputs = (tokens, table_places(self.config, positions)), None
        for index, layer in enumerate(m.layers):

            def note(site: str, value: Integers, index: int = index) -> Integers:
                if trace:
                    trace(index, site, value)
                return value

            steps = LayerSteps(m.config, m.widths, layer, note)
            if outputs is None:
                entry = steps.look_up({name: rows[where] for name, rows in m.table.items()})
            else:
                entry = steps.enter(outputs, m.layers[index - 1].shifts["offset"])
            keys = memory.append(index, Becomes.KEY, entry.k)
            values = memory.append(index, Becomes.VALUE, entry.v)
            outputs = steps.finish(entry, steps.mix(entry, keys, values, memory))
        if trace:
            trace(len(m.layers) - 1, "logits", self.noisy(outputs))
        return outputs


class _Run:
    """State of one stream.

    `position` is that of the cache, which with eviction continues from document to document; the
    present one began at `begun`.
    """

    def __init__(self, golden: GoldenModel, stream: Stream):
        self._golden = golden
        self._scale = golden.model.noise_scale(stream.temperature)
        self._noise = sampling.noise(stream.seed)
        bos = golden.model.tokenizer.bos
        self._known = [bos, *golden.check_prompt(stream.prompt)]
        self.document = self.position = self.begun = 0
        self.token = bos

    def noise(self) -> Integers:
        """Return scaled noise for this step; none is drawn for a token that the prompt decides."""
        vocabulary = self._golden.config.vocabulary
        if self.position + 1 < len(self._known):
            return np.zeros(vocabulary, np.int64)
        values = np.array([next(self._noise) for _ in range(vocabulary)])
        return self._golden.scaled_noise(values, self._scale)

    def advance(self, drawn: int) -> GeneratedToken | None:
        """Go on to the next position or document; return the emitted token, if any."""
        config, position = self._golden.config, self.position
        self.position += 1
        if self.position < len(self._known):
            self.token = self._known[self.position]
            return None
        self.token = drawn
        last = drawn == self._known[0]
        if not config.endless:
            last = last or position == config.context - 1
        item = GeneratedToken(drawn, reported_position(config, position - self.begun), last)
        if last:
            self.document, self.token = self.document + 1, self._known[0]
            self.position = self.begun = self.position if config.endless else 0
        return item
