"""A core under simulation, compared with its expected behaviour in every cycle."""

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
from gptloom.sim.session import CoreSession, HangError
from verification.scoreboard.coverage import Coverage
from verification.scoreboard.expectation import Expectation
from verification.scoreboard.judge import Mismatch, first_mismatch
from verification.scoreboard.player import Habits, Player
from verification.scoreboard.reference import Reference
from verification.scoreboard.window import WINDOW, save_recording, save_window

BLOCK = 1 << 14
"""Approximate number of cycles compared at a time: as many as memory holds comfortably."""


class DivergenceError(Exception):
    """The core differs from its expected behaviour.

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
        Machine of the core to simulate.
    open_engine
        Opens a simulation of a core.
    folder
        Folder for the waveform around a difference.
    core
        The hardware, if not the machine's folded core.
    keep
        Whether to write all waveforms, a file for each block that is compared.

    Attributes
    ----------
    folder, keep
        The parameters; they may be changed.
    session
        Session that drives the core; its ports may be poked as well.
    engine
        The simulation. Its recording is the scoreboard's.
    coverage
        Coverage by shape of model, for all that have been on the core.
    """

    def __init__(
        self,
        machine: Machine,
        open_engine: Callable[[FoldedCore], Engine],
        folder: Path,
        core: FoldedCore | None = None,
        keep: bool = False,
    ):
        self.machine = machine
        self.core = core or FoldedCore(machine)
        self.engine = open_engine(self.core)
        self.folder, self.keep = folder, keep
        self._references: dict[int, Reference] = {}
        self.coverage: dict[ModelConfig, Coverage] = {}

    def reference(self, model: IntegerModel) -> Reference:
        """Return the golden computation of a model on this machine."""
        if id(model) not in self._references:
            self._references[id(model)] = Reference(self.machine, model)
        return self._references[id(model)]

    def power_on(self, model: IntegerModel) -> None:
        """Restart, and load a model, unless the core holds it from power-on."""
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
        """Generate documents at full speed, compare every cycle, return the tokens.

        Raises
        ------
        DivergenceError
            At the first difference.
        HangError
            If the core does not answer, and is not expected to.
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
        """Let a player use the core for a number of cycles; return the number of tokens taken.

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
        """Compare the cycles recorded since the last check.

        Raises
        ------
        DivergenceError
            With the first difference and the waveform around it.
        """
        rows, begin = self.engine.recorded_rows(), self._begin
        if len(rows) == 0:
            return
        if self.keep:
            save_recording(self.folder, self._reference.signals, rows, begin)
        block = self._expectation.advance(rows, begin)
        mismatch = first_mismatch(rows, block, self._expectation.runs, self._reference)
        if mismatch:
            signals = self._reference.signals
            file = save_window(self.folder, signals, block, rows, self._tail, mismatch)
            raise DivergenceError(mismatch, f"{mismatch}; waveform in {file}")
        self._tail = rows[-WINDOW:]
        self._record()

    def _coverage_of(self, model: IntegerModel) -> Coverage:
        return self.coverage.setdefault(model.config, Coverage(model.config, model.precision))

    def _record(self) -> None:
        self._begin = self.engine.cycles
        self.engine.record(self._reference.signals.paths)
