"""Waveform files from recorded signals, for GTKWave and Surfer."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import numpy as np
from vcd.gtkw import GTKWSave
from vcd.writer import Variable, VCDWriter

from gptloom.model.errors import UserError
from gptloom.model.files import is_ours, is_plain, stamped, write_file, writing

_TOP = "top"
_BLOCK = 1 << 13
"""Cycles formatted at a time, which bounds the memory used by their text."""


@dataclass(frozen=True)
class Wave:
    """Display of one recorded signal.

    Attributes
    ----------
    name : str
        Its name in the recording; dots make scopes.
    width : int
        Width in bits.
    group : str
        Heading that the saved signal grouping shows it under.
    kind : {"wire", "string", "enum"}
        ``wire`` is shown as a number, ``string`` as text only, ``enum`` both as a number and, under
        the name with ``_text``, as text.
    labels : mapping of int to str, or sequence of str
        Text of each value; a value without one is shown as its number. A ``string`` whose
        recorded array already holds text needs none.
    radix : {"hex", "dec", "signed", "bin"}
        Format in which GTKWave shows the number.
    """

    name: str
    width: int = 1
    group: str = ""
    kind: Literal["wire", "string", "enum"] = "wire"
    labels: Mapping[int, str] | Sequence[str] = field(default_factory=dict)
    radix: Literal["hex", "dec", "signed", "bin"] = "hex"


@dataclass
class _Track:
    """A VCD variable and the array that it shows."""

    variable: Variable
    values: np.ndarray
    labels: dict[int, str] | None  # None: the values themselves are shown
    path: str  # GTKWave's name for it

    def texts(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the cycles in which the value changes, and the VCD's lines for them."""
        changed = self.values[start:stop] != self.values[start - 1 : stop - 1]
        cycles = np.flatnonzero(changed) + start
        # Formatting is the slow part: each distinct value is formatted once.
        distinct, inverse = np.unique(self.values[cycles], return_inverse=True)
        lines = np.array([self._line(value) for value in distinct.tolist()] + [""], object)
        return cycles, lines[inverse]

    def _line(self, value: int | str) -> str:
        return self.variable.format_value(_shown(value, self.labels), check=False)


def _shown(value: int | str, labels: Mapping[int, str] | None) -> int | str:
    return value if labels is None else labels.get(value, str(value))


def write_vcd(
    path: str | Path,
    recording: Mapping[str, np.ndarray],
    signals: Mapping[str, int] | Sequence[Wave],
    clock_hz: float,
) -> str:
    """Write recorded signals as a VCD file, with a GTKWave save file beside it.

    Values recorded before clock edge k fill the k-th clock period, which ends with that edge: a
    register changes on the rising edge of ``clk``, which is added to the waveform.

    Parameters
    ----------
    path : str or Path
        The VCD file; the save file has the suffix ``.gtkw`` instead. A save file that somebody has
        changed is kept, and anything but a plain file, such as a pipe, gets none.
    recording : mapping of str to numpy.ndarray
        Values from `Engine.recording`; arrays of text (for ``string`` waves) may be added.
    signals : mapping of str to int, or sequence of Wave
        Signals to show, in this order: widths by name, or a `Wave` each.
    clock_hz : float
        The clock's frequency, for the time axis.

    Returns
    -------
    str
        Two lines for people: how to open the files.

    Raises
    ------
    ValueError
        If nothing was recorded, the arrays differ in length, or a value exceeds its width.
    UserError
        If the files cannot be written; neither is then left behind.
    """
    path = Path(path)
    waves = (
        [Wave(name, width) for name, width in signals.items()]
        if isinstance(signals, Mapping)
        else list(signals)
    )
    lengths = {len(recording[wave.name]) for wave in waves}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"a waveform needs arrays of one length above 0, not {sorted(lengths)}")
    (cycles,) = lengths
    save = path.with_suffix(".gtkw")
    if save == path:
        raise UserError(f"{path} is where the signal grouping goes: name a file that ends in .vcd")
    kept = not is_ours(save)
    with writing(path) as file, io.TextIOWrapper(file, "utf-8") as text:
        groups = _write_changes(text, recording, waves, cycles, clock_hz)
        if not is_plain(path):
            return f"Wrote {path}."
        if not kept:
            write_file(save, stamped(_save_file(path, groups).encode(), b"[*] "))
    note = " (kept as it is, because it was changed)" if kept else ""
    return (
        f"GTKWave: gtkwave {shlex.quote(str(save))}{note}\nSurfer:  surfer {shlex.quote(str(path))}"
    )


