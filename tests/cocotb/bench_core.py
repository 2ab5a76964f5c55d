"""Runs within the simulator: a core used at random, every signal compared in every cycle."""

import os
import pickle
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from gptloom.sim.scoreboard.expectation import Expectation
from gptloom.sim.scoreboard.judge import first_mismatch
from gptloom.sim.scoreboard.player import Player
from gptloom.sim.scoreboard.reference import Reference
from gptloom.sim.scoreboard.window import save_recording, save_window


@cocotb.test()
async def every_cycle_is_what_it_has_to_be(dut):
    case = pickle.loads(Path(os.environ["CASE"]).read_bytes())
    reference = Reference(case.machine, case.expected or case.model)
    expectation = Expectation(reference)
    player = Player(case.machine, case.model, case.number, load=True)
    dut._log.info("replay with number %d, habits %s", case.number, case.habits)
    handles = {name: getattr(dut, name) for name in case.inputs}
    for handle in handles.values():
        handle.value = 0
    # The first cycle is the one before the first rising edge.
    Clock(dut.clk, 10, unit="ns").start(start_high=False)
    words = reference.signals.count
    rows, taken, cycle = [], 0, 0
    while cycle < case.cycles or player.is_loading:
        habits = case.quiet if player.is_loading else case.habits
        for name, value in player.drive(habits).items():
            handles[name].value = value
        await ReadOnly()
        probe = int(str(dut.probe.value), 2)
        rows.append(np.frombuffer(probe.to_bytes(8 * words, "little"), np.uint64))
        taken += player.observe(lambda name: int(getattr(dut, name).value))
        cycle += not player.is_loading
        await FallingEdge(dut.clk)
    rows = np.array(rows)
    np.save(case.rows, rows)
    if case.keep:
        save_recording(case.waves, reference.signals, rows, 0)
    block = expectation.advance(rows, 0)
    mismatch = first_mismatch(rows, block, expectation.runs, reference)
    if mismatch:
        file = save_window(case.waves, reference.signals, block, rows, rows[:0], mismatch)
        raise AssertionError(f"{mismatch}; waveform in {file}")
    assert taken >= case.least, f"only {taken} tokens in {len(rows)} cycles"
