"""What it saves to keep a prefix's keys and values from one document to the next."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
        Cycles where all of these are computed, and where only the last one is.
    """

    known: int
    computed: int
    reused: int


def measure_reuse(
    model: IntegerModel, machine: Machine, open_engine: Callable[[FoldedCore], Engine]
) -> Iterator[PrefixCycles]:
    """Yield what is saved for every number of known tokens, counted in simulation.

    Raises
    ------
    MismatchError
        If a token is not the golden model's, which computes everything anew.
    """
    core, image = FoldedCore(machine), build_image(model, machine)
    with open_engine(core) as engine:
        for length in range(model.config.context):
            prompt = [place % model.tokenizer.bos for place in range(length)]
            cycles = []
            for reuse in (False, True):
                engine.reset()
                session = CoreSession(core, engine, reuse=reuse)
                session.load(image)
                session.temperature(model.logit_scale(1.0))
                session.seed(1)
                golden = GoldenModel(model).generate(1, 1.0, prompt)
                ended = False
                for seen in compared(session.tokens(prompt), golden):
                    if ended:
                        cycles.append(seen.cycles)
                        break
                    ended = seen.last
            yield PrefixCycles(length + 1, *cycles)
