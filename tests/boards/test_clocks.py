"""PLL settings, against values tried with the tools, and against the data sheets' limits."""

import pytest

from gptloom.boards import ecp5, ice40
from gptloom.model.errors import UserError


@pytest.mark.parametrize(
    ("reference", "dividers"),
    [(25, (5, 16, 7)), (48, (3, 5, 7)), (50, (5, 8, 7)), (12, (3, 20, 7)), (100, (5, 4, 7))],
)
def test_ecp5_makes_exactly_80_mhz(reference, dividers):
    pll = ecp5.solve(reference * 1e6, 80e6)
    assert (pll.input, pll.feedback, pll.output) == dividers
    assert pll.hz == 80e6


@pytest.mark.parametrize(
    ("reference", "target", "setting", "made"),
    [
        (12, 80, (0, 52, 3), 79.5),
        (12, 81, (0, 53, 3), 81),
        (16, 80, (0, 39, 3), 80),
        (12, 48, (0, 63, 4), 48),
    ],
)
def test_ice40_says_what_it_really_makes(reference, target, setting, made):
    pll = ice40.solve(reference * 1e6, target * 1e6)
    assert (pll.divr, pll.divf, pll.divq) == setting
    assert pll.hz == made * 1e6


@pytest.mark.parametrize("target", [20, 33.3, 48, 60, 80, 100, 123, 200])
@pytest.mark.parametrize("reference", [10, 12, 16, 25, 27, 48, 50, 100])
def test_settings_stay_within_the_data_sheets(reference, target):
    trellis = ecp5.solve(reference * 1e6, target * 1e6)
    assert ecp5.PLL_DETECTOR[0] <= trellis.reference_hz / trellis.input <= ecp5.PLL_DETECTOR[1]
    assert ecp5.PLL_VCO[0] <= trellis.vco_hz <= ecp5.PLL_VCO[1]
    assert ecp5.PLL_OUTPUT[0] <= trellis.hz <= ecp5.PLL_OUTPUT[1]
    assert all(1 <= divider <= 128 for divider in (trellis.input, trellis.feedback, trellis.output))
    storm = ice40.solve(reference * 1e6, target * 1e6)
    assert ice40.PLL_DETECTOR[0] <= storm.detector_hz <= ice40.PLL_DETECTOR[1]
    assert ice40.PLL_VCO[0] <= storm.vco_hz <= ice40.PLL_VCO[1]
    assert ice40.PLL_OUTPUT[0] <= storm.hz <= ice40.PLL_OUTPUT[1]
    assert storm.divr in range(16)
    assert storm.divf in range(128)
    assert storm.divq in range(1, 7)


@pytest.mark.parametrize(("divr", "filter_range"), [(0, 5), (1, 4), (2, 3), (3, 2), (5, 1)])
def test_filter_follows_the_detectors_frequency(divr, filter_range):
    # Just below 100, 50, 33, 25 and 17 MHz.
    assert ice40.Ice40Pll(99e6, divr, 0, 1).filter_range == filter_range


@pytest.mark.parametrize("solve", [ecp5.solve, ice40.solve])
@pytest.mark.parametrize(("reference", "target"), [(12e6, 900e6), (12e6, 1e6), (1e6, 80e6)])
def test_what_cannot_be_made_is_refused(solve, reference, target):
    with pytest.raises(UserError, match="the PLL cannot make"):
        solve(reference, target)
