"""RAM cells of memories, compared with yosys itself."""

import random
import re
from collections import Counter

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, Module, Signal, unsigned
from amaranth.lib.memory import Memory

from gptloom.boards.ecp5 import ECP5
from gptloom.boards.families import FAMILIES
from gptloom.boards.ice40 import ICE40
from gptloom.boards.memories import Placed, find_memories, place, place_all
from gptloom.boards.tools import Tools

#: Words, width, write enables (0: a ROM), readers; the core's memories first.
SHAPES = [
    (512, 32, 4, 1), (64, 32, 4, 1), (2048, 32, 4, 1), (16, 160, 16, 1), (32, 80, 8, 1),
    (4, 40, 4, 1), (16, 10, 1, 1), (7, 48, 4, 1), (27, 12, 1, 1), (1024, 12, 0, 1),
    (432, 8, 0, 1), (108, 32, 0, 1), (256, 8, 0, 1), (16, 40, 0, 1), (32, 5, 1, 1),
]  # fmt: skip


#: Libraries with which synth_ice40 and synth_ecp5 map memories.
LIBRARIES = {"ice40": ["ice40/brams"], "ecp5": ["lattice/lutrams_trellis", "lattice/brams_16kd"]}
CELLS = {
    "blocks": "t:$__ICE40_RAM4K_ t:$__DP16KD_ t:$__PDPW16KD_",
    "distributed": "t:$__TRELLIS_DPR16X4_",
}


def some_shapes():
    draw = random.Random(1)
    for _ in range(20):
        enables = draw.choice([0, 1, 1, 2, 4])
        width = max(enables, 1) * draw.randint(1, 10)
        yield draw.randint(2, 1200 if width < 12 else 300), width, enables, draw.choice([1, 1, 2])


class Memories(Elaboratable):
    """Memories of many shapes, named by their index in a list; all ports are top-level ports."""

    def __init__(self, shapes):
        self.shapes, self.ports = list(shapes), []

    def elaborate(self, platform):
        m = Module()
        draw = random.Random(2)
        for number, (words, width, enables, readers) in enumerate(self.shapes):
            # Contents that logic optimisation cannot simplify.
            init = [draw.getrandbits(width) for _ in range(words)]
            memory = Memory(shape=unsigned(width), depth=words, init=init)
            m.submodules[f"memory_{number}"] = memory
            ports = [memory.read_port() for _ in range(readers)]
            outside = [(port.addr, port.data, None, None) for port in ports]
            if enables:
                port = memory.write_port(granularity=width // enables)
                outside.append((port.addr, None, port.data, port.en))
            for kind, (address, read, write, enable) in enumerate(outside):
                for name, signal in dict(address=address, write=write, enable=enable).items():
                    if signal is not None:
                        pin = Signal(len(signal), name=f"{name}_{number}_{kind}")
                        self.ports.append(pin)
                        m.d.comb += signal.eq(pin)
                if read is not None:
                    pin = Signal(len(read), name=f"read_{number}_{kind}")
                    self.ports.append(pin)
                    m.d.comb += pin.eq(read)
        return m


@pytest.mark.long
@pytest.mark.parametrize("family", ["ice40", "ecp5"])
def test_yosys_places_memories_the_same_way(family, tmp_path):
    shapes = [*SHAPES, *some_shapes()]
    design = Memories(shapes)
    module = design.elaborate(None)
    design.elaborate = lambda platform: module
    (tmp_path / "top.il").write_text(rtlil.convert(design, ports=design.ports))
    libraries = " ".join(f"-lib +/{name}.txt" for name in LIBRARIES[family])
    script = ["read_rtlil top.il", "proc", "flatten", "memory -nomap", f"memory_libmap {libraries}"]
    script += [f"select -write {kind} top/{types}" for kind, types in CELLS.items()]
    Tools().run("yosys", ["-q", "-p", "; ".join(script)], tmp_path)
    found = Counter(
        (int(number), kind)
        for kind in CELLS
        for number in re.findall(
            r"^top/memory_(\d+)\.", (tmp_path / kind).read_text(), re.MULTILINE
        )
    )
    assert {"blocks"} <= {kind for _, kind in found}
    for number, shape in enumerate(find_memories(Memories(shapes))):
        placed = place(shape, FAMILIES[family].rams)
        expected = found[number, "blocks"], found[number, "distributed"]
        assert (placed.blocks, placed.distributed) == expected, shape


def test_memories_are_found_with_their_dimensions():
    found = find_memories(Memories(SHAPES))
    assert [(s.words, s.width, s.enables, s.readers) for s in found] == SHAPES
    assert found[3].name == "memory_3"


def test_the_design_may_ask_for_blocks():
    class Design(Elaboratable):
        def elaborate(self, platform):
            m = Module()
            m.submodules.small = memory = Memory(
                shape=unsigned(8), depth=16, init=[], attrs={"rom_style": "block"}
            )
            memory.read_port()
            return m

    (shape,) = find_memories(Design())
    assert shape.in_blocks
    assert place(shape, ECP5.rams) == Placed(blocks=1)


def test_what_is_placed_adds_up():
    one = Placed(blocks=1, multiplexers=3)
    assert one + Placed(distributed=2, rom_bits=5, register_bits=7) == Placed(1, 2, 3, 5, 7)
    assert place_all([], ICE40.rams) == Placed()
