"""The serial console within Verilator: whatever is done to it, it never hangs."""

import pytest
from abuse import ABUSES, HUNDRED_THOUSAND
from case import AbuseCase
from chip import CONFIG, LANES, SLOTS

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.sim.serial_chip import serial_top


# The fast engine runs the same every day.
@pytest.mark.nightly
@pytest.mark.parametrize("abuse", [*ABUSES, HUNDRED_THOUSAND])
def test_abuse(cosimulate, random_model, abuse):
    model, other = (random_model(CONFIG, number) for number in (1, 2))
    machine = Machine.for_models(LANES, CONFIG, slots=SLOTS)
    top = serial_top(build_image(model, machine), machine)
    cosimulate(top, "bench_serial", AbuseCase(model, other, abuse))
