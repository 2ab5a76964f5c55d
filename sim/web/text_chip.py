"""The chip of the page that writes text: a core with its model in it, and its ports as pins."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.image import Image
from gptloom.firmware.machine import Machine
from gptloom.hdl.core import TOKEN_BITS, Prompt
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.folded.layouts import Temperature
from gptloom.hdl.preload import Preload
from gptloom.model.sampling import SEED_BITS

TOLD = data.StructLayout({"seeded": 1, "taken": 1, "sampled": 1, "last": 1, "token": TOKEN_BITS})
"""Events of a cycle: the seed is taken; a known token is; a token leaves, which may be its
document's last one."""


class TextChip(wiring.Component):
    """A core with a model in its memories from power-on.

    Parameters
    ----------
    image, machine
        The model, and dimensions of the core.

    Attributes
    ----------
    machine
        The dimensions.
    i : In(stream of Prompt)
        Known tokens.
    seed : In(stream)
        State of the random numbers.
    temperature : In(Temperature)
        Temperature of the core.
    event, sampled, taken, seeded : Out(1)
        Whether `told` holds an event, and which.
    told : Out(TOLD)
        Events of the cycle.
    """

    def __init__(self, image: Image, machine: Machine):
        self.machine = machine
        self._core = FoldedCore(machine, preload=Preload.of(image, machine))
        super().__init__(
            {
                "i": In(stream.Signature(Prompt)),
                "seed": In(stream.Signature(SEED_BITS)),
                "temperature": In(Temperature),
                "event": Out(1),
                "sampled": Out(1),
                "taken": Out(1),
                "seeded": Out(1),
                "told": Out(TOLD),
            }
        )

    def elaborate(self, platform):
        """Connect the core, and report the events of the cycle."""
        m = Module()
        m.submodules.core = core = self._core
        wiring.connect(m, core.i, wiring.flipped(self.i))
        wiring.connect(m, core.seed, wiring.flipped(self.seed))
        m.d.comb += [
            core.temperature.eq(self.temperature),
            core.o.ready.eq(1),
            self.seeded.eq(self.seed.valid & self.seed.ready),
            self.taken.eq(self.i.valid & self.i.ready),
            self.sampled.eq(core.o.valid),
            self.event.eq(self.seeded | self.taken | self.sampled),
            self.told.seeded.eq(self.seeded),
            self.told.taken.eq(self.taken),
            self.told.sampled.eq(self.sampled),
            self.told.last.eq(core.o.p.last),
            self.told.token.eq(core.o.p.token),
        ]
        return m
