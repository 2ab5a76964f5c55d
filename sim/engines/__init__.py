"""Simulation engines behind one interface."""

from __future__ import annotations

from amaranth.lib import wiring

from gptloom.model.errors import UserError

from .base import Engine, Progress
from .cache import cache_folder
from .compilers import find_quick_compiler
from .cxxrtl import CxxrtlEngine
from .pysim import PysimEngine

__all__ = ["KINDS", "Engine", "open_engine"]

KINDS = ("auto", "cxxrtl", "pysim")
"""Names of the engines to choose from."""


def _silent(message: str) -> None:
    """Drop a progress message."""


def open_engine(
    component: wiring.Component,
    kind: str = "auto",
    *,
    progress: Progress = _silent,
    every_name: bool = False,
    identity: str | None = None,
    thorough: bool = False,
) -> Engine:
    """Open a simulation of a component.

    Parameters
    ----------
    component : wiring.Component
        The design, with one clock domain, ``sync``.
    kind : str
        One of `KINDS`; ``auto`` is CXXRTL where a C++ compiler is found, and Amaranth's own
        simulator otherwise.
    progress : callable, optional
        Called with short sentences about slow steps and about a missing compiler.
    every_name : bool, optional
        Whether all signals can be read and recorded; without it, only ports and registers of a
        large design, whose compilation then takes half as long.
    identity : str, optional
        Everything that the design depends on, as text: a large one is then not looked at again if
        its simulation is kept.
    thorough : bool, optional
        Whether to optimise a large design as well as a small one: compilation takes minutes, and a
        run of millions of cycles a tenth of the time.

    Returns
    -------
    Engine
        The engine at its power-on state; also a context manager.

    Raises
    ------
    UserError
        For an unknown kind, a missing compiler with ``cxxrtl``, or a failed compile.
    """
    if kind not in KINDS:
        raise UserError(f"there is no simulation engine {kind!r}: choose one of {', '.join(KINDS)}")
    if kind == "pysim":
        return PysimEngine(component)
    compiler = find_quick_compiler()
    if compiler is not None:
        return CxxrtlEngine(
            component, compiler, cache_folder(), progress, every_name, identity, thorough
        )
    if kind == "cxxrtl":
        raise UserError(
            "no C++ compiler was found for the engine cxxrtl: run `pip install 'gptloom[zig]'`, "
            "or choose the engine pysim"
        )
    progress(
        "No C++ compiler was found: using Amaranth's own simulator, which is several hundred times "
        "slower (`pip install 'gptloom[zig]'` brings a compiler)"
    )
    return PysimEngine(component, reason="no C++ compiler found")
