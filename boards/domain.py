"""The clock domain of a board: its oscillator, the PLL, and a reset that waits for both."""

from amaranth.build import Platform
from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Elaboratable,
    Module,
    ResetSignal,
    Signal,
)
from amaranth.lib.cdc import ResetSynchronizer

from gptloom.boards.family import Pll


class PllDomain(Elaboratable):
    """Drives the domain ``sync``, which the design's top defines, from a board's oscillator.

    Reset holds until the PLL is locked, and for a while longer where the part needs it.

    Parameters
    ----------
    oscillator
        The board's clock resource.
    pll
        Its settings.
    on_pad
        The oscillator's pin is the PLL's own pad, see :attr:`.Board.on_pad`.
    """

    def __init__(self, oscillator: str, pll: Pll, *, on_pad: bool = False):
        self._oscillator = oscillator
        self._pll = pll
        self._on_pad = on_pad

    def elaborate(self, platform: Platform) -> Module:
        """Request the oscillator."""
        m = Module()
        # The constraint names this net, which synthesis would otherwise merge with another.
        clock = Signal(name="pll_clock", attrs={"keep": 1})
        locked = Signal(name="pll_locked")
        pin = platform.request(self._oscillator, dir="-")
        self._pll.connect(m, pin, clock, locked, on_pad=self._on_pad)
        held = self._wait(m, locked) if self._pll.settling else ~locked
        platform.add_clock_constraint(clock, self._pll.hz)
        m.d.comb += ClockSignal().eq(clock)
        m.submodules.reset = ResetSynchronizer(held, domain="sync")
        return m

    def _wait(self, m: Module, locked: Signal):
        """Count from lock; return whether reset still holds."""
        m.domains.pll = ClockDomain(local=True)
        m.d.comb += ClockSignal("pll").eq(ClockSignal())
        m.submodules.lock = ResetSynchronizer(~locked, domain="pll")
        cycles = round(self._pll.hz * self._pll.settling)
        timer = Signal(range(cycles + 1))
        ready = Signal()
        with m.If(timer == cycles):
            m.d.pll += ready.eq(1)
        with m.Else():
            m.d.pll += timer.eq(timer + 1)
        return ~ready | ResetSignal("pll")
