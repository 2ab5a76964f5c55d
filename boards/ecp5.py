"""The family ECP5."""

from dataclasses import dataclass

from amaranth.hdl import Const, Instance, Module, Signal
from amaranth.lib import io

from gptloom.boards.clocks import around, nearest, within
from gptloom.boards.family import Family, Pll
from gptloom.boards.memories import Ram
from gptloom.hdl.multipliers import Mult18Multiplier
from gptloom.hdl.unrolled.target import Target

PLL_DIVIDERS = range(1, 129)
PLL_INPUT = (8e6, 400e6)
PLL_OUTPUT = (3.125e6, 400e6)
PLL_DETECTOR = (3.125e6, 400e6)
PLL_VCO = (400e6, 800e6)
"""ECP5 family data sheet FPGA-DS-02012, table "sysCLOCK PLL Timing": fIN, fOUT, fPFD, fVCO."""

RAMS = (
    Ram((4,), 16, cost=4, distributed=True),
    Ram((1, 2, 4, 9, 18), 1 << 14, cost=128, byte=9, ports=2),
    Ram((1, 2, 4, 9, 18, 36), 1 << 14, cost=128, byte=9, least_write=36),
)
"""Kinds of RAM cells, as in yosys' lutrams_trellis.txt and brams_16kd.txt (share/lattice)."""


@dataclass(frozen=True)
class Ecp5Pll(Pll):
    """Dividers of an ``EHXPLLL`` whose feedback is its output CLKOP.

    ``f = reference * feedback / input``, and the internal oscillator runs at ``f * output``.

    Attributes
    ----------
    reference_hz
        Frequency at CLKI.
    input, feedback, output
        CLKI_DIV, CLKFB_DIV and CLKOP_DIV, each 1 to 128.
    """

    reference_hz: float
    input: int
    feedback: int
    output: int

    @property
    def hz(self) -> float:
        """Frequency of CLKOP."""
        return self.reference_hz * self.feedback / self.input

    @property
    def vco_hz(self) -> float:
        """Frequency of the internal oscillator."""
        return self.hz * self.output

    def connect(self, m: Module, pin, clock: Signal, locked: Signal, *, on_pad: bool) -> None:
        """See :meth:`.Pll.connect`; pads make no difference."""
        m.submodules.buffer = buffer = io.Buffer("i", pin)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.reference_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.hz / 1e6:g}",
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
            p_CLKOP_DIV=self.output,
            p_CLKOP_CPHASE=self.output // 2,
            p_CLKOP_FPHASE=0,
            p_CLKI_DIV=self.input,
            p_CLKFB_DIV=self.feedback,
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


def solve(reference_hz: float, target_hz: float) -> Ecp5Pll:
    """Return the setting nearest to a frequency; among equals, the one with the fastest detector.

    The oscillator's frequency is then the one nearest to the middle of its range.

    Raises
    ------
    UserError
        If no setting comes within 10 %.
    """
    middle = sum(PLL_VCO) / 2
    settings = [
        pll
        for input_divider in PLL_DIVIDERS
        if within(reference_hz / input_divider, PLL_DETECTOR)
        # Only the two feedback dividers around the exact one can be nearest.
        for feedback in around(target_hz * input_divider / reference_hz)
        if feedback in PLL_DIVIDERS
        for output in PLL_DIVIDERS
        for pll in [Ecp5Pll(reference_hz, input_divider, feedback, output)]
        if within(pll.hz, PLL_OUTPUT) and within(pll.vco_hz, PLL_VCO)
    ]
    if not within(reference_hz, PLL_INPUT):
        settings = []
    return nearest(
        settings, reference_hz, target_hz, lambda pll: (pll.input, abs(pll.vco_hz - middle))
    )


_SIZES = {"12F": "12k", "25F": "25k", "45F": "45k", "85F": "85k"}
_KINDS = {"LFE5U": "", "LFE5UM": "um-", "LFE5UM5G": "um5g-"}


def _by_part(*counts: int) -> dict[str, int]:
    """Return counts by part from those of 25F, 45F and 85F; a 12F is the same die as a 25F."""
    sizes = dict(zip(_SIZES, (counts[0], *counts), strict=True))
    return {f"{kind}-{size}": count for kind in _KINDS for size, count in sizes.items()}


ECP5 = Family(
    name="ecp5",
    solve=solve,
    multiplier=Mult18Multiplier,
    rams=RAMS,
    unrolled=Target.ecp5,
    framed=True,
    synthesis="synth_ecp5",
    synthesis_options={},
    place="nextpnr-ecp5",
    place_output="--textcfg",
    devices={
        f"{kind}-{size}": f"--{option}{name}"
        for kind, option in _KINDS.items()
        for size, name in _SIZES.items()
    },
    packages={
        "BG256": "CABGA256",
        "MG285": "CSFBGA285",
        "BG381": "CABGA381",
        "BG554": "CABGA554",
    },
    constraints="lpf",
    placed="config",
    bitstream="bit",
    pack=("ecppack", "--compress", "--input", "{placed}", "--bit", "{bitstream}"),
    unpack=("ecpunpack", "--input", "{bitstream}", "--textcfg", "{placed}"),
    contents=(
        "ecpbram",
        *["--input", "{placed}", "--output", "{patched}", "--from", "{before}", "--to", "{after}"],
    ),
    contents_section="bram_init",
    column=512,
    attributes={"IO_TYPE": "LVCMOS33"},
    logic="TRELLIS_COMB",
    multipliers="MULT18X18D",
    memories="DP16KD",
    memory_cells=("DP16KD", "PDPW16KD"),
    multiplier_cells=("MULT18X18D",),
    flip_flop_cells=("TRELLIS_FF",),
    multipliers_of=_by_part(28, 72, 156),
    logic_of=_by_part(24_288, 43_848, 83_640),
    memories_of=_by_part(56, 108, 208),
)
