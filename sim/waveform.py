"""Waveform of a folded core generating names: tokens and instructions as text."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from gptloom.firmware.machine import Machine
from gptloom.firmware.schedule import Scheduled
from gptloom.firmware.widths import bits_of
from gptloom.hdl.core import POSITION_BITS, TOKEN_BITS, Prompt, Token
from gptloom.hdl.folded.layouts import operation_field
from gptloom.model.integer import IntegerModel
from gptloom.sim.generation import CLOCK_MHZ
from gptloom.sim.waves import Wave, write_vcd

_SIGNALS = (
    "i__valid", "i__ready", "i__payload", "o__valid", "o__ready", "o__payload", "busy",
    "control.start", "control.token", "control.position", "control.sample",
    "sequencer.issue", "sequencer.operand", "sequencer.row",
    "sampler.done", "sampler.token",
)  # fmt: skip
_ATTENTION = ("softmax.reading", "softmax.ready", "recurrence.busy")


def signals(machine: Machine) -> tuple[str, ...]:
    """Return the names of the signals recorded from a core, in every clock cycle."""
    return (*_SIGNALS, *(_ATTENTION[2:] if machine.recurrent else _ATTENTION[:2]))


def write_waveform(
    path: Path,
    recording: dict[str, NDArray[np.uint64]],
    model: IntegerModel,
    schedule: Sequence[Scheduled],
    machine: Machine,
) -> str:
    """Write the recorded signals and return how to open the file.

    Parameters
    ----------
    path
        VCD file; its signal grouping is saved beside it.
    recording
        Values of :func:`signals`, one per cycle.
    model
        The network, for the labels of its tokens.
    schedule
        Program, for the names of its instructions.
    machine
        Dimensions of the hardware.
    """
    labels = model.tokenizer.labels()
    offset, idle = operation_field(machine)
    operations = {i: "{}.{}".format(*s.step.site.key) for i, s in enumerate(schedule)}
    recording = dict(recording)
    fields = {
        "prompt.token": field_of(recording["i__payload"], Prompt, "token"),
        "output.token": field_of(recording["o__payload"], Token, "token"),
        "output.position": field_of(recording["o__payload"], Token, "position"),
        "output.last": field_of(recording["o__payload"], Token, "last"),
        "mac_array.valid": recording["sequencer.issue"] & np.uint64(1),
        "mac_array.instruction": recording["sequencer.issue"] >> np.uint64(offset)
        & np.uint64(idle),
    }
    busy = fields["mac_array.valid"] == 1
    fields["mac_array.instruction"] = np.where(
        busy, fields["mac_array.instruction"], np.uint64(idle)
    )
    recording.update(fields)
    operations[idle] = "idle"

    def token(name: str, group: str) -> Wave:
        return Wave(name, TOKEN_BITS, group, "enum", labels)

    def position(name: str, group: str) -> Wave:
        return Wave(name, POSITION_BITS, group, radix="dec")

    waves = [
        Wave("i__valid", 1, "prompt"),
        Wave("i__ready", 1, "prompt"),
        token("prompt.token", "prompt"),
        Wave("o__valid", 1, "output"),
        Wave("o__ready", 1, "output"),
        token("output.token", "output"),
        position("output.position", "output"),
        Wave("output.last", 1, "output"),
        Wave("busy", 1, "document"),
        Wave("control.start", 1, "document"),
        token("control.token", "document"),
        position("control.position", "document"),
        Wave("control.sample", 1, "document"),
        Wave("mac_array.instruction", machine.operation_bits, "MAC array", "enum", operations),
        Wave("mac_array.valid", 1, "MAC array"),
        Wave("sequencer.operand", machine.address_bits, "MAC array"),
        Wave("sequencer.row", bits_of(machine.activation_words - 1), "MAC array"),
        *(Wave(name, 1, "attention") for name in recording if name in _ATTENTION),
        Wave("sampler.done", 1, "sampler"),
        token("sampler.token", "sampler"),
    ]
    return write_vcd(path, recording, waves, CLOCK_MHZ * 1e6)


def field_of(
    values: NDArray[np.uint64], layout: type[data.Struct], name: str
) -> NDArray[np.uint64]:
    """Return a field of recorded values of a structure."""
    field = data.Layout.cast(layout)[name]
    return values >> np.uint64(field.offset) & np.uint64((1 << field.width) - 1)
