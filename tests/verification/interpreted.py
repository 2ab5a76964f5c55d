"""Small cores in Amaranth's own simulator, which has them at once."""

from functools import partial

from gptloom.firmware.image import build_image
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.preload import Preload
from gptloom.sim.engines import open_engine
from verification.scoreboard import CheckedCore


def interpreted_core(machine, model, waves) -> CheckedCore:
    """Return a core that holds a model from power-on, compared cycle by cycle."""
    core = FoldedCore(machine, preload=Preload.of(build_image(model, machine), machine))
    bench = CheckedCore(machine, partial(open_engine, kind="pysim"), waves.folder, core, waves.keep)
    bench.power_on(model)
    bench.session.temperature(model.logit_scale(1.0))
    return bench
