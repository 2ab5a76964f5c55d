"""The models of serial panels, with pins driven directly: display and refusals."""

import numpy as np
import pytest

from gptloom.sim.panels import (
    PanelError,
    SSD1306Model,
    SSD1331Model,
    ST7789Model,
    TimingError,
)

PERIOD = 5e-9
PINS = ("sck", "mosi", "dc", "cs", "res")

# The datasheets' minima in nanoseconds: setup and hold of data, command and select, halves and
# cycle of the clock, time between two selections.
TIMES = {
    SSD1306Model: dict(
        data_setup=15, data_hold=15, dc_setup=15, dc_hold=15, cs_setup=20, cs_hold=10,
        low=20, high=20, cycle=100, cs_high=0,
    ),
    SSD1331Model: dict(
        data_setup=40, data_hold=40, dc_setup=40, dc_hold=40, cs_setup=75, cs_hold=60,
        low=75, high=75, cycle=150, cs_high=0,
    ),
    ST7789Model: dict(
        data_setup=10, data_hold=10, dc_setup=10, dc_hold=10, cs_setup=15, cs_hold=15,
        low=15, high=15, cycle=66, cs_high=40,
    ),
}  # fmt: skip
NAMES = {
    SSD1306Model: dict(
        data_setup="tDSW", data_hold="tDHW", dc_setup="tAS", dc_hold="tAH", cs_setup="tCSS",
        cs_hold="tCSH", low="tCLKL", high="tCLKH", cycle="tcycle",
    ),
    SSD1331Model: dict(
        data_setup="tDSW", data_hold="tDHW", dc_setup="tAS", dc_hold="tAH", cs_setup="tCSS",
        cs_hold="tCSH", low="tCLKL", high="tCLKH", cycle="tcycle",
    ),
    ST7789Model: dict(
        data_setup="TSDS", data_hold="TSDH", dc_setup="TDCS", dc_hold="TDCH", cs_setup="TCSS",
        cs_hold="TCSH", low="TSLW", high="TSHW", cycle="TSCYCW", cs_high="TCHW",
    ),
}  # fmt: skip
MODELS = tuple(TIMES)


class Host:
    """Levels of the pins, in samples of 5 ns."""

    def __init__(self):
        self.levels = {pin: [] for pin in PINS}
        self.state = dict(sck=0, mosi=0, dc=0, cs=1, res=1)

    def wait(self, samples, **pins):
        self.state |= pins
        for pin, level in self.state.items():
            self.levels[pin] += [level] * samples

    def reset(self, low=20e-6, after=0.0):
        self.wait(round(low / PERIOD), res=0)
        self.wait(1 + round(after / PERIOD), res=1)

    def send(self, *data, dc=0, bits=8):
        """Send bytes with leisurely times."""
        self.wait(20, cs=0, dc=dc)
        for byte in data:
            for bit in range(bits):
                self.wait(20, sck=0, mosi=byte >> 7 - bit & 1)
                self.wait(20, sck=1)
        self.wait(20, sck=0)
        self.wait(20, cs=1)

    def trace(self):
        return {pin: np.array(levels, np.uint8) for pin, levels in self.levels.items()}


def fed(model, host, **options):
    panel = model(PERIOD, **options)
    # Pauses of milliseconds would make long traces; they have a test of their own.
    for name in ("reset to a command", "reset to SLPOUT", "SLPOUT to a command"):
        if name in panel.minima:
            panel.minima[name] = 0.0
    panel.feed(host.trace())
    return panel


