"""Recorded signals as waveforms: all of a block, or those around a difference."""

from pathlib import Path

import numpy as np

from gptloom.sim.generation import CLOCK_MHZ
from gptloom.sim.waves import Wave, write_vcd
from verification.scoreboard.block import Block
from verification.scoreboard.cells import Words
from verification.scoreboard.judge import Mismatch
from verification.scoreboard.signals import Signal, Signals

WINDOW = 100
"""Cycles of waveform before and after the first difference."""

Recording = tuple[list[Wave], dict[str, Words]]


def save_recording(folder: Path, signals: Signals, rows: Words, begin: int) -> Path:
    """Write a block's recorded signals; return the file.

    Parameters
    ----------
    folder
       Destination folder.
    signals
       Signals of the columns.
    rows
        [cycles, columns] as recorded.
    begin
        Number of the first cycle, part of the file's name after a running number.
    """
    number = len(list(folder.glob("*.vcd")))
    return _write(folder / f"{number:03}-from-{begin}.vcd", _all(signals, rows))


def save_window(
    folder: Path, signals: Signals, block: Block, rows: Words, before: Words, mismatch: Mismatch
) -> Path:
    """Write the recording around a difference, with the expected values of its signal.

    Parameters
    ----------
    folder
       Destination folder.
    signals
       Signals of the columns.
    block, rows
       Expected and recorded values of the block with the difference.
    before
       Rows recorded before the block, for the window if the difference comes early.
    mismatch
        The difference.
    """
    at = mismatch.cycle - block.begin
    part = slice(max(0, at - WINDOW), at + WINDOW)
    before = before[len(before) - min(len(before), max(0, WINDOW - at)) :]
    waves, recording = _all(signals, np.concatenate([before, rows[part]]))
    for name, width, column in _columns(signals, signals.by_path[mismatch.signal]):
        for kind, source in (("expected", block.values), ("judged", block.masks)):
            nothing = np.zeros(len(before), np.uint64)
            recording[f"{kind}.{name}"] = np.concatenate([nothing, source[part, column]])
            waves.append(Wave(f"{kind}.{name}", width, kind))
    return _write(folder / f"divergence-{mismatch.cycle}.vcd", (waves, recording))


def _all(signals: Signals, rows: Words) -> Recording:
    waves, recording = [], {}
    for signal in signals.all:
        scope = signal.path.rpartition(".")[0] or "ports"
        for name, width, column in _columns(signals, signal):
            waves.append(Wave(name, width, scope))
            recording[name] = rows[:, column]
    return waves, recording


def _columns(signals: Signals, signal: Signal) -> list[tuple[str, int, int]]:
    """Return name, width and column of each word of a signal."""
    first = signals.columns[signal.path]
    names = [f"{signal.path}_word{i}" for i in range(signal.words)]
    if signal.words == 1:
        names = [signal.path]
    return [(name, min(64, signal.width - 64 * i), first + i) for i, name in enumerate(names)]


def _write(file: Path, recording: Recording) -> Path:
    waves, values = recording
    file.parent.mkdir(parents=True, exist_ok=True)
    write_vcd(file, values, waves, CLOCK_MHZ * 1e6)
    return file
