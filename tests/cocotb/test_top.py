"""The whole chip within Verilator, from its pins: serial line, button and display."""

import pytest
from case import TopCase

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.display.hd44780 import HD44780
from gptloom.hdl.display.two_lines import RATES
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.preload import Preload
from gptloom.hdl.top import BOUNCE_SECONDS, Top
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.quantise import quantise
from verification.scoreboard.signals import Signals

# So slow a clock that bounces take few cycles.
CLOCK, BAUD = 1_000_000, 50_000

SMALL = ModelConfig(layers=1, width=8, heads=2, hidden=16, context=8, vocabulary=6)

CHECK = 16
"""More cycles than the checksum takes for a byte."""


@pytest.mark.parametrize(
    ("name", "lanes"),
    [
        pytest.param("small", 8, marks=pytest.mark.nightly),
        pytest.param("names", 16, marks=pytest.mark.nightly),
        pytest.param("names-2l", 32, marks=pytest.mark.nightly),
    ],
)
def test_pins(cosimulate, random_model, waves, name, lanes):
    model = random_model(SMALL) if name == "small" else quantise(load_checkpoint(name))
    machine = Machine.for_models(lanes, model.config)
    image = build_image(model, machine)
    preload = Preload.of(image, machine)
    sizes = image.checked_sizes(machine)
    checked = CHECK * sum(sizes.values())
    core = FoldedCore(machine, preload=preload)
    top = Top(
        core,
        preload.page,
        image.config,
        sizes,
        clock_hz=CLOCK,
        baud=BAUD,
        display=HD44780(CLOCK),
        rate=len(RATES) - 1,
    )
    case = TopCase(
        machine=machine,
        model=model,
        label=f"weights {image.checksum(machine):08X}",
        cycles=2 * checked + 150_000,
        cycles_per_bit=CLOCK // BAUD,
        clock_hz=CLOCK,
        bounce_cycles=round(CLOCK * BOUNCE_SECONDS),
        waves=waves.folder,
        keep=waves.keep,
        asks=(checked + 100_000,),
        presses=(checked + 20_000, checked + 60_000),
    )
    # Inside the core its own copy of the temperature has that name, too.
    elsewhere = {"rst": "rst", "temperature": "console.temperature"}
    watched = [elsewhere.get(path, f"core.{path}") for path in Signals(machine).paths]
    cosimulate(top, "bench_top", case, watched)
