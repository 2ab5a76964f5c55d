"""Words of layer 0 that depend on a token and its position alone, precomputed."""

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Cat, Module, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.hdl.attributes import BLOCK_RAM


class Table(wiring.Component):
    """Words by (token, position), all of them side by side in one memory row.

    Parameters
    ----------
    entries
        Integer arrays [vocabulary, positions, words], by name.
    bits
        Width of a word, by name.

    Attributes
    ----------
    latency
        Cycles from address to words: 1.
    enable : In(1)
        Read; the words hold until the next read.
    token, position : In
        Address; the position has no bits if there is only one.
    every name : Out(signed) of every word
        Words read.
    """

    latency = 1

    def __init__(self, entries: dict[str, np.ndarray], bits: dict[str, int]):
        vocabulary, places, _ = next(iter(entries.values())).shape
        self._entries, self._bits = entries, bits
        super().__init__(
            {
                "enable": In(1),
                "token": In(range(vocabulary)),
                "position": In(range(places)),
                **{
                    name: Out(signed(bits[name])).array(words.shape[-1])
                    for name, words in entries.items()
                },
            }
        )

    def elaborate(self, platform):
        m = Module()
        names = list(self._entries)
        widths = [self._bits[name] * len(getattr(self, name)) for name in names]
        m.submodules.memory = memory = Memory(
            shape=unsigned(sum(widths)),
            depth=1 << len(self.token) + len(self.position),
            init=self._rows(names),
            attrs=BLOCK_RAM,
        )
        read = memory.read_port()
        m.d.comb += [read.addr.eq(Cat(self.position, self.token)), read.en.eq(self.enable)]
        words = [word for name in names for word in getattr(self, name)]
        m.d.comb += Cat(words).eq(read.data)
        return m

    def _rows(self, names: Sequence[str]) -> list[int]:
        """Return the memory's contents, the first word of the first name in the lowest bits."""
        rows = []
        for token in range(1 << len(self.token)):
            for position in range(1 << len(self.position)):
                row, at = 0, 0
                for name in names:
                    entries, bits = self._entries[name], self._bits[name]
                    there = token < entries.shape[0] and position < entries.shape[1]
                    for word in entries[token, position] if there else [0] * entries.shape[2]:
                        row |= (int(word) & (1 << bits) - 1) << at
                        at += bits
                rows.append(row)
        return rows
