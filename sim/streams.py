"""An unrolled core under simulation: documents of several streams, compared with the golden model.

Each stream is compared with the golden model run for that stream alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gptloom.hdl.core import Prompt
from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.model.merged.golden import GoldenModel, Stream
from gptloom.model.merged.integer import MergedModel
from gptloom.sim.engines import Engine
from gptloom.sim.generation import Generation, Tell, compared, silent
from gptloom.sim.session import (
    LONGEST_STEP,
    Emitted,
    HangError,
    cache_counters,
    encode,
    received,
)


class StreamSession:
    """Drives an unrolled core through its ports.

    Parameters
    ----------
    core
        The hardware.
    engine
        Its simulation, from power-on or after a reset; the session is its only user.
    model
        Model that the core computes.
    streams
        Settings of each stream, at most as many as the core has; the others stay empty.
        With eviction the prompt of each is offered once.
    """

    def __init__(
        self, core: UnrolledCore, engine: Engine, model: MergedModel, streams: Sequence[Stream]
    ):
        if not 1 <= len(streams) <= core.streams:
            raise ValueError(f"{len(streams)} streams: the core has {core.streams}")
        self._engine = engine
        bos = model.tokenizer.bos
        self._known: list[list[int] | None] = [[bos, *stream.prompt] for stream in streams]
        self._endless = model.config.endless
        self._scales = [core.encode_scale(model.noise_scale(s.temperature)) for s in streams]
        self._seeds: list[int | None] = [stream.seed for stream in streams]
        self._place = [0] * len(streams)
        self._since: list[int | None] = [None] * len(streams)

    def tokens(self) -> Iterator[Emitted]:
        """Yield the tokens of all streams as they arrive, without end.

        Raises
        ------
        HangError
            If none arrives for a long time.
        """
        engine = self._engine
        last = engine.cycles
        while True:
            engine.poke("o__ready", 1)
            self._offer(engine.peek("turn"))
            token = self._received() if engine.peek("o__valid") else None
            engine.step()
            if token:
                last = engine.cycles
                yield token
            elif engine.cycles - last > LONGEST_STEP:
                raise HangError(f"no token in {LONGEST_STEP} cycles")

    def ask(self, stream: int, known: Sequence[int], seed: int | None = None) -> None:
        """Offer a stream another prompt, including the first token of all documents, and a seed."""
        self._known[stream], self._place[stream] = [*known], 0
        self._seeds[stream] = seed

    def stall(self, cycles: int) -> None:
        """Take no token for this many cycles."""
        self._engine.poke("o__ready", 0)
        for _ in range(cycles):
            self._offer(self._engine.peek("turn"))
            self._engine.step()

    def _offer(self, stream: int) -> None:
        """Give a stream in its turn first its seed, and then the known tokens of its documents."""
        engine = self._engine
        known = self._known[stream] if stream < len(self._known) else None
        seed = self._seeds[stream] if known else None
        engine.poke("seed__valid", int(seed is not None))
        engine.poke("i__valid", int(known is not None and seed is None))
        if stream < len(self._scales):
            engine.poke("temperature", self._scales[stream])
        if not known:
            return
        if seed is not None:
            engine.poke("seed__payload", seed)
            if engine.peek("seed__ready"):
                self._seeds[stream] = None
            return
        place = self._place[stream]
        payload = encode(Prompt, token=known[place], last=place + 1 == len(known))
        engine.poke("i__payload", payload)
        if engine.peek("i__ready"):
            self._place[stream] = (place + 1) % len(known)
            if self._endless and self._place[stream] == 0:
                self._known[stream] = None
            if self._since[stream] is None:
                self._since[stream] = engine.cycles

    def _received(self) -> Emitted:
        stream = self._engine.peek("o_stream")
        emitted = received(self._engine, self._since[stream], stream)
        self._since[stream] = emitted.cycle
        return emitted


def generate_streams(
    core: UnrolledCore,
    engine: Engine,
    model: MergedModel,
    streams: Sequence[Stream],
    count: int,
    tell: Tell = silent,
) -> Generation:
    """Generate documents and compare every token with the golden model's.

    Parameters
    ----------
    core, engine, model, streams
        See :class:`StreamSession`; the engine is reset.
    count
        Documents of all streams together.
    tell
        See :data:`.Tell`.

    Raises
    ------
    MismatchError
        With the first token that is not the golden model's.
    """
    engine.reset()
    generation = Generation(engine.cycles - 1)
    golden = [GoldenModel(model).generate(s.seed, s.temperature, s.prompt) for s in streams]
    hardware = compared(StreamSession(core, engine, model, streams).tokens(), *golden)
    generation.collect(hardware, model, [stream.prompt for stream in streams], count, tell)
    generation.cache = cache_counters(engine)
    return generation
