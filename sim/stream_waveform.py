"""Waveform of an unrolled core generating names: the turns, and each stream's tokens as text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gptloom.hdl.core import POSITION_BITS, TOKEN_BITS, Prompt, Token
from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.model.merged.integer import MergedModel
from gptloom.sim.generation import CLOCK_MHZ
from gptloom.sim.waveform import field_of
from gptloom.sim.waves import Wave, write_vcd

SIGNALS = (
    "turn", "i__valid", "i__ready", "i__payload", "o__valid", "o__ready", "o__payload", "o_stream",
    "tokens", "busy",
)  # fmt: skip
"""Signals recorded in every clock cycle."""


def write_stream_waveform(
    path: Path, recording: dict[str, NDArray[np.uint64]], core: UnrolledCore, model: MergedModel
) -> str:
    """Write the recorded signals and return how to open the file.

    Parameters
    ----------
    path
        VCD file; its signal grouping is saved beside it.
    recording
        Values of ``SIGNALS``, one per cycle.
    core
        The hardware, for the number of its streams.
    model
        The network, for the labels of its tokens.
    """
    none = 1 << TOKEN_BITS
    labels = model.tokenizer.labels() | {none: "-"}
    recording = dict(recording)
    recording["prompt.token"] = field_of(recording["i__payload"], Prompt, "token")
    sampled = field_of(recording["o__payload"], Token, "token")
    recording["output.token"] = sampled
    recording["output.position"] = field_of(recording["o__payload"], Token, "position")
    taken = (recording["o__valid"] & recording["o__ready"]) == 1
    cycles = np.arange(len(taken))
    for stream in range(core.streams):
        own = taken & (recording["o_stream"] == stream)
        # A token is shown until the stream's next one.
        last = np.maximum.accumulate(np.where(own, cycles, -1))
        recording[f"streams.{stream}"] = np.where(last < 0, np.uint64(none), sampled[last])

    def text(name: str, group: str) -> Wave:
        return Wave(name, TOKEN_BITS + 1, group, "enum", labels)

    waves = [
        Wave("turn", max(1, (core.streams - 1).bit_length()), "turn", radix="dec"),
        Wave("tokens", 32, "turn", radix="dec"),
        Wave("i__valid", 1, "prompt"),
        Wave("i__ready", 1, "prompt"),
        text("prompt.token", "prompt"),
        Wave("o__valid", 1, "output"),
        Wave("o__ready", 1, "output"),
        Wave("o_stream", max(1, (core.streams - 1).bit_length()), "output", radix="dec"),
        text("output.token", "output"),
        Wave("output.position", POSITION_BITS, "output", radix="dec"),
        Wave("busy", 1, "output"),
        *(text(f"streams.{stream}", "tokens of each stream") for stream in range(core.streams)),
    ]
    return write_vcd(path, recording, waves, CLOCK_MHZ * 1e6)
