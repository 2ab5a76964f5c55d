"""PLL settings for a clock, within the limits of the data sheets."""

from dataclasses import dataclass

from gptloom.model.errors import UserError


@dataclass(frozen=True)
class Ecp5Pll:
    """Dividers of an ``EHXPLLL`` whose feedback is its output CLKOP.

    ``f = reference * feedback / input``, and the oscillator inside runs at ``f * output``.

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
        """Frequency of the oscillator inside."""
        return self.hz * self.output


@dataclass(frozen=True)
class Ice40Pll:
    """Dividers of an ``SB_PLL40_CORE`` or ``SB_PLL40_PAD`` with feedback path SIMPLE.

    ``f = reference * (divf + 1) / ((divr + 1) * 2**divq)``.

    Attributes
    ----------
    reference_hz
        Frequency of the reference.
    divr, divf, divq
        DIVR (0 to 15), DIVF (0 to 127) and DIVQ (1 to 6).
    """

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
        """Frequency of the oscillator inside."""
        return self.detector_hz * (self.divf + 1)

    @property
    def detector_hz(self) -> float:
        """Frequency that the phase detector compares."""
        return self.reference_hz / (self.divr + 1)

    @property
    def filter_range(self) -> int:
        """FILTER_RANGE for the detector's frequency, as icepll of Project IceStorm sets it."""
        limits = (17e6, 26e6, 44e6, 66e6, 101e6)
        return 1 + sum(self.detector_hz >= limit for limit in limits)


ECP5_DIVIDERS = range(1, 129)
ECP5_INPUT = (8e6, 400e6)
ECP5_OUTPUT = (3.125e6, 400e6)
ECP5_DETECTOR = (3.125e6, 400e6)
ECP5_VCO = (400e6, 800e6)
"""ECP5 family data sheet FPGA-DS-02012, table "sysCLOCK PLL Timing": fIN, fOUT, fPFD, fVCO."""

ICE40_DETECTOR = (10e6, 133e6)
ICE40_OUTPUT = (16e6, 275e6)
ICE40_VCO = (533e6, 1066e6)
"""iCE40 LP/HX data sheet FPGA-DS-02029 and iCE40 UltraPlus data sheet FPGA-DS-02008, table
"sysCLOCK PLL Timing": fIN and fPFD, fOUT, fVCO."""

FARTHEST = 0.1
"""A clock farther than this from what was asked for is refused."""


def solve_ecp5(reference_hz: float, target_hz: float) -> Ecp5Pll:
    """Return the setting nearest to a frequency; of equals the one with the fastest detector.

    Of the oscillator's frequencies the one nearest to the middle of its range is taken.

    Raises
    ------
    UserError
        If no setting comes within 10 %.
    """
    middle = sum(ECP5_VCO) / 2
    settings = [
        pll
        for input_divider in ECP5_DIVIDERS
        if _within(reference_hz / input_divider, ECP5_DETECTOR)
        # Only the two feedback dividers around the exact one can be nearest.
        for feedback in _around(target_hz * input_divider / reference_hz)
        if feedback in ECP5_DIVIDERS
        for output in ECP5_DIVIDERS
        for pll in [Ecp5Pll(reference_hz, input_divider, feedback, output)]
        if _within(pll.hz, ECP5_OUTPUT) and _within(pll.vco_hz, ECP5_VCO)
    ]
    if not _within(reference_hz, ECP5_INPUT):
        settings = []
    return _nearest(
        settings, reference_hz, target_hz, lambda pll: (pll.input, abs(pll.vco_hz - middle))
    )


def solve_ice40(reference_hz: float, target_hz: float) -> Ice40Pll:
    """Return the setting nearest to a frequency; of equals the one with the fastest detector.

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
        if _within(pll.detector_hz, ICE40_DETECTOR)
        and _within(pll.vco_hz, ICE40_VCO)
        and _within(pll.hz, ICE40_OUTPUT)
    ]
    return _nearest(settings, reference_hz, target_hz, lambda pll: (pll.divr, pll.divq))


def _within(hz: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= hz <= limits[1]


def _around(value: float) -> tuple[int, int]:
    return int(value), int(value) + 1


def _nearest(settings, reference_hz, target_hz, preference):
    best = min(settings, key=lambda pll: (abs(pll.hz - target_hz), preference(pll)), default=None)
    if best is None or abs(best.hz / target_hz - 1) > FARTHEST:
        raise UserError(
            f"the PLL cannot make {target_hz / 1e6:g} MHz from {reference_hz / 1e6:g} MHz: "
            "choose another clock, such as 80"
        )
    return best
