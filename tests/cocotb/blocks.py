"""The core's blocks side by side, so that one build serves all of their benches."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.mac_array import MacArray
from gptloom.hdl.folded.memories import OperandMemory
from gptloom.hdl.folded.norm import Norm
from gptloom.hdl.folded.requantise import Requantise, ScoreQuantise
from gptloom.hdl.folded.sampler import Sampler
from gptloom.hdl.folded.softmax import Softmax
from gptloom.hdl.folded.writeback import Writeback
from gptloom.model.config import ModelConfig

SHAPE = ModelConfig(hidden=128)
MACHINE, WIDE = Machine.for_models(16, SHAPE), Machine.for_models(32, SHAPE)


def make_blocks():
    """Blocks by name; what they are is up to the benches."""
    return dict(
        mac_array=MacArray(MACHINE),
        requantise=Requantise(24),
        deep=Requantise(24, deep=True),
        quantise=ScoreQuantise(24),
        norm=Norm(WIDE),
        softmax=Softmax(MACHINE),
        sampler=Sampler(MACHINE),
        wide_sampler=Sampler(WIDE),
        writeback=Writeback(MACHINE),
        operands=OperandMemory(MACHINE),
    )


class Blocks(wiring.Component):
    """Each block's ports under its name."""

    def __init__(self):
        self.blocks = make_blocks()
        super().__init__({name: Out(block.signature) for name, block in self.blocks.items()})

    def elaborate(self, platform):
        m = Module()
        for name, block in self.blocks.items():
            m.submodules[f"block_{name}"] = block
            wiring.connect(m, block, wiring.flipped(getattr(self, name)))
        return m