def _write_changes(
    file: IO[str],
    recording: Mapping[str, np.ndarray],
    waves: Sequence[Wave],
    cycles: int,
    clock_hz: float,
) -> dict[str, list[tuple[str, str]]]:
    """Write the VCD; return each group's variables as pairs of GTKWave's name and radix."""
    writer = VCDWriter(file, timescale="1 ps", date="", version="gptloom")
    clock = writer.register_var(_TOP, "clk", "wire", 1, init=1)
    tracks: list[_Track] = []
    groups = {"": [(f"{_TOP}.clk", "bin")]}
    for wave in waves:
        for track, radix in _register(writer, wave, recording[wave.name]):
            tracks.append(track)
            groups.setdefault(wave.group, []).append((track.path, radix))
    writer.flush()  # the header, and every variable's first value

    period = round(1e12 / clock_hz)
    for start in range(0, cycles, _BLOCK):
        stop = min(start + _BLOCK, cycles)
        every = np.arange(start, stop)
        rises = [f"#{cycle * period}\n1{clock.ident}" for cycle in every.tolist()]
        falls = [f"#{cycle * period + period // 2}\n0{clock.ident}" for cycle in every.tolist()]
        if start == 0:
            rises[0] = ""  # included in the first values
        # A stable sort by cycle keeps the order: rising edge, changes, falling edge.
        parts = [(every, np.array(rises, object))]
        parts += [track.texts(max(start, 1), stop) for track in tracks]
        parts += [(every, np.array(falls, object))]
        order = np.argsort(np.concatenate([at for at, _ in parts]), kind="stable")
        lines = np.concatenate([lines for _, lines in parts])[order]
        file.write("\n".join(filter(None, lines.tolist())) + "\n")
    file.write(f"#{cycles * period}\n")
    return groups


def _register(writer: VCDWriter, wave: Wave, values: np.ndarray) -> Iterator[tuple[_Track, str]]:
    *scopes, name = wave.name.split(".")
    scope = (_TOP, *scopes)
    prefix = ".".join(scope)
    labels = wave.labels if isinstance(wave.labels, Mapping) else dict(enumerate(wave.labels))
    first = values[:1].tolist()[0]
    if wave.kind != "string":
        if int(values.max()) >> wave.width:
            raise ValueError(f"{wave.name!r} holds values of more than its {wave.width} bits")
        # GTKWave counts the range as part of the name, in the save file too.
        bits = f"[{wave.width - 1}:0]" if wave.width > 1 else ""
        variable = writer.register_var(
            scope, f"{name} {bits}".strip(), "wire", wave.width, init=first
        )
        yield _Track(variable, values, None, f"{prefix}.{name}{bits}"), wave.radix
    if wave.kind != "wire":
        text_name = name if wave.kind == "string" else f"{name}_text"
        texts = None if values.dtype.kind in "UO" else labels
        variable = writer.register_var(scope, text_name, "string", init=_shown(first, texts))
        yield _Track(variable, values, texts, f"{prefix}.{text_name}"), "ascii"


def _save_file(vcd: Path, groups: dict[str, list[tuple[str, str]]]) -> str:
    """Return the save file with which GTKWave shows the signals in their groups."""
    content = io.StringIO()
    save = GTKWSave(content)
    save.dumpfile(str(vcd))
    save.treeopen(f"{_TOP}.")
    for group, traces in groups.items():
        if group:
            save.begin_group(group)
        for path, radix in traces:
            save.trace(path, datafmt=radix)
        if group:
            save.end_group(group)
    return content.getvalue()
