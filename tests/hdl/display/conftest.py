"""Fixtures of the displays' tests: displays with text buffers, and panels on the pins."""

from types import SimpleNamespace

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.display.graphic import GraphicDisplay
from gptloom.hdl.display.hd44780 import HD44780
from gptloom.hdl.display.ssd1306 import SSD1306
from gptloom.hdl.display.ssd1331 import SSD1331
from gptloom.hdl.display.st7789 import ST7789
from gptloom.hdl.display.text import TextBuffer
from gptloom.sim.engines import open_engine
from gptloom.sim.panels import HD44780Model, SSD1306Model, SSD1331Model, ST7789Model, watch

MODELS = {
    "hd44780": HD44780Model,
    "ssd1306": SSD1306Model,
    "ssd1331": SSD1331Model,
    "st7789": ST7789Model,
}


def make_display(name, clock_hz):
    if name == "hd44780":
        return HD44780(clock_hz)
    return GraphicDisplay(dict(ssd1306=SSD1306, ssd1331=SSD1331, st7789=ST7789)[name], clock_hz)


class Screens(wiring.Component):
    """Displays with their text buffers; one compile for all is cheaper."""

    def __init__(self, displays):
        self._displays = displays
        ports = {"address": In(5), "data": In(8)}
        for name in displays:
            ports |= {f"{name}_{pin}": Out(width) for pin, width in MODELS[name].pins.items()}
            ports |= {f"{name}_{port}": In(1) for port in ("write", "show")}
            ports |= {f"{name}_{port}": Out(1) for port in ("free", "begin")}
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        for name, display in self._displays.items():
            m.submodules[name] = display
            m.submodules[f"{name}_buffer"] = buffer = TextBuffer()
            wiring.connect(m, display.text, buffer.text)

            def port(other, name=name):
                return getattr(self, f"{name}_{other}")

            m.d.comb += [port(pin).eq(getattr(display, pin)) for pin in MODELS[name].pins]
            m.d.comb += [
                port("free").eq(buffer.free),
                port("begin").eq(display.text.begin),
                buffer.write.eq(port("write")),
                buffer.write_address.eq(self.address),
                buffer.write_data.eq(self.data),
                buffer.show.eq(port("show")),
            ]
        return m


class Setup:
    """One of the displays in simulation, from power-on, and the panel connected to it."""

    def __init__(self, engine, name, panel, display):
        self.engine, self.panel, self.display = engine, panel, display
        self._prefix = f"{name}_"
        engine.reset()

    def watch(self, cycles):
        watch(self.engine, [(self.panel, self._prefix)], cycles)

    def peek(self, port):
        return self.engine.peek(self._prefix + port)

    def write(self, text, places=range(32)):
        """Write some of 32 characters into the buffer; the panel sees every cycle."""
        assert self.peek("free")
        for address in places:
            self._pulse("write", address=address, data=ord(text[address]))

    def show(self):
        self._pulse("show")

    def _pulse(self, name, **values):
        for port, value in values.items():
            self.engine.poke(port, value)
        self.pulse(self._prefix + name)

    def pulse(self, port):
        """Hold an input of the top high for a cycle."""
        self.engine.poke(port, 1)
        self.watch(1)
        self.engine.poke(port, 0)

    def watch_until(self, condition, seconds=0.5):
        """Run until a condition holds, or fail."""
        limit = self.panel.cycle + seconds / self.panel.period
        while not condition():
            assert self.panel.cycle < limit, "it took too long"
            self.watch(1 << 15)

    @property
    def text(self):
        return None if self.panel.lines is None else "".join(self.panel.lines)


@pytest.fixture(scope="session")
def displays():
    """Simulate displays together at a clock, and connect panels to one after the other."""
    engines = {}

    def connect(name, clock_hz, *, compiled=tuple(MODELS), owner="", panel=None, **options):
        key = (clock_hz, compiled, owner)
        if key not in engines:
            parts = {other: make_display(other, clock_hz) for other in compiled}
            engines[key] = open_engine(Screens(parts)), parts
        engine, parts = engines[key]
        panel = panel or MODELS[name](1 / clock_hz, **options)
        return Setup(engine, name, panel, parts[name])

    yield connect
    for engine, _ in engines.values():
        engine.close()


@pytest.fixture(scope="session")
def kit():
    return SimpleNamespace(make_display=make_display, models=MODELS, Screens=Screens, Setup=Setup)
