"""A core under simulation whose every cycle is compared with what it has to be."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.config import ModelConfig
from gptloom.model.golden import GeneratedToken
from gptloom.model.integer import IntegerModel
from gptloom.sim.engines import Engine
from gptloom.sim.generation import CLOCK_MHZ
from gptloom.sim.scoreboard.block import Block
from gptloom.sim.scoreboard.cells import Words
from gptloom.sim.scoreboard.coverage import Coverage
from gptloom.sim.scoreboard.expectation import Expectation
from gptloom.sim.scoreboard.judge import Mismatch, first_mismatch
from gptloom.sim.scoreboard.player import Habits, Player
from gptloom.sim.scoreboard.reference import Reference
from gptloom.sim.session import CoreSession, HangError
from gptloom.sim.waves import Wave, write_vcd

BLOCK = 1 << 14
"""Cycles compared at a time, about: as many as memory holds comfortably."""

WINDOW = 100
"""Cycles of waveform before and after the first difference."""


class DivergenceError(Exception):
    """The core is not what it has to be.

    Attributes
    ----------
    mismatch
        The first difference.
    """

    def __init__(self, mismatch: Mismatch, message: str):
        super().__init__(message)
        self.mismatch = mismatch


class CheckedCore:
    """Drives a core, records it and compares it.

    Parameters
    ----------
    machine
        What `open_engine` simulates a core of.
    open_engine
        Opens a simulation.
    folder
        Where the waveform around a difference is written.
    core
        The hardware, if not the machine's folded core.

    Attributes
    ----------
    session
        For driving it; all of its ports may be poked besides.
    engine
        The simulation. Its recording is the scoreboard's.
    coverage
        Of each shape of model that has been on the core.
    """

    def __init__(
        self,
        machine: Machine,
        open_engine: Callable[[FoldedCore], Engine],
        folder: Path,
        core: FoldedCore | None = None,
    ):
        self.machine = machine
        self.core = core or FoldedCore(machine)
        self.engine = open_engine(self.core)
        self._folder = folder
        self._references: dict[int, Reference] = {}
        self.coverage: dict[ModelConfig, Coverage] = {}

    def reference(self, model: IntegerModel) -> Reference:
        """Return the golden computation of a model on this machine."""
        if id(model) not in self._references:
            self._references[id(model)] = Reference(self.machine, model)
        return self._references[id(model)]

    def power_on(self, model: IntegerModel) -> None:
        """Begin anew, and load a model, unless the core holds one from power-on: then that one."""
        self.engine.reset()
        self._reference = self.reference(model)
        self._expectation = Expectation(self._reference, self._coverage_of(model))
        self._tail = np.zeros((0, self._reference.signals.count), np.uint64)
        self._record()
        self.session = CoreSession(self.core, self.engine, model.tokenizer.bos)
        if not self.core.preload.operands:
            self.load(model)

    def load(self, model: IntegerModel) -> None:
        """Load a model between documents; it is expected from then on."""
        self.check()
        self._reference = self.reference(model)
        self._expectation.use(self._reference, self._coverage_of(model))
        self.session.load(build_image(model, self.machine))

    def documents(self, count: int, prompt: Sequence[int] = ()) -> list[GeneratedToken]:
        """Generate documents as fast as the core can, compare all of it, return the tokens.

        Raises
        ------
        DivergenceError
            At the first difference.
        HangError
            If the core does not answer, and is expected not to.
        """
        tokens: list[GeneratedToken] = []
        try:
            for token in self.session.tokens(prompt):
                tokens.append(token)
                if self.engine.cycles - self._begin >= BLOCK:
                    self.check()
                if token.last and (count := count - 1) == 0:
                    break
        except HangError:
            self.check()
            raise
        # The last token is taken.
        self.engine.step(2)
        self.check()
        return tokens

    def play(self, player: Player, habits: Habits, cycles: int) -> int:
        """Let a player use the core for so many cycles; return how many tokens were taken.

        Raises
        ------
        DivergenceError
            At the first difference.
        """
        engine, taken = self.engine, 0
        before: dict[str, int] = {}
        for cycle in range(cycles):
            for port, value in player.drive(habits).items():
                if before.get(port) != value:
                    engine.poke(port, value)
                    before[port] = value
            taken += player.observe(engine.peek)
            engine.step()
            if cycle % BLOCK == BLOCK - 1:
                self.check()
        self.check()
        return taken

    def check(self) -> None:
        """Compare what was recorded since the last time.

        Raises
        ------
        DivergenceError
            With the first difference and the waveform around it.
        """
        rows, begin = self.engine.recorded_rows(), self._begin
        if len(rows) == 0:
            return
        block = self._expectation.advance(rows, begin)
        mismatch = first_mismatch(rows, block, self._expectation.runs, self._reference)
        if mismatch:
            file = self._save_window(rows, block, mismatch)
            raise DivergenceError(mismatch, f"{mismatch}; waveform in {file}")
        self._tail = rows[-WINDOW:]
        self._record()

    def _coverage_of(self, model: IntegerModel) -> Coverage:
        return self.coverage.setdefault(model.config, Coverage(model.config))

    def _record(self) -> None:
        self._begin = self.engine.cycles
        self.engine.record(self._reference.signals.paths)

    def _save_window(self, rows: Words, block: Block, mismatch: Mismatch) -> Path:
        """Write the recorded signals around the difference, and what was expected of its signal."""
        signals = self._reference.signals
        at = mismatch.cycle - block.begin
        first, stop = max(0, at - WINDOW), at + WINDOW
        before = self._tail[len(self._tail) - max(0, WINDOW - at) :]
        shown = np.concatenate([before, rows[first:stop]])
        waves, recording = [], {}
        for signal in signals.all:
            for word in range(signal.words):
                name = signal.path if signal.words == 1 else f"{signal.path}_word{word}"
                width = min(64, signal.width - 64 * word)
                column = signals.columns[signal.path] + word
                waves.append(Wave(name, width, signal.path.rpartition(".")[0] or "ports"))
                recording[name] = shown[:, column]
                if signal.path == mismatch.signal:
                    for kind, source in (("expected", block.values), ("judged", block.masks)):
                        values = np.zeros(len(shown), np.uint64)
                        values[len(before) :] = source[first:stop, column]
                        waves.append(Wave(f"{kind}.{name}", width, kind))
                        recording[f"{kind}.{name}"] = values
        file = self._folder / f"divergence-{mismatch.cycle}.vcd"
        write_vcd(file, recording, waves, CLOCK_MHZ * 1e6)
        return file
