"""Size and speed of displays on iCE40, with the real tools."""

import json

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.boards.families import FAMILIES
from gptloom.boards.tools import Tools
from gptloom.hdl.display.text import TextBuffer
from gptloom.sim.engines.base import component_ports

pytestmark = pytest.mark.nightly

# Maximum logic cells and block RAMs, for a display alone.
LIMITS = dict(hd44780=(90, 0), ssd1306=(140, 1), ssd1331=(140, 1), st7789=(155, 1))

# The clock to build for, and the Fmax to reach: clocks of the boards with a margin.
PARTS = {"hx8k": ("iCE40HX8K", "CT256", 80e6, 120), "up5k": ("iCE40UP5K", "SG48", 48e6, 60)}
SEEDS = 3


class Registered(wiring.Component):
    """A display with its buffer; inputs come from registers, as in a design."""

    def __init__(self, display, pins):
        self._display, self._pins = display, pins
        ports = {name: Out(width) for name, width in pins.items()}
        super().__init__(ports | {"write": In(1), "address": In(5), "data": In(8), "show": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.display = display = self._display
        m.submodules.buffer = buffer = TextBuffer()
        wiring.connect(m, display.text, buffer.text)
        m.d.comb += [getattr(self, name).eq(getattr(display, name)) for name in self._pins]
        m.d.sync += [
            buffer.write.eq(self.write),
            buffer.write_address.eq(self.address),
            buffer.write_data.eq(self.data),
            buffer.show.eq(self.show),
        ]
        return m


def place(component, part, folder):
    """Return used cells by kind and the best Fmax in MHz."""
    device, package, clock, _ = PARTS[part]
    ports = [port.signal for port in component_ports(component).values()]
    (folder / "top.v").write_text(verilog.convert(component, ports=ports, name="top"))
    options, tools = FAMILIES["ice40"].synthesis_options[device], Tools()
    script = f"read_verilog top.v; synth_ice40 -top top {options} -json top.json"
    tools.run("yosys", ["-q", "-p", script], folder)
    fmax = 0
    for seed in range(1, SEEDS + 1):
        tools.run(
            "nextpnr-ice40",
            [
                *(f"--{part}", "--package", package.lower(), "--json", "top.json", "-q"),
                *("--freq", f"{clock / 1e6:g}", "--seed", str(seed), "--report", "report.json"),
                *("--pcf-allow-unconstrained", "--timing-allow-fail"),
            ],
            folder,
        )
        report = json.loads((folder / "report.json").read_text())
        fmax = max(fmax, *(clock["achieved"] for clock in report["fmax"].values()))
    return {kind: cells["used"] for kind, cells in report["utilization"].items()}, fmax


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", LIMITS)
def test_cost_and_speed(kit, name, part, tmp_path):
    *_, clock, needed = PARTS[part]
    used, fmax = place(kit.make_display(name, clock), part, tmp_path)
    print(name, part, used["ICESTORM_LC"], used["ICESTORM_RAM"], f"{fmax:.1f} MHz alone")
    assert used["ICESTORM_LC"] <= LIMITS[name][0]
    assert used["ICESTORM_RAM"] == LIMITS[name][1]
    whole = Registered(kit.make_display(name, clock), kit.models[name].pins)
    used, fmax = place(whole, part, tmp_path)
    print(name, part, used["ICESTORM_LC"], used["ICESTORM_RAM"], f"{fmax:.1f} MHz with buffer")
    # The bench itself adds 15 registers.
    assert used["ICESTORM_LC"] <= LIMITS[name][0] + 15 + 25
    assert used["ICESTORM_RAM"] == LIMITS[name][1] + 1
    assert fmax > needed
