"""Interface of all simulation engines, and the code that they share."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from amaranth.hdl import Signal, Value
from amaranth.lib import wiring

Progress = Callable[[str], None]

WORD_BITS = 64
"""Bits of a recorded number; wider signals are recorded as several."""

_NUMBER = re.compile(r"\$\d+")
_CHUNK_ROWS = 1 << 16
"""Rows per block of a recording, so that growing never copies earlier rows."""


@dataclass(frozen=True)
class Port:
    """One of the top's ports, flattened.

    Attributes
    ----------
    name : str
        Amaranth's name for the port of a top level (``o__payload__token``).
    signal : Signal
        The signal behind it.
    is_input : bool
        Whether the outside world drives it.
    """

    name: str
    signal: Signal
    is_input: bool

    @property
    def width(self) -> int:
        """Width in bits."""
        return len(self.signal)

    @property
    def init(self) -> int:
        """Power-on value, as an unsigned number."""
        return self.signal.init & ((1 << self.width) - 1)


def component_ports(component: wiring.Component) -> dict[str, Port]:
    """Flatten a component's signature as Amaranth does for a top level.

    Parameters
    ----------
    component : wiring.Component
        The design to be simulated.

    Returns
    -------
    dict of str to Port
        The ports by name, without the clock and the reset.

    Raises
    ------
    ValueError
        If a port has the name of the clock or the reset.
    """
    ports = {}
    for path, member, value in component.signature.flatten(component):
        name = "__".join(map(str, path))
        if name in ("clk", "rst"):
            raise ValueError(f"the port {name!r} takes the name of the sync domain's own port")
        ports[name] = Port(name, Value.cast(value), member.flow is wiring.In)
    return ports


class Recording:
    """Recorded values, one row per clock edge, in blocks of fixed size.

    Parameters
    ----------
    widths : mapping of str to int
        Bits of the signals by name; each has as many columns of 64 bits as it needs.
    """

    def __init__(self, widths: Mapping[str, int]):
        self._words = {name: max(1, -(-width // WORD_BITS)) for name, width in widths.items()}
        self._columns = sum(self._words.values())
        self._blocks: list[np.ndarray] = []
        self._used = _CHUNK_ROWS

    def space(self) -> np.ndarray:
        """Return the free rows at the end, at least one, to be filled and then claimed."""
        if self._used == _CHUNK_ROWS:
            self._blocks.append(np.zeros((_CHUNK_ROWS, self._columns), np.uint64))
            self._used = 0
        return self._blocks[-1][self._used :]

    def claim(self, rows: int) -> None:
        """Count the first of the rows returned by `space` as recorded."""
        self._used += rows

    def rows(self) -> np.ndarray:
        """Return all signals' words in order, [edges, columns]."""
        if not self._blocks:
            return np.zeros((0, self._columns), np.uint64)
        return np.concatenate([*self._blocks[:-1], self._blocks[-1][: self._used]])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the signals by name, as contiguous copies: [edges], or [edges, words]."""
        blocks = [*self._blocks[:-1], self._blocks[-1][: self._used]] if self._blocks else []
        empty = np.zeros((0, self._columns), np.uint64)
        arrays, column = {}, 0
        for name, words in self._words.items():
            place = column if words == 1 else slice(column, column + words)
            arrays[name] = np.concatenate([block[:, place] for block in [empty, *blocks]])
            column += words
        return arrays


class Engine(ABC):
    """A running simulation of one component, clocked edge by edge.

    All values are unsigned numbers, regardless of the signal's shape.

    Attributes
    ----------
    name : str
        ``cxxrtl`` or ``pysim``.
    description : str
        Description of the simulator for people: the compiler, or why there is none.
    ports : tuple of str
        The top's port names, flattened, and ``rst``.
    cycles : int
        Clock edges since power-on.
    """

    name: str
    description: str

    def __init__(self, ports: dict[str, Port]):
        self._ports = ports
        self.ports = tuple(ports)
        self.cycles = 0
        self._recording: Recording | None = None
        self._is_recording = False

    def poke(self, port: str, value: int) -> None:
        """Drive an input from now on.

        Parameters
        ----------
        port : str
            An input's name.
        value : int
            Unsigned value, within the port's width.

        Raises
        ------
        KeyError
            If there is no such port.
        ValueError
            If the port is an output, or too narrow for the value.
        """
        target = self._port(port)
        if not target.is_input:
            raise ValueError(f"the port {port!r} is an output and cannot be driven")
        if not 0 <= value < 1 << target.width:
            raise ValueError(
                f"the port {port!r} has {target.width} bits and takes 0 to "
                f"{(1 << target.width) - 1}, not {value}"
            )
        self._poke(target, value)

    def peek(self, port: str) -> int:
        """Read a port or a named internal signal, settled, in the present cycle.

        Parameters
        ----------
        port : str
            A port's name, or the path of an internal signal (``sub.signal``); numbers that
            Amaranth adds to make names unique (``sub$7.signal``) may be left out.

        Returns
        -------
        int
            The unsigned value; combinational paths from poked inputs are included.

        Raises
        ------
        KeyError
            If there is no such signal.
        """
        return self._peek(port)

    def width(self, name: str) -> int:
        """Return the bits of a port or a named internal signal."""
        return self._width(name)

    def step(self, cycles: int = 1) -> None:
        """Make rising clock edges.

        Parameters
        ----------
        cycles : int
            Number of edges.
        """
        self._run(cycles, None)

    def run(self, max_cycles: int, until: str | None = None) -> int:
        """Make clock edges until a signal is high.

        The signal is checked before each edge, settled, so that it is still high in the present
        cycle if it ended the run.

        Parameters
        ----------
        max_cycles : int
            The most edges to make.
        until : str, optional
            A 1-bit port or signal; without it exactly `max_cycles` edges are made.

        Returns
        -------
        int
            Number of edges made: 0 if `until` was high already.

        Raises
        ------
        KeyError
            If there is no such signal.
        ValueError
            If `until` is wider than one bit.
        """
        if until is not None and (width := self._width(until)) != 1:
            raise ValueError(f"{until!r} has {width} bits, but only a 1-bit signal can end a run")
        return self._run(max_cycles, until)

    def send(self, stream: str, items: Iterable[int], patience: int) -> bool:
        """Hand items to an input stream, each in the first cycle in which it is ready.

        Parameters
        ----------
        stream : str
            The stream's name; its items have at most 64 bits.
        items : iterable of int
            Payloads.
        patience : int
            Most edges to wait for one of them.

        Returns
        -------
        bool
            Whether all were taken.
        """
        self.poke(f"{stream}__valid", 1)
        taken = self._send(stream, items, patience)
        self.poke(f"{stream}__valid", 0)
        return taken

    def _send(self, stream: str, items: Iterable[int], patience: int) -> bool:
        for item in items:
            self.poke(f"{stream}__payload", item)
            self.run(patience, f"{stream}__ready")
            if not self.peek(f"{stream}__ready"):
                return False
            self.step()
        return True

    def reset(self) -> None:
        """Return registers, memories and inputs to their power-on state, and count from 0.

        A recording continues.
        """
        self._reset()
        self.cycles = 0

    def record(self, signals: Sequence[str]) -> None:
        """Begin to record signals, sampled just before each clock edge.

        An earlier recording is dropped.

        Parameters
        ----------
        signals : sequence of str
            Ports, or internal signals (``sub.signal``).

        Raises
        ------
        KeyError
            If there is no such signal.
        """
        widths = {name: self._width(name) for name in signals}
        self._probe(tuple(widths))
        self._recording = Recording(widths)
        self._is_recording = True

    def recording(self) -> dict[str, np.ndarray]:
        """Return the recorded values.

        Returns
        -------
        dict of str to numpy.ndarray
            uint64 arrays by signal, one value per clock edge since `record`; for a signal wider
            than 64 bits [edges, words], the lowest word first. Empty without a recording.
        """
        return self._recording.arrays() if self._recording else {}

    def recorded_rows(self) -> np.ndarray:
        """Return the recorded values as one array, [edges, words of all signals in order]."""
        return self._recording.rows() if self._recording else np.zeros((0, 0), np.uint64)

    def stop_recording(self) -> None:
        """Record no further edges; earlier ones stay readable."""
        self._is_recording = False

    @abstractmethod
    def close(self) -> None:
        """Free the simulation; nothing may be called afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _port(self, name: str) -> Port:
        try:
            return self._ports[name]
        except KeyError:
            raise self._unknown(name) from None

    def _unknown(self, name: str) -> KeyError:
        return KeyError(f"the design has no signal {name!r}; its ports are {', '.join(self.ports)}")

    def _numbered(self, name: str, path: str, known: Iterable[str]) -> str:
        """Return the known name that equals `path` except for numbers that make names unique.

        If two things of one scope have the same name, Amaranth calls one of them ``name$7``.
        """
        found = [other for other in known if _NUMBER.sub("", other) == path]
        if len(found) != 1:
            raise self._unknown(name)
        return found[0]

    @abstractmethod
    def _width(self, name: str) -> int: ...

    @abstractmethod
    def _poke(self, port: Port, value: int) -> None: ...

    @abstractmethod
    def _peek(self, name: str) -> int: ...

    @abstractmethod
    def _run(self, max_cycles: int, until: str | None) -> int: ...

    @abstractmethod
    def _reset(self) -> None: ...

    @abstractmethod
    def _probe(self, names: Sequence[str]) -> None: ...
