"""What it saves to keep a prefix's keys and values from one document to the next."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import mean

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.golden import GoldenModel
from gptloom.model.integer import IntegerModel
from gptloom.sim.engines import Engine
from gptloom.sim.generation import compared
from gptloom.sim.session import CoreSession


@dataclass(frozen=True)
class PrefixCycles:
    """Cycles from one document's end to the next one's first token.

    Attributes
    ----------
    known
        Tokens that the next document begins with, as the one before did.
    computed, reused
        Cycles where all of these are computed, and where what is in a slot of the cache is used
        again.
    """

    known: int
    computed: int
    reused: int


def measure_reuse(
    model: IntegerModel, machine: Machine, open_engine: Callable[[FoldedCore], Engine]
) -> Iterator[PrefixCycles]:
    """Yield what is saved for every number of known tokens, counted in simulation.

    Parameters
    ----------
    model
        The network.
    machine
        With slots; it is compared with one that has none.
    open_engine
        Opens a simulation of a core.

    Raises
    ------
    MismatchError
        If a token is not the golden model's, which computes everything anew.
    """
    cores = [FoldedCore(replace(machine, slots=0, slot_words=0, joins=False)), FoldedCore(machine)]
    with ExitStack() as opened:
        engines = [opened.enter_context(open_engine(core)) for core in cores]
        for length in range(model.config.context):
            prompt = [place % model.tokenizer.bos for place in range(length)]
            cycles = (_second(model, *one, prompt) for one in zip(cores, engines, strict=True))
            yield PrefixCycles(length + 1, *cycles)


def _second(model: IntegerModel, core: FoldedCore, engine: Engine, prompt: list[int]) -> int:
    """Return the cycles of the first token of a prompt's second document."""
    engine.reset()
    session = CoreSession(core, engine)
    session.load(build_image(model, core.machine))
    session.temperature(model.logit_scale(1.0))
    session.seed(1)
    seen = compared(session.tokens(prompt), GoldenModel(model).generate(1, 1.0, prompt))
    while not next(seen).last:
        pass
    return next(seen).cycles


@dataclass(frozen=True)
class TurnCycles:
    """Cycles from asking for a document to its first token, where prompts take turns.

    Attributes
    ----------
    slots
        Of the cache; 0 keeps nothing.
    cycles
        Mean over all documents.
    reused, known
        Known tokens that were in a slot, of how many.
    """

    slots: int
    cycles: float
    reused: int
    known: int


TURNS = ("mari", "john", "anna", "marg")
"""Prompts that take turns; the first and the last begin alike."""
ROUNDS = 5


def measure_turns(
    model: IntegerModel, machine: Machine, open_engine: Callable[[FoldedCore], Engine]
) -> TurnCycles:
    """Return what slots save where prompts take turns, counted in simulation.

    Raises
    ------
    MismatchError
        If a token is not the golden model's, which computes everything anew.
    """
    core, cycles = FoldedCore(machine), []
    prompts = [model.tokenizer.encode(prompt) for prompt in TURNS] * ROUNDS
    with open_engine(core) as engine:
        session = CoreSession(core, engine)
        session.load(build_image(model, machine))
        session.temperature(model.logit_scale(0))
        for prompt in prompts:
            golden = GoldenModel(model).generate(1, 0, prompt)
            for place, seen in enumerate(compared(session.tokens(prompt), golden)):
                if place == 0:
                    cycles.append(seen.cycles)
                if seen.last:
                    break
        known = sum(1 + len(prompt) for prompt in prompts)
        return TurnCycles(machine.slots, mean(cycles), session.cache()["reused"], known)
