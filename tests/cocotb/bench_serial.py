"""Runs within the simulator: the serial console's abuses, by the host's own code at the pins."""

import os
import pickle
from pathlib import Path

import cocotb
from abuse import ABUSES, LONG_ABUSES
from chip import Chip
from cocotb.task import bridge
from pins import PinEngine

from gptloom.firmware.protocol import Item, State


class SimulatedChip(Chip):
    """A chip without a power switch: what an upload has changed is uploaded once more."""

    def power_on(self):
        super().power_on()
        stopped = self.link.get(Item.STATE) & 1 << State.STOPPED
        if stopped or self.link.get(Item.WEIGHTS) != self.crc:
            self.link.upload(self.image, self.machine)
            self.link.reset()


def abuse(engine, case):
    chip = SimulatedChip(case.model, case.other, lambda _: engine)
    (ABUSES | LONG_ABUSES)[case.abuse](chip)


@cocotb.test(timeout_time=20, timeout_unit="sec")
async def the_chip_stands_it(dut):
    case = pickle.loads(Path(os.environ["CASE"]).read_bytes())
    dut.rst.value, dut.rx.value, dut.button.value = 0, 1, 0
    await bridge(abuse)(PinEngine(dut), case)
