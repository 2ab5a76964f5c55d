"""Runs within the simulator: a chip driven from its pins, its core compared in every cycle."""

import os
import pickle
import re
from itertools import groupby
from pathlib import Path

import cocotb
import numpy as np
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer
from probe import read_row

from gptloom.firmware.page import TEMPERATURES, encode_scale
from gptloom.hdl.core import Token
from gptloom.sim.panels import HD44780Model
from verification.scoreboard.expectation import Expectation
from verification.scoreboard.judge import first_mismatch
from verification.scoreboard.reference import Reference
from verification.scoreboard.window import save_recording, save_window

PERIOD = 10
BLOCK = 1 << 13


async def receive(dut, bit, received):
    """Append the bytes on the serial line, of so many nanoseconds a bit."""
    while True:
        await FallingEdge(dut.tx)
        await Timer(bit // 2, "ns")
        assert int(dut.tx.value) == 0, "a start bit is too short"
        byte = 0
        for i in range(8):
            await Timer(bit, "ns")
            byte |= int(dut.tx.value) << i
        await Timer(bit, "ns")
        assert int(dut.tx.value) == 1, "a stop bit is missing"
        received.append(byte)


async def send(dut, bit, byte):
    for level in [0, *(byte >> i & 1 for i in range(8)), 1]:
        dut.rx.value = level
        await Timer(bit, "ns")


async def press(dut, cycles):
    """Press and let go, for so many cycles each; the contact bounces before it rests."""
    for level in (1, 0):
        for bounce in (level, 1 - level) * 5:
            dut.button.value = bounce
            await Timer(cycles // 20 * PERIOD, "ns")
        dut.button.value = level
        await Timer(cycles * PERIOD, "ns")


def documents(rows, columns):
    """The documents that the core emits, as token ids."""
    taken = (rows[:, columns["o__valid"]] & rows[:, columns["o__ready"]]) == 1
    found, document = [], []
    for bits in rows[taken, columns["o__payload"]].tolist():
        token = data.Layout.cast(Token).from_bits(bits)
        document.append(token.token)
        if token.last:
            found.append(document)
            document = []
    return found


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def the_pins_say_what_the_core_computes(dut):
    case = pickle.loads(Path(os.environ["CASE"]).read_bytes())
    reference = Reference(case.machine, case.model)
    expectation, columns = Expectation(reference), reference.signals.columns
    words, bit = reference.signals.count, case.cycles_per_bit * PERIOD
    dut.rst.value, dut.rx.value, dut.button.value = 0, 1, 0
    Clock(dut.clk, PERIOD, unit="ns").start(start_high=False)
    received = bytearray()
    cocotb.start_soon(receive(dut, bit, received))
    panel = HD44780Model(1 / case.clock_hz)
    pins = {name: getattr(dut, f"display__{name}") for name in panel.pins}
    levels = {name: np.zeros(BLOCK, np.uint8) for name in pins}
    blocks, rows = [], np.zeros((BLOCK, words), np.uint64)
    for cycle in range(-(-case.cycles // BLOCK) * BLOCK):
        if cycle in case.asks:
            cocotb.start_soon(send(dut, bit, ord("a")))
        if cycle in case.presses:
            cocotb.start_soon(press(dut, case.bounce_cycles + 100))
        # Half-way between two edges everything is settled.
        await Timer(1, "ns")
        rows[cycle % BLOCK] = read_row(dut, words)
        for name, pin in pins.items():
            levels[name][cycle % BLOCK] = int(pin.value)
        await FallingEdge(dut.clk)
        if cycle % BLOCK == BLOCK - 1:
            panel.feed(levels)
            block = expectation.advance(rows, cycle + 1 - BLOCK)
            mismatch = first_mismatch(rows, block, expectation.runs, reference)
            signals, before = reference.signals, blocks[-1] if blocks else rows[:0]
            if case.keep:
                save_recording(case.waves, signals, rows, block.begin)
            if mismatch:
                file = save_window(case.waves, signals, block, rows, before, mismatch)
                raise AssertionError(f"{mismatch}; waveform in {file}")
            blocks.append(rows.copy())

    seen = np.concatenate(blocks)
    lines = [line.decode() for line in received.split(b"\r\n")[:-1]]
    assert lines[0] == case.label
    assert lines.count(case.label) == 1 + len(case.asks)
    decode = case.model.tokenizer.decode
    names = iter([decode(document) for document in documents(seen, columns)])
    sent = [line for line in lines if line != case.label]
    assert len(sent) > 20
    # Names that end while the line is busy are dropped: what is sent keeps their order.
    assert all(name in names for name in sent)
    # The panel shows some of the lines, whole and in order, and never a mix of two.
    shown = [s.lines for s in panel.shown if s.lines]
    rest = iter(lines)
    assert len(shown) >= 3
    # Before the first one there is the speed alone.
    shown_names = [name.rstrip() for name, _ in groupby(name for name, _ in shown)]
    assert all(name in rest for name in shown_names if name)
    assert all(re.fullmatch(r" *\d+ tokens/s|temperature ... ", line) for _, line in shown)
    temperatures = seen[:, columns["temperature"]]
    changes = temperatures[1:][np.diff(temperatures.astype(np.int64)) != 0].tolist()
    # The first press shows the temperature that holds.
    scales = [case.model.logit_scale(t) for t in TEMPERATURES[: len(case.presses)]]
    assert changes == [encode_scale(scale) for scale in scales]
