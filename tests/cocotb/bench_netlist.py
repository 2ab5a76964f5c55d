"""Runs within the simulator: a netlist's outputs compared with the design's in every cycle."""

import os
import pickle
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly
from probe import read_row


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def the_netlist_does_what_the_design_does(dut):
    case = pickle.loads(Path(os.environ["CASE"]).read_bytes())
    handles = [getattr(dut, name) for name in case.inputs]
    words = case.outputs.shape[1]
    judged = case.judged if case.judged is not None else np.full_like(case.outputs, ~np.uint64(0))
    # The first cycle is the one before the first rising edge.
    Clock(dut.clk, 10, unit="ns").start(start_high=False)
    rows = zip(case.stimulus, case.outputs, judged, strict=True)
    for cycle, (given, expected, mask) in enumerate(rows):
        for handle, value in zip(handles, given.tolist(), strict=True):
            handle.value = value
        await ReadOnly()
        seen = read_row(dut, words)
        wrong = [case.owners[i] for i in np.flatnonzero((seen ^ expected) & mask)]
        assert not wrong, f"cycle {cycle}: {wrong}: expected {expected}, seen {seen}"
        await FallingEdge(dut.clk)
