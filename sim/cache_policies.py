"""Caches side by side: what they cost in loss, in state and in cycles."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import mean

import numpy as np

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.cache import Eviction
from gptloom.model.corpus import heldout_documents
from gptloom.model.errors import UserError
from gptloom.model.integer import IntegerModel
from gptloom.model.positions import Positions
from gptloom.model.recurrent import golden_of
from gptloom.model.stream_loss import state_bits, stream_losses
from gptloom.sim.engines import Engine
from gptloom.sim.generation import compared
from gptloom.sim.session import CoreSession

LENGTHS = (16, 128, 512, 4096)
LANES = 16
FULL = 64
"""Rows of the cache that evicts nothing, where cycles are counted."""


@dataclass(frozen=True)
class Policy:
    """A cache; without a number of rows it has as many as the stream has tokens, if any."""

    eviction: Eviction
    rows: int | None = None
    sinks: int = 0

    def __str__(self) -> str:
        if self.eviction is Eviction.RECURRENT:
            return "recurrent sums"
        if self.rows is None:
            return "all rows kept"
        sinks = f", {self.sinks} of them sinks" if self.sinks else ""
        return f"{self.eviction}, {self.rows} rows{sinks}"


POLICIES = (
    Policy(Eviction.NONE),
    Policy(Eviction.WINDOW, 32),
    Policy(Eviction.WINDOW, 16),
    Policy(Eviction.WINDOW, 20, 4),
    Policy(Eviction.WINDOW, 16, 4),
    Policy(Eviction.ATTENTION, 16),
    Policy(Eviction.WINDOW, 8),
    Policy(Eviction.ATTENTION, 8),
    Policy(Eviction.WINDOW, 4),
    Policy(Eviction.ATTENTION, 4),
    Policy(Eviction.RECURRENT),
)


@dataclass(frozen=True)
class PolicyFigures:
    """What was measured of a cache.

    Attributes
    ----------
    policy
        In words.
    losses
        By length of the stream: mean of its second half, in nats per token.
    bits
        Of state by length of the stream.
    cycles
        Of a token with the cache full, of a folded core with ``LANES`` lanes.
    curve
        Loss by position of the streams of 512 tokens.
    """

    policy: str
    losses: dict[int, float]
    bits: dict[int, int]
    cycles: float
    curve: list[float]


def measure_policies(
    model: IntegerModel,
    open_engine: Callable[[FoldedCore], Engine],
    lengths: Sequence[int] = LENGTHS,
    policies: Sequence[Policy] = POLICIES,
    progress: Callable[[str], None] = lambda what: None,
) -> Iterator[PolicyFigures]:
    """Yield the figures of every policy, on the held-out names in a row.

    Raises
    ------
    UserError
        If the model's positions do not go on, or the names are not of its characters.
    MismatchError
        If simulated hardware and golden model differ.
    """
    if model.config.positions is Positions.LEARNED:
        raise UserError(
            "learned positions end with the context, so there is no stream to measure: give a "
            "checkpoint trained with --positions alibi, names-alibi for example"
        )
    streams = {n: model.tokenizer.stream_rows(heldout_documents(), n) for n in lengths}
    for policy in policies:
        if policy.eviction is Eviction.RECURRENT and model.config.layers > 1:
            continue
        losses, bits, curve = {}, {}, np.zeros(0)
        for length, rows in streams.items():
            progress(f"{policy}, {length} tokens")
            cached = _with(model, policy, length)
            found = stream_losses(cached, rows)
            losses[length] = float(found[length // 2 :].mean())
            bits[length] = state_bits(cached.config)
            curve = found if length == 512 else curve
        progress(f"{policy}, cycles")
        cycles = full_cycles(_with(model, policy, FULL), open_engine)
        yield PolicyFigures(str(policy), losses, bits, cycles, curve.tolist())


def full_cycles(model: IntegerModel, open_engine: Callable[[FoldedCore], Engine]) -> float:
    """Return the mean cycles of a token of a core whose cache is full, counted in simulation.

    Raises
    ------
    MismatchError
        If a token is not the golden model's.
    """
    core = FoldedCore(Machine.for_models(LANES, model.config))
    rows = model.config.context
    # So that the token counted is the last one that the cache holds, or one of those after it.
    prompt, counted = [place % model.tokenizer.bos for place in range(rows - 2)], 1
    if model.config.endless:
        counted = 40
    with open_engine(core) as engine:
        session = CoreSession(core, engine)
        session.load(build_image(model, core.machine))
        session.temperature(model.logit_scale(1.0))
        session.seed(1)
        golden = golden_of(model).generate(1, 1.0, prompt)
        tokens = islice(compared(session.tokens(prompt), golden), counted + 1)
        return mean([seen.cycles for seen in tokens][1:])


def _with(model: IntegerModel, policy: Policy, length: int) -> IntegerModel:
    return model.with_cache(policy.rows or length, policy.eviction, policy.sinks)
