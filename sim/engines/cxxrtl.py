"""The design as compiled C++: CXXRTL, and a small driver called through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Fragment
from amaranth.hdl._ir import PortDirection  # not exported, but the only way to name clk and rst
from amaranth.lib import wiring

from .base import Engine, Port, Progress, component_ports
from .build import load_simulation
from .compilers import Compiler

_SLICE = 1 << 18
"""Edges per call into C++, which Ctrl-C cannot interrupt: a fraction of a second."""

_BATCH = 1 << 14
"""Items of a stream per call."""


def design_rtlil(component: wiring.Component, ports: dict[str, Port], domain: ClockDomain) -> str:
    """Convert a component to RTLIL whose top has all ports, ``clk`` and ``rst``.

    Parameters
    ----------
    component : wiring.Component
        The design.
    ports : dict of str to Port
        Its ports, as `component_ports` returns them.
    domain : ClockDomain
        The clock domain to be ``sync``.

    Returns
    -------
    str
        RTLIL without source locations, so that it changes only when the hardware does.
    """
    fragment = Fragment.get(component, None)
    fragment.add_domains(domain)
    # Clock and reset are listed: Amaranth adds them only if they are used.
    directions = {
        "clk": (domain.clk, PortDirection.Input),
        "rst": (domain.rst, PortDirection.Input),
    }
    for port in ports.values():
        direction = PortDirection.Input if port.is_input else PortDirection.Output
        directions[port.name] = (port.signal, direction)
    return rtlil.convert(fragment, ports=directions, emit_src=False)


class CxxrtlEngine(Engine):
    """A simulation compiled by CXXRTL and a C++ compiler.

    Parameters
    ----------
    component : wiring.Component
        The design, with one clock domain, ``sync``.
    compiler : Compiler
        Compiler of the simulation, unless it is in the cache.
    cache : Path
        Folder of compiled simulations.
    progress : callable
        Called with a sentence about each slow step.
    every_name : bool, optional
        Whether signals of a large design that are not registers can be read too.
    identity, thorough : optional
        See `load_simulation`.
    """

    name = "cxxrtl"

    def __init__(
        self,
        component: wiring.Component,
        compiler: Compiler,
        cache: Path,
        progress: Progress,
        every_name: bool = False,
        identity: str | None = None,
        thorough: bool = False,
    ):
        domain = ClockDomain("sync")
        ports = component_ports(component)
        super().__init__(ports | {"rst": Port("rst", domain.rst, True)})
        # Amaranth warns of designs that it has not seen.
        component._MustUse__used = True
        self.description = f"CXXRTL compiled by {compiler.title}"
        self._library = _declare(
            load_simulation(
                lambda: design_rtlil(component, ports, domain),
                compiler,
                cache,
                progress,
                every_name,
                identity,
                thorough,
            )
        )
        self._simulation = self._library.gptloom_open()
        self._handles: dict[str, tuple[int, int]] = {}
        self._poke_inits()

    def close(self) -> None:
        """Free the simulation; nothing may be called afterwards."""
        if self._simulation:
            self._library.gptloom_close(self._simulation)
            self._simulation = None

    def _find(self, name: str) -> tuple[int, int]:
        found = self._handles.get(name)
        if found is None:
            # CXXRTL separates the levels of the hierarchy with spaces.
            path = name.replace(".", " ")
            handle, width = self._open(path)
            if handle < 0:
                handle, width = self._open(self._numbered(name, path, self._names()))
            if handle < 0:
                raise self._unknown(name)
            found = self._handles[name] = (handle, width)
        return found

    def _open(self, path: str) -> tuple[int, int]:
        width = ctypes.c_uint32()
        find = self._library.gptloom_find
        return find(self._simulation, path.encode(), ctypes.byref(width)), width.value

    def _names(self) -> Iterator[str]:
        for number in count():
            name = self._library.gptloom_name(self._simulation, number)
            if name is None:
                return
            yield name.decode()

    def _width(self, name: str) -> int:
        return self._find(name)[1]

    def _poke(self, port: Port, value: int) -> None:
        handle, width = self._find(port.name)
        words = (width + 31) // 32
        data = value.to_bytes(4 * words, "little")
        self._library.gptloom_poke(self._simulation, handle, data)

    def _peek(self, name: str) -> int:
        handle, width = self._find(name)
        words = (ctypes.c_uint32 * ((width + 31) // 32))()
        self._library.gptloom_peek(self._simulation, handle, words)
        return int.from_bytes(bytes(words), "little")

    def _run(self, max_cycles: int, until: str | None) -> int:
        handle = -1 if until is None else self._find(until)[0]
        done = 0
        while done < max_cycles:
            ask, rows = min(max_cycles - done, _SLICE), None
            if self._is_recording:
                space = self._recording.space()
                ask, rows = min(ask, len(space)), space.ctypes.data
            made = self._library.gptloom_run(self._simulation, ask, handle, rows)
            if self._is_recording:
                self._recording.claim(made)
            done += made
            self.cycles += made
            if made < ask:
                break
        return done

    def _send(self, stream: str, items: Iterable[int], patience: int) -> bool:
        if self._is_recording:
            return super()._send(stream, items, patience)
        payload, ready = (self._find(f"{stream}__{name}")[0] for name in ("payload", "ready"))
        send, made = self._library.gptloom_send, ctypes.c_uint64()
        rest = iter(items)
        while part := [*islice(rest, _BATCH)]:
            words = (ctypes.c_uint64 * len(part))(*part)
            place = (self._simulation, payload, ready)
            taken = send(*place, words, len(part), patience, ctypes.byref(made))
            self.cycles += made.value
            if taken < len(part):
                return False
        return True

    def _reset(self) -> None:
        self._library.gptloom_reset(self._simulation)
        self._poke_inits()

    def _poke_inits(self) -> None:
        # RTLIL has no initial values for inputs: CXXRTL starts them at zero.
        for port in self._ports.values():
            if port.is_input and port.init:
                self._poke(port, port.init)

    def _probe(self, names: Sequence[str]) -> None:
        handles = [self._find(name)[0] for name in names]
        array = (ctypes.c_int * len(handles))(*handles)
        self._library.gptloom_record(self._simulation, array, len(handles))


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer = ctypes.c_void_p
    signatures = {
        "gptloom_open": (pointer, []),
        "gptloom_close": (None, [pointer]),
        "gptloom_reset": (None, [pointer]),
        "gptloom_find": (ctypes.c_int, [pointer, ctypes.c_char_p, pointer]),
        "gptloom_name": (ctypes.c_char_p, [pointer, ctypes.c_size_t]),
        "gptloom_peek": (None, [pointer, ctypes.c_int, pointer]),
        "gptloom_poke": (None, [pointer, ctypes.c_int, ctypes.c_char_p]),
        "gptloom_record": (None, [pointer, pointer, ctypes.c_size_t]),
        "gptloom_send": (
            ctypes.c_size_t,
            [
                pointer,
                ctypes.c_int,
                ctypes.c_int,
                pointer,
                ctypes.c_size_t,
                ctypes.c_uint64,
                pointer,
            ],
        ),
        "gptloom_run": (ctypes.c_uint64, [pointer, ctypes.c_uint64, ctypes.c_int, pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
