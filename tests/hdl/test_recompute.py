"""Recompute: the whole document again for every sampled token."""

import random

from amaranth.sim import Simulator

from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.recompute import Recompute
from gptloom.model.config import ModelConfig

MACHINE = Machine.for_models(16, ModelConfig())


def test_every_wanted_token_runs_the_whole_document():
    draw = random.Random(1)
    dut = Recompute(MACHINE)
    documents = [[draw.randrange(27) for _ in range(draw.randint(1, 16))] for _ in range(20)]
    known = [draw.randint(1, len(document)) for document in documents]
    ran: list[tuple[int, int, bool]] = []

    async def program(ctx):
        """Stand in for program and sampler: finished or done some time after a start."""
        while True:
            await ctx.tick()
            if not ctx.get(dut.start):
                continue
            ran.append((ctx.get(dut.place), ctx.get(dut.now), bool(ctx.get(dut.wanted))))
            await ctx.tick().repeat(draw.randint(5, 30))
            which = dut.done if ctx.get(dut.wanted) else dut.finished
            ctx.set(which, 1)
            await ctx.tick()
            ctx.set(which, 0)

    async def control(ctx):
        for document, sampled_from in zip(documents, known, strict=True):
            for position, token in enumerate(document):
                ran.clear()
                sample = position + 1 >= sampled_from
                for signal, value in (
                    (dut.token_start, 1),
                    (dut.token, token),
                    (dut.position, position),
                    (dut.sample, sample),
                ):
                    ctx.set(signal, value)
                await ctx.tick()
                ctx.set(dut.token_start, 0)
                await ctx.tick().until(dut.token_done if sample else dut.token_finished)
                last = position if sample else -1
                assert ran == [(i, t, i == last) for i, t in enumerate(document[: last + 1])]
                await ctx.tick().repeat(draw.randint(1, 3))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(control)
    simulator.add_testbench(program, background=True)
    simulator.run()
