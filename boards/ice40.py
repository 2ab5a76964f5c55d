"""The family iCE40."""

from dataclasses import dataclass

from amaranth.hdl import Const, Instance, Module, Signal
from amaranth.lib import io

from gptloom.boards.clocks import nearest, within
from gptloom.boards.family import Family, Pll
from gptloom.boards.memories import Ram
from gptloom.hdl.multipliers import Mac16Multiplier

BLOCK_RAM_SECONDS = 15e-6
"""After configuration, block RAM of an iCE40 reads zero for about 3 us (Project IceStorm, issue
76); amaranth also waits five times as long."""

PLL_DETECTOR = (10e6, 133e6)
PLL_OUTPUT = (16e6, 275e6)
PLL_VCO = (533e6, 1066e6)
"""iCE40 LP/HX data sheet FPGA-DS-02029 and iCE40 UltraPlus data sheet FPGA-DS-02008, table
"sysCLOCK PLL Timing": fIN and fPFD, fOUT, fVCO."""

RAMS = (
    Ram((2, 4, 8, 16), 2048, cost=64, most_write=8),
    Ram((2, 4, 8, 16), 2048, cost=64, byte=1),
)
"""Kinds of RAM cells, as in yosys' share/ice40/brams.txt: with enables for every bit, or narrow
words without."""


@dataclass(frozen=True)
class Ice40Pll(Pll):
    """Dividers of an ``SB_PLL40_CORE`` or ``SB_PLL40_PAD`` with feedback path SIMPLE.

    ``f = reference * (divf + 1) / ((divr + 1) * 2**divq)``.

    Attributes
    ----------
    reference_hz
        Frequency of the reference.
    divr, divf, divq
        DIVR (0 to 15), DIVF (0 to 127) and DIVQ (1 to 6).
    """

    settling = BLOCK_RAM_SECONDS

    reference_hz: float
    divr: int
    divf: int
    divq: int

    @property
    def hz(self) -> float:
        """Frequency of the output."""
        return self.vco_hz / (1 << self.divq)

    @property
    def vco_hz(self) -> float:
        """Frequency of the internal oscillator."""
        return self.detector_hz * (self.divf + 1)

    @property
    def detector_hz(self) -> float:
        """Frequency that the phase detector compares."""
        return self.reference_hz / (self.divr + 1)

    @property
    def filter_range(self) -> int:
        """FILTER_RANGE for the detector's frequency, as Project IceStorm's icepll sets it."""
        limits = (17e6, 26e6, 44e6, 66e6, 101e6)
        return 1 + sum(self.detector_hz >= limit for limit in limits)

    def connect(self, m: Module, pin, clock: Signal, locked: Signal, *, on_pad: bool) -> None:
        """See :meth:`.Pll.connect`."""
        if on_pad:
            cell, reference = "SB_PLL40_PAD", {"i_PACKAGEPIN": pin.io}
        else:
            m.submodules.buffer = buffer = io.Buffer("i", pin)
            cell, reference = "SB_PLL40_CORE", {"i_REFERENCECLK": buffer.i}
        m.submodules.pll = Instance(
            cell,
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(self.divr, 4),
            p_DIVF=Const(self.divf, 7),
            p_DIVQ=Const(self.divq, 3),
            p_FILTER_RANGE=Const(self.filter_range, 3),
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=clock,
            o_LOCK=locked,
            **reference,
        )


def solve(reference_hz: float, target_hz: float) -> Ice40Pll:
    """Return the setting nearest to a frequency; among equals, the one with the fastest detector.

    Raises
    ------
    UserError
        If no setting comes within 10 %.
    """
    settings = [
        pll
        for divr in range(16)
        for divq in range(1, 7)
        for divf in range(128)
        for pll in [Ice40Pll(reference_hz, divr, divf, divq)]
        if within(pll.detector_hz, PLL_DETECTOR)
        and within(pll.vco_hz, PLL_VCO)
        and within(pll.hz, PLL_OUTPUT)
    ]
    return nearest(settings, reference_hz, target_hz, lambda pll: (pll.divr, pll.divq))


ICE40 = Family(
    name="ice40",
    solve=solve,
    multiplier=Mac16Multiplier,
    rams=RAMS,
    unrolled=None,
    framed=False,
    synthesis="synth_ice40",
    synthesis_options={"iCE40UP5K": "-dsp -abc9 -device u", "iCE40HX8K": "-abc9 -device hx"},
    place="nextpnr-ice40",
    place_output="--asc",
    devices={"iCE40UP5K": "--up5k", "iCE40HX8K": "--hx8k"},
    packages={"SG48": "sg48", "CT256": "ct256"},
    constraints="pcf",
    placed="asc",
    bitstream="bin",
    pack=("icepack", "{placed}", "{bitstream}"),
    unpack=("iceunpack", "{bitstream}", "{placed}"),
    contents=("icebram", "{before}", "{after}"),
    contents_section="ram_data",
    column=256,
    attributes={"IO_STANDARD": "SB_LVCMOS"},
    logic="ICESTORM_LC",
    multipliers="ICESTORM_DSP",
    memories="ICESTORM_RAM",
    memory_cells=("SB_RAM40_4K", "SB_SPRAM256KA"),
    multiplier_cells=("SB_MAC16",),
    flip_flop_cells=("SB_DFF",),
    multipliers_of={"iCE40UP5K": 8, "iCE40HX8K": 0},
    logic_of={"iCE40UP5K": 5_280, "iCE40HX8K": 7_680},
    memories_of={"iCE40UP5K": 30, "iCE40HX8K": 32},
)