def two_bytes(model, role=None, time=None):
    """Return the levels of two bytes with 100 ns between edges, and `time` for a role's minimum."""
    host = Host()
    host.reset()
    start = 5 * (len(host.levels["cs"]) + 100)
    edges = []
    for number in range(2):
        rises = [start + 200 + 200 * bit for bit in range(8)]
        falls = [rise + 100 for rise in rises]
        data = [rise - 100 for rise in rises]
        select, deselect = start, falls[7] + 100
        command, next_command = start - 50, deselect + 50
        if number == 1:
            if role == "data_setup":
                data[3] = rises[3] - time
            elif role == "data_hold":
                data[4] = rises[3] + time
            elif role == "dc_setup":
                command = rises[0] - time
            elif role == "dc_hold":
                next_command = rises[7] + time
            elif role == "cs_setup":
                select = rises[0] - time
            elif role == "cs_hold":
                deselect, next_command = rises[7] + time, falls[7] + 50
            elif role == "low":
                falls[2] = rises[3] - time
            elif role == "high":
                falls[3] = rises[3] + time
            elif role == "cycle":
                rises[3] = rises[2] + time
                falls[2] = rises[2] + max(TIMES[model]["high"], time // 10 * 5)
                data[3] = falls[2]
            elif role == "cs_high":
                select = edges[-1][0] + time
        edges += [(at, "sck", 1) for at in rises] + [(at, "sck", 0) for at in falls]
        edges += [(at, "mosi", (bit + number) % 2) for bit, at in enumerate(data)]
        edges += [(command, "dc", number), (next_command, "dc", 0)]
        edges += [(select, "cs", 0), (deselect, "cs", 1)]
        start = deselect + 400
    host.wait(start // 5 - len(host.levels["cs"]))
    levels = host.trace()
    for at, pin, level in sorted(edges, key=lambda edge: edge[0]):
        levels[pin][round(at / 5) :] = level
    return levels


@pytest.mark.parametrize(("model", "role"), [(m, role) for m in MODELS for role in NAMES[m]])
def test_every_minimum_is_checked(model, role):
    """At the exact minimum it passes; with one sample less exactly this minimum fails."""
    needed = -(-TIMES[model][role] // 5) * 5

    def violated(levels):
        panel = model(PERIOD, strict=False)
        for name in ("reset to a command", "reset to SLPOUT", "SLPOUT to a command"):
            panel.minima[name] = 0.0
        panel.feed(levels)
        return {e.minimum for e in panel.violations if isinstance(e, TimingError)}

    assert violated(two_bytes(model)) == set()
    assert violated(two_bytes(model, role, needed)) == set()
    short = violated(two_bytes(model, role, needed - 5))
    name = NAMES[model][role]
    assert name in short
    # An SSD1331's cycle is as long as its halves, and nothing is held longer than one half.
    also = {"cycle": {"low", "high"}, "low": {"data_setup"}, "cs_hold": {"high"}}.get(role, set())
    assert short <= {name} | {NAMES[model][other] for other in also}


@pytest.mark.parametrize(("model", "name", "needed"), [
    (SSD1306Model, "RES# low", 3e-6),
    (SSD1331Model, "RES# low", 3e-6),
    (ST7789Model, "TRW", 10e-6),
])  # fmt: skip
def test_resets_must_last(model, name, needed):
    host = Host()
    host.reset(low=needed)
    fed(model, host)
    short = Host()
    short.wait(10)
    short.reset(low=needed - PERIOD)
    with pytest.raises(TimingError, match=name):
        fed(model, short)


@pytest.mark.parametrize(("pauses", "name"), [
    ((0.004, 0.13, 0.006), "reset to a command"),
    ((0.006, 0.11, 0.006), "reset to SLPOUT"),
    ((0.006, 0.13, 0.004), "SLPOUT to a command"),
    ((0.006, 0.13, 0.006), None),
])  # fmt: skip
def test_an_st7789_needs_pauses(pauses, name):
    host = Host()
    host.reset()
    panel = ST7789Model(PERIOD, strict=False)

    def go_on(seconds=0.0):
        panel.feed(host.trace())
        host.levels = {pin: [] for pin in PINS}
        for _ in range(20):
            panel.feed(
                {pin: np.full(round(seconds / PERIOD / 20), v) for pin, v in host.state.items()}
            )

    go_on(pauses[0])
    host.send(0x00)
    go_on(pauses[1] - pauses[0])
    host.send(0x11)
    go_on(pauses[2])
    host.send(0x00)
    go_on()
    assert [error.minimum for error in panel.violations] == ([name] if name else [])


def switch_on(model, host):
    host.reset()
    if model is SSD1306Model:
        host.send(0x8D, 0x14, 0xA8, 63, 0xDA, 0x12, 0xA1, 0xC8, 0x20, 0x00)
        host.send(0x21, 0, 127, 0x22, 0, 7)
    elif model is SSD1331Model:
        host.send(0xA0, 0x32, 0xAD, 0x8E, 0x15, 0, 95, 0x75, 0, 63)
    else:
        for code, *parameters in ((0x11,), (0x21,), (0x3A, 0x55), (0x36, 0), (0x2C,)):
            host.send(code)
            if parameters:
                host.send(*parameters, dc=1)


def test_an_ssd1306_shows_pages_from_left_to_right():
    host = Host()
    switch_on(SSD1306Model, host)
    picture = np.zeros((64, 128), bool)
    # The upper left corner, a dot at the right edge of row 9, and the lowest row's first dot.
    picture[0, 0] = picture[9, 127] = picture[63, 0] = True
    pages = np.packbits(picture.reshape(8, 8, 128), axis=1, bitorder="little")
    host.send(*pages.ravel().tolist(), dc=1)
    assert fed(SSD1306Model, host).lines is None
    host.send(0xAF)
    panel = fed(SSD1306Model, host)
    seen = panel.picture()
    assert ((seen == seen.max(axis=(0, 1))).all(axis=2) == picture).all()
    assert panel.stray_dots() == 2
    assert panel.lines[0] == " " * 16
    assert panel.lines[1] == "\ufffd" + " " * 15
    host.send(0xA7)
    assert fed(SSD1306Model, host).stray_dots() == 32 * 128 - 2


def test_an_ssd1331_shows_rows_from_left_to_right():
    host = Host()
    switch_on(SSD1331Model, host)
    dots = np.zeros((64, 96), np.uint8)
    dots[0, 0], dots[1, 95], dots[63, 1] = 0xE0, 0x1C, 0x03
    host.send(*dots.ravel().tolist(), dc=1)
    host.send(0xAF)
    seen = fed(SSD1331Model, host).picture()
    assert [seen[0, 0].tolist(), seen[1, 95].tolist(), seen[63, 1].tolist()] == [
        [252, 0, 0],
        [0, 252, 0],
        [0, 0, 255],
    ]
    assert (seen != 0).sum() == 3


@pytest.mark.parametrize("turn", [0x00, 0x20, 0x40, 0x80])
def test_an_st7789_turns_as_it_is_told(turn):
    host = Host()
    switch_on(ST7789Model, host)
    host.send(0x36)
    host.send(turn, dc=1)
    # Rotated by 180 degrees, the memory's last 80 rows come first, which this glass does not show.
    host.send(0x2B)
    host.send(0, 80 if turn == 0x80 else 0, 1, 63, dc=1)
    host.send(0x2C)
    # Two dots in the first place: red, then green.
    host.send(0xF8, 0x00, 0x07, 0xE0, dc=1)
    host.send(0x29)
    seen = fed(ST7789Model, host).picture()
    first, second = {
        0x00: ((0, 0), (0, 1)),
        0x20: ((0, 0), (1, 0)),
        0x40: ((0, 239), (0, 238)),
        0x80: ((239, 0), (239, 1)),
    }[turn]
    assert (seen[first].tolist(), seen[second].tolist()) == ([248, 0, 0], [0, 252, 0])


@pytest.mark.parametrize("model", MODELS)
def test_misuse_is_refused(model):
    host = Host()
    host.send(0xAE)
    with pytest.raises(PanelError, match="without a reset"):
        fed(model, host)
    host = Host()
    host.reset()
    host.send(0xAE, bits=7)
    with pytest.raises(PanelError, match="after 7 of its 8 bits"):
        fed(model, host)
    host = Host()
    host.reset()
    host.send(0xFE)
    with pytest.raises(PanelError, match="0xfe"):
        fed(model, host)


def test_settings_that_the_module_does_not_stand_are_refused():
    host = Host()
    host.reset()
    host.send(0x8D, 0x14, 0xDA, 0x02, 0xAF)
    with pytest.raises(PanelError, match="DA 12"):
        fed(SSD1306Model, host)
    host = Host()
    host.reset()
    host.send(0xA0, 0x72, 0xAF)
    with pytest.raises(PanelError, match="AD"):
        fed(SSD1331Model, host)


@pytest.mark.parametrize("model", MODELS)
def test_offline_and_live_are_the_same(model):
    host = Host()
    switch_on(model, host)
    host.send(*range(40), dc=1)
    host.send(0xAF if model is not ST7789Model else 0x29)
    trace = host.trace()
    pieces = model(PERIOD)
    for name in ("reset to a command", "reset to SLPOUT", "SLPOUT to a command"):
        pieces.minima[name] = 0.0
    for start in range(0, len(trace["cs"]), 333):
        pieces.feed({pin: values[start : start + 333] for pin, values in trace.items()})
    whole = fed(model, host)
    assert (pieces.lines, pieces.seen, pieces.cycle) == (whole.lines, whole.seen, whole.cycle)
    assert np.array_equal(pieces.picture(), whole.picture())
    live = model(PERIOD, strict=False)
    live.minima.update(pieces.minima)
    for levels in zip(*(trace[pin].tolist() for pin in PINS), strict=True):
        live.step(**dict(zip(PINS, levels, strict=True)))
    assert not live.violations
    assert np.array_equal(live.picture(), whole.picture())
