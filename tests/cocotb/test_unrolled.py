"""The unrolled core within Verilator: every watched signal in every cycle as in CXXRTL.

The recording of CXXRTL is compared with the golden model first, value by value.
"""

import numpy as np
import pytest
from case import NetlistCase
from small_core import INPUTS, make_core, play, random_model

from verification.stages import Scoreboard

CYCLES = 600


@pytest.mark.nightly
def test_a_small_core(cosimulate):
    model, shape = random_model(), (1, 1, 1)
    core = make_core(model, *shape)
    recorded = play(core, model, CYCLES)
    scoreboard = Scoreboard(core, model, recorded.streams)
    assert scoreboard.check(recorded.signals, recorded.widths) > 100 * recorded.tokens
    # A bench drives with the recorded inputs.
    columns = [recorded.signals[name] for name in scoreboard.signals]
    case = NetlistCase(
        inputs=INPUTS,
        stimulus=np.stack([recorded.signals[name] for name in INPUTS], axis=1),
        outputs=np.stack(columns, axis=1),
        owners=scoreboard.signals,
    )
    cosimulate(make_core(model, *shape), "bench_netlist", case, scoreboard.signals)
