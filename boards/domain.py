"""The clock domain of a board: its oscillator, the PLL, and a reset that waits for both."""

from amaranth.build import Platform
from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Const,
    Elaboratable,
    Instance,
    Module,
    ResetSignal,
    Signal,
)
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from gptloom.boards.clocks import Ecp5Pll, Ice40Pll

BLOCK_RAM_SECONDS = 15e-6
"""After configuration, block RAM of an iCE40 reads zero for about 3 us (Project IceStorm, issue
76); five times as long is what amaranth waits as well."""


class PllDomain(Elaboratable):
    """Drives the domain ``sync``, which the design's top defines, from a board's oscillator.

    Reset holds until the PLL is locked, on an iCE40 15 us longer.

    Parameters
    ----------
    oscillator
        The board's clock resource.
    pll
        Settings; their class tells the family.
    on_pad
        iCE40: the oscillator's pin is the PLL's own pad, so that SB_PLL40_PAD has to be used.
    """

    def __init__(self, oscillator: str, pll: Ecp5Pll | Ice40Pll, *, on_pad: bool = False):
        self._oscillator = oscillator
        self._pll = pll
        self._on_pad = on_pad

    def elaborate(self, platform: Platform) -> Module:
        """Request the oscillator."""
        m = Module()
        # The constraint is for the net of this name, which synthesis would otherwise join.
        clock = Signal(name="pll_clock", attrs={"keep": 1})
        locked = Signal(name="pll_locked")
        pin = platform.request(self._oscillator, dir="-")
        if isinstance(self._pll, Ecp5Pll):
            self._ecp5(m, pin, clock, locked)
            held = ~locked
        else:
            self._ice40(m, pin, clock, locked)
            held = self._wait(m, locked)
        platform.add_clock_constraint(clock, self._pll.hz)
        m.d.comb += ClockSignal().eq(clock)
        m.submodules.reset = ResetSynchronizer(held, domain="sync")
        return m

    def _ecp5(self, m: Module, pin, clock: Signal, locked: Signal) -> None:
        m.submodules.buffer = buffer = io.Buffer("i", pin)
        pll = self._pll
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{pll.reference_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{pll.hz / 1e6:g}",
            # Analogue settings as Project Trellis' ecppll writes them for every frequency.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=pll.output,
            p_CLKOP_CPHASE=pll.output // 2,
            p_CLKOP_FPHASE=0,
            p_CLKI_DIV=pll.input,
            p_CLKFB_DIV=pll.feedback,
            p_FEEDBK_PATH="CLKOP",
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_CLKI=buffer.i,
            i_CLKFB=clock,
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=clock,
            o_LOCK=locked,
        )

    def _ice40(self, m: Module, pin, clock: Signal, locked: Signal) -> None:
        pll = self._pll
        if self._on_pad:
            cell, reference = "SB_PLL40_PAD", {"i_PACKAGEPIN": pin.io}
        else:
            m.submodules.buffer = buffer = io.Buffer("i", pin)
            cell, reference = "SB_PLL40_CORE", {"i_REFERENCECLK": buffer.i}
        m.submodules.pll = Instance(
            cell,
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(pll.divr, 4),
            p_DIVF=Const(pll.divf, 7),
            p_DIVQ=Const(pll.divq, 3),
            p_FILTER_RANGE=Const(pll.filter_range, 3),
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=clock,
            o_LOCK=locked,
            **reference,
        )

    def _wait(self, m: Module, locked: Signal):
        """Count from lock; return whether reset still holds."""
        m.domains.pll = ClockDomain(local=True)
        m.d.comb += ClockSignal("pll").eq(ClockSignal())
        m.submodules.lock = ResetSynchronizer(~locked, domain="pll")
        cycles = round(self._pll.hz * BLOCK_RAM_SECONDS)
        timer = Signal(range(cycles + 1))
        ready = Signal()
        with m.If(timer == cycles):
            m.d.pll += ready.eq(1)
        with m.Else():
            m.d.pll += timer.eq(timer + 1)
        return ~ready | ResetSignal("pll")
