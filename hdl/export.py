"""A core as Verilog, for designs that are not written in Amaranth."""

from amaranth.back import verilog
from amaranth.hdl import Module, Shape
from amaranth.lib import wiring

from gptloom.hdl.core import (
    Address,
    CacheCounters,
    CoreSignature,
    Counters,
    Prompt,
    Token,
    Write,
)
from gptloom.hdl.folded.layouts import Temperature

PORTS = {
    "clk": "clock; everything happens at its rising edge",
    "rst": "synchronous reset, active high",
    "i__valid": "a known token is offered",
    "i__payload": "it; a document's first one begins it, the core goes on after `last`",
    "i__ready": "it is taken at this edge",
    "o__valid": "a sampled token is offered",
    "o__payload": "it; `last` ends the document",
    "o__ready": "you take it at this edge; the core runs one token ahead, then waits",
    "temperature": "how logits are scaled; taken at the start of every token",
    "seed__valid": "a state of the random numbers is offered; taken between documents",
    "seed__payload": "it; 0 is taken as 1",
    "seed__ready": "it is taken at this edge",
    "load__valid": "a byte of an image is offered; taken between documents",
    "load__payload": "it, and where it belongs",
    "load__ready": "it is taken at this edge",
    "read__valid": "a byte of the memories is asked for; answered between documents",
    "read__payload": "where it is",
    "read__ready": "`read_data` is the answer at this edge",
    "read_data": "the byte asked for",
    "busy": "a document is under way",
    "counters": "since reset, modulo 2**32",
    "cache": "rows of the KV cache in use, and since reset, modulo 2**32: written, attended, "
    "evicted, documents that found some of theirs, and these rows",
}
"""Meaning of each port; names and widths are those of the Verilog."""

FIELDS = {
    "i__payload": Prompt,
    "o__payload": Token,
    "temperature": Temperature,
    "load__payload": Write,
    "read__payload": Address,
    "counters": Counters,
    "cache": CacheCounters,
}
"""Fields of the ports that have several, lowest bits first."""


class Core(wiring.Component):
    """A core with only the interface that all cores share.

    Parameters
    ----------
    core
        A component with the members of :class:`.CoreSignature`, and perhaps others.
    """

    def __init__(self, core: wiring.Component):
        self._core = core
        super().__init__(CoreSignature())

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = self._core
        for name in CoreSignature().members:
            port, inner = getattr(self, name), getattr(self._core, name)
            member = CoreSignature().members[name]
            if member.is_signature:
                wiring.connect(m, wiring.flipped(port), inner)
            elif member.flow == wiring.In:
                m.d.comb += inner.eq(port)
            else:
                m.d.comb += port.eq(inner)
        return m


def describe(name: str) -> str:
    """Return a description of a port's bits: ``[22] last, [21:12] position, [11:0] token``."""
    if name not in FIELDS:
        return ""
    shape = FIELDS[name]
    layout = shape if not isinstance(shape, type) else shape.as_shape()
    parts = []
    for field, place in reversed(list(layout)):
        high = place.offset + Shape.cast(place.shape).width - 1
        bits = f"[{high}:{place.offset}]" if high > place.offset else f"[{high}]"
        parts.append(f"{bits} {field}")
    return ", ".join(parts)


def export(core: wiring.Component, name: str, about: str) -> str:
    """Return a core as Verilog, its ports described at the top.

    Parameters
    ----------
    core
        See :class:`Core`.
    name
        Name of the Verilog module.
    about
        Lines of text that describe it.
    """
    lines = [*about.splitlines(), "", "Ports:"]
    for port, meaning in PORTS.items():
        bits = describe(port)
        lines.append(f"  {port:14} {meaning}" + (f": {bits}" if bits else ""))
    header = "".join(f"// {line}".rstrip() + "\n" for line in lines)
    return header + "\n" + verilog.convert(Core(core), name=name, emit_src=False)
