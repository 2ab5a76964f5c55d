"""The serial console within Verilator: whatever is done to it, it never hangs."""

import pytest
from abuse import ABUSES, HUNDRED_THOUSAND
from case import AbuseCase
from chip import CONFIG, LANES, SLOTS

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.sim.serial_chip import serial_top

# The fast engine runs these more often; here they differ in nothing but their length.
SLOW = ("moment", "resets", "commits", "cut", "garbage", "two prompts", "line, 1", "line, 2")
SLOW += ("line, 3", "random bytes", "attention", "random frames", "unknown commands")


def marked(abuse):
    nightly = any(word in abuse for word in SLOW)
    return pytest.param(abuse, marks=pytest.mark.nightly if nightly else pytest.mark.long)


@pytest.mark.parametrize("abuse", [marked(abuse) for abuse in (*ABUSES, HUNDRED_THOUSAND)])
def test_abuse(cosimulate, random_model, abuse):
    model, other = (random_model(CONFIG, number) for number in (1, 2))
    machine = Machine.for_models(LANES, CONFIG, slots=SLOTS)
    top = serial_top(build_image(model, machine), machine)
    cosimulate(top, "bench_serial", AbuseCase(model, other, abuse))
