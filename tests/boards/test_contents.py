"""Columns of a bitstream's memories are those of the memories that a design has."""

import pytest
from amaranth.hdl import Fragment

from gptloom.boards.contents import columns, placeholder
from gptloom.boards.design import make_top
from gptloom.boards.table import find_board
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.model.formats import FINE
from gptloom.model.llama_quantise import quantise_llama
from verification.llama import GROUPED, make_checkpoint, with_pieces

DEPTH = 512


class Contents:
    """Stand-in for a platform that collects what memories hold at power-on."""

    def __init__(self):
        self.found = []

    def get_memory(self, memory):
        words = [int(word) for word in memory.data.init]
        # Deeper than what it holds.
        while words and not words[-1]:
            words.pop()
        self.found.append(words)
        return Fragment()


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_a_page_of_text_is_in_two_memories():
    model = quantise_llama(with_pieces(make_checkpoint(GROUPED, 3)), FINE)
    machine = Machine.for_model(32, model)
    image = build_image(model, machine)
    preload = placeholder(image, machine)
    top = make_top(find_board("ulx3s-85f"), image, machine, preload, 80e6)
    platform = Contents()
    Fragment.get(top, platform).prepare(ports=[])
    known = set(columns(preload, machine, DEPTH))
    page = list(preload.page)
    parts = [init for init in platform.found if init and page[: len(init)] == init]
    parts += [init for init in platform.found if init and page[-len(init) :] == init]
    assert sum(map(len, parts)) == len(page)
    assert len(parts) == 2
    for part in parts:
        for base in range(0, len(part), DEPTH):
            words = part[base : base + DEPTH]
            for bit in range(8):
                assert sum((word >> bit & 1) << i for i, word in enumerate(words)) in known
