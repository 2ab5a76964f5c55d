"""Runs within the simulator: a core used at random, every signal compared in every cycle."""

import os
import pickle
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly
from probe import read_row

from verification.scoreboard.expectation import Expectation
from verification.scoreboard.judge import first_mismatch
from verification.scoreboard.player import Habits, Player
from verification.scoreboard.reference import Reference
from verification.scoreboard.signals import STIMULUS
from verification.scoreboard.window import save_recording, save_window

BLOCK = 1 << 10
"""Cycles that are compared at a time: a difference ends the run soon."""


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def every_cycle_is_what_it_has_to_be(dut):
    case = pickle.loads(Path(os.environ["CASE"]).read_bytes())
    reference = Reference(case.machine, case.expected or case.model)
    expectation = Expectation(reference)
    player = Player(case.machine, case.model, case.number, load=True)
    dut._log.info("replay with number %d, habits %s", case.number, case.habits)
    handles = {name: getattr(dut, name) for name in STIMULUS}
    for handle in handles.values():
        handle.value = 0
    # The first cycle is the one before the first rising edge.
    Clock(dut.clk, 10, unit="ns").start(start_high=False)
    words = reference.signals.count
    rows, taken, cycle, judged = [], 0, 0, 0
    while cycle < case.cycles or player.is_loading:
        habits = Habits() if player.is_loading else case.habits
        for name, value in player.drive(habits).items():
            handles[name].value = value
        await ReadOnly()
        rows.append(read_row(dut, words))
        taken += player.observe(lambda name: int(getattr(dut, name).value))
        cycle += not player.is_loading
        if len(rows) - judged == BLOCK:
            judge(case, expectation, reference, rows, judged)
            judged = len(rows)
        await FallingEdge(dut.clk)
    judge(case, expectation, reference, rows, judged)
    np.save(case.rows, np.array(rows))
    assert taken >= case.least, f"only {taken} tokens in {len(rows)} cycles"


def judge(case, expectation, reference, rows, begin):
    """Compare what was recorded from a cycle on."""
    if begin == len(rows):
        return
    signals, seen = reference.signals, np.array(rows[begin:])
    block = expectation.advance(seen, begin)
    mismatch = first_mismatch(seen, block, expectation.runs, reference)
    if case.keep:
        save_recording(case.waves, signals, seen, begin)
    if mismatch:
        before = np.array(rows[max(0, begin - BLOCK) : begin]).reshape(-1, signals.count)
        file = save_window(case.waves, signals, block, seen, before, mismatch)
        raise AssertionError(f"{mismatch}; waveform in {file}")
