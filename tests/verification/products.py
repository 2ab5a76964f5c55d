"""Places and routes one constant product alone: what a matrix costs, and how fast it is.

``.venv/bin/python tests/verification/products.py A1 --bits-per-cycle 2`` makes the unrolled core's
product with one of the merged matrices and reports lookup tables, flip-flops, clock and latency.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockDomain, Elaboratable, Module, Signal, Value

from gptloom.boards.carries import free_carries
from gptloom.boards.design import unambiguous
from gptloom.boards.families import FAMILIES
from gptloom.boards.report import parse_timing
from gptloom.boards.tools import Tools
from gptloom.hdl.unrolled.fabric import Ecp5Fabric, Fabric
from gptloom.hdl.unrolled.plan import width_of
from gptloom.hdl.unrolled.product import Plan, Product
from gptloom.hdl.unrolled.slices import Format
from gptloom.model.checkpoint import Checkpoint, load_checkpoint
from gptloom.model.errors import UserError
from gptloom.model.network import network

NAME = "product"
CLOCK_MHZ = 95.0
"""Target of place-and-route: a whole core is slower than its parts."""

PARTS = {"25F": "LFE5U-25F", "45F": "LFE5U-45F", "85F": "LFE5U-85F"}
PACKAGE, CLOCK_PIN, SPEED = "CABGA381", "G2", "6"
FABRICS: dict[str, type[Fabric]] = {"cells": Ecp5Fabric, "inferred": Fabric}

_FRACTIONS = {"A1": 6, "A2": 6, "Wo": 7, "B": 5}
"""Fraction bits of 8-bit weights; narrower weights have fewer."""


def matrix(checkpoint: Checkpoint, name: str, bits: int) -> np.ndarray:
    """Return one of the merged matrices of a one-layer network, rounded.

    Parameters
    ----------
    checkpoint
        Its float weights.
    name
        ``A1``, the hidden layer of the attention's output; ``A2``, its logits; ``Wo``; ``B``, the
        hidden layer's logits.
    bits
        Bits of a weight.

    Returns
    -------
    Integers [outputs, inputs].
    """
    w = {key: value.astype(np.float64) for key, value in checkpoint.weights.items()}
    table = network(checkpoint.config)
    *_, out, up, down = (w[weights.name] for weights in table.layer_weights(0))
    head = w[table.head.matrix.name]
    made = {
        "A1": lambda: up @ out,
        "A2": lambda: head @ out,
        "Wo": lambda: out,
        "B": lambda: head @ down,
    }[name]()
    top = (1 << bits - 1) - 1
    return np.clip(np.rint(made * 2.0 ** (_FRACTIONS[name] + bits - 8)), -top - 1, top).astype(int)


class Harness(Elaboratable):
    """A product between two pins: activations come from a shift register, results go to a parity.

    Attributes
    ----------
    lut, ff
        Size of the harness itself.
    clk, i, o
        Its pins.
    """

    def __init__(self, product: Product, plan: Plan):
        self._product, self._plan = product, plan
        self.clk = Signal()
        self.i = Signal(3)
        self.o = Signal(2)
        self.lut = self.ff = 0

    def elaborate(self, platform):
        """Return the hardware, and count the harness's own cells."""
        m = Module()
        m.domains.sync = domain = ClockDomain(reset_less=True)
        m.d.comb += domain.clk.eq(self.clk)
        m.submodules.product = product = self._product
        for i, port in enumerate((product.i.bits, product.i.inverted)):
            bits = Cat(port)
            register = Signal(len(bits), name=f"register_{i}")
            m.d.sync += register.eq(Cat(self.i[0] ^ i, register))
            m.d.comb += bits.eq(register)
            self.ff += len(bits)
        markers = Signal(3)
        m.d.sync += markers.eq(Cat(self.i[1:], markers[0]))
        m.d.comb += Cat(product.i.valid, product.i.first, product.i.last).eq(markers)

        low, high = self._plan.bounds
        widths = [width_of(*map(int, bounds)).width for bounds in zip(low, high, strict=True)]
        parity = [bit for o, width in zip(product.o, widths, strict=True) for bit in o[:width]]
        while len(parity) > 1:
            parity = [self._parity(m, parity[i : i + 4]) for i in range(0, len(parity), 4)]
        m.d.sync += self.o.eq(Cat(parity, product.valid))
        self.ff += len(markers) + len(self.o)
        return m

    def _parity(self, m: Module, bits: Sequence[Value]) -> Signal:
        o = Signal(name="parity")
        m.d.sync += o.eq(Cat(bits).xor())
        self.lut += len(bits) > 1
        self.ff += 1
        return o


@dataclass(frozen=True)
class Measured:
    """One product, placed and routed.

    Attributes
    ----------
    lut, ff
        Size without the harness.
    fmax_mhz
        Maximum clock with each seed.
    path
        Slowest path with the best seed.
    latency
        Cycles from the last slice to the product.
    interval
        Cycles from vector to vector.
    method
        Method of the plan.
    """

    lut: int
    ff: int
    fmax_mhz: tuple[float, ...]
    path: str
    latency: int
    interval: int
    method: str


def measure(
    plan: Plan,
    folder: Path,
    *,
    part: str = "25F",
    levels_per_register: int = 4,
    fabric: type[Fabric] = Ecp5Fabric,
    seeds: Sequence[int] = (1,),
    router: str = "router1",
) -> Measured:
    """Synthesise, place and route a product.

    Raises
    ------
    UserError
        If a tool is missing or fails, for instance because the product does not fit.
    """
    family, tools = FAMILIES["ecp5"], Tools()
    product = Product(plan, levels_per_register=levels_per_register, fabric=fabric)
    harness = Harness(product, plan)
    text = rtlil.convert(harness, name=NAME, ports=[harness.clk, harness.i, harness.o])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.il").write_text(unambiguous(text))
    (folder / f"{NAME}.ys").write_text(
        f"read_rtlil {NAME}.il\n{family.synthesis} -top {NAME}\nwrite_json {NAME}.json\n"
    )
    (folder / f"{NAME}.lpf").write_text(
        f'LOCATE COMP "clk" SITE "{CLOCK_PIN}";\nFREQUENCY PORT "clk" {CLOCK_MHZ} MHZ;\n'
    )
    tools.run("yosys", ["-q", "-l", "synthesis.log", f"{NAME}.ys"], folder)
    netlist = json.loads((folder / f"{NAME}.json").read_text())
    free_carries(netlist["modules"][NAME])
    (folder / f"{NAME}.json").write_text(json.dumps(netlist))
    timings = []
    for seed in seeds:
        arguments = [
            family.devices[f"LFE5U-{part}"],
            "--package", PACKAGE,
            "--speed", SPEED,
            "--json", f"{NAME}.json",
            "--lpf", f"{NAME}.lpf",
            "--lpf-allow-unconstrained",
            "--report", f"seed{seed}.json",
            "--log", f"seed{seed}.log",
            "--seed", str(seed),
            "--router", router,
            "--timing-allow-fail",
            "--quiet",
        ]  # fmt: skip
        tools.run(family.place, arguments, folder)
        report = json.loads((folder / f"seed{seed}.json").read_text())
        timings.append(parse_timing(report, seed, CLOCK_MHZ))
    best = max(timings, key=lambda timing: timing.fmax_mhz)
    return Measured(
        lut=best.count(family.logic) - harness.lut,
        ff=best.count("TRELLIS_FF") - harness.ff,
        fmax_mhz=tuple(round(timing.fmax_mhz, 1) for timing in timings),
        path=f"{best.path}, {best.path.logic_nanoseconds:.1f} ns of it logic",
        latency=product.latency,
        interval=plan.format.count,
        method=plan.method,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the product given on the command line and print it as a table row."""
    parser = argparse.ArgumentParser(prog="products.py", description=__doc__)
    parser.add_argument("matrix", nargs="+", choices=sorted(_FRACTIONS), help="stacked, if several")
    parser.add_argument("--checkpoint", default="names")
    parser.add_argument("--weight-bits", type=int, default=8)
    parser.add_argument("--activation-bits", type=int, default=8)
    parser.add_argument("--bits-per-cycle", type=int, default=1)
    parser.add_argument("--levels-per-register", type=int, default=4)
    parser.add_argument("--method", choices=("tables", "graph"), help="instead of the smaller one")
    parser.add_argument("--chain", type=int, default=4)
    parser.add_argument("--fabric", choices=sorted(FABRICS), default="cells")
    parser.add_argument("--part", choices=("25F", "45F", "85F"), default="25F")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--router", choices=("router1", "router2"), default="router1")
    parser.add_argument("--folder", type=Path, default=Path("build/products"))
    o = parser.parse_args(arguments)
    try:
        checkpoint = load_checkpoint(o.checkpoint)
        # Only the hidden layer's activations are unsigned.
        format_ = Format(o.activation_bits, o.bits_per_cycle, is_signed=o.matrix != ["B"])
        weights = np.vstack([matrix(checkpoint, name, o.weight_bits) for name in o.matrix])
        plan = Plan(weights, format_, method=o.method, chain=o.chain)
        folder = o.folder / "-".join(
            [*o.matrix, f"w{o.weight_bits}", f"b{o.bits_per_cycle}", f"r{o.levels_per_register}",
             f"c{o.chain}", plan.method, o.fabric]
        )  # fmt: skip
        found = measure(
            plan,
            folder,
            part=o.part,
            levels_per_register=o.levels_per_register,
            fabric=FABRICS[o.fabric],
            seeds=range(1, o.seeds + 1),
            router=o.router,
        )
    except (UserError, ValueError) as error:
        sys.exit(f"products.py: {error}")
    mhz = " ".join(f"{fmax:.1f}" for fmax in found.fmax_mhz)
    print(
        f"{'+'.join(o.matrix)} {'x'.join(map(str, weights.shape))} | W{o.weight_bits} "
        f"| {o.bits_per_cycle} bits/cycle | {found.method} | {o.part} | {found.lut:,} LUT "
        f"(planned {plan.cells:,}) | {found.ff:,} FF | {mhz} MHz "
        f"| latency {found.latency} after the last of {found.interval} slices | {found.path}"
    )


if __name__ == "__main__":
    main()
