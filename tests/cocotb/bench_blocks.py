"""Runs within the simulator: block after block at random, each compared with the golden model."""

import os
import random

import cocotb
import numpy as np
from amaranth.lib import data
from blocks import MACHINE, WIDE, make_blocks
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from gptloom.firmware.isa import Scale
from gptloom.firmware.machine import QUAD
from gptloom.hdl.folded import layouts
from gptloom.model import arithmetic, sampling, tables
from gptloom.sim.engines.base import component_ports

BLOCKS = make_blocks()
INPUTS = [
    f"{name}__{port.name}"
    for name, block in BLOCKS.items()
    for port in component_ports(block).values()
    if port.is_input
]
CORNERS = [0, 1, -1, (1 << 23) - 1, -(1 << 23), 7, 8, -8, -9, 1 << 17, -(1 << 17) - 1]


class Bench:
    """One block's ports, cycle by cycle."""

    def __init__(self, dut, name):
        self.dut, self.name = dut, name
        self.draw = random.Random(f"{os.environ['CASE']}-{name}")
        dut._log.info("replay with number %s", os.environ["CASE"])
        self.cycle = 0

    def set(self, port, value):
        handle = getattr(self.dut, f"{self.name}__{port}")
        handle.value = int(value) & ((1 << len(handle)) - 1)

    def get(self, port, signed=False):
        handle = getattr(self.dut, f"{self.name}__{port}")
        value = int(handle.value)
        return value - (1 << len(handle)) if signed and value >> len(handle) - 1 else value

    async def start(self):
        self.dut.clk.value = 0
        # Those of all blocks: what nobody drives is unknown in some simulators.
        for port in INPUTS:
            getattr(self.dut, port).value = 0
        Clock(self.dut.clk, 10, unit="ns").start(start_high=False)
        self.dut.rst.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0

    async def settle(self):
        await ReadOnly()

    async def step(self):
        await FallingEdge(self.dut.clk)
        self.cycle += 1


def bits(shape, **fields):
    return data.Layout.cast(shape).const(fields).as_bits()


def packed(values, width):
    return sum((int(value) & ((1 << width) - 1)) << width * i for i, value in enumerate(values))


async def requantised(dut, name):
    bench = Bench(dut, name)
    await bench.start()
    draw, expected = bench.draw, {}
    latency = BLOCKS[name].latency
    for cycle in range(2_000):
        value = draw.choice([draw.choice(CORNERS), draw.randrange(-(1 << 23), 1 << 23)])
        mantissa, shift = draw.randrange(256, 512), draw.randrange(32)
        narrow, wide, relu = (*draw.choice([(0, 0), (1, 0), (0, 1)]), draw.randrange(2))
        for port, item in dict(
            i=value, mantissa=mantissa, shift=shift, narrow=narrow, wide=wide, relu=relu
        ).items():
            bench.set(port, item)
        width = 8 if narrow else 16 if wide else 10
        result = int(arithmetic.requantise(value, mantissa, shift + 1, width))
        expected[cycle + latency] = max(0, result) if relu else result
        await bench.settle()
        if cycle in expected:
            assert bench.get("o", signed=True) == expected[cycle], f"cycle {cycle}"
        await bench.step()


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def requantise(dut):
    await requantised(dut, "requantise")


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def requantise_in_shorter_steps(dut):
    await requantised(dut, "deep")


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def scores(dut):
    bench = Bench(dut, "quantise")
    await bench.start()
    before = None
    for _ in range(1_000):
        value = bench.draw.choice([*CORNERS, bench.draw.randrange(-(1 << 17), 1 << 17)])
        bench.set("i", value)
        await bench.settle()
        if before is not None:
            expected = int(arithmetic.quantise_score(before))
            assert bench.get("o", signed=True) == expected, before
        before = value
        await bench.step()


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def engine(dut):
    """Passes of any length, with gaps, from one bank or from every head's own."""
    bench = Bench(dut, "mac_array")
    await bench.start()
    draw, m = bench.draw, MACHINE
    latency = BLOCKS["mac_array"].latency
    quads_left, sums, first, expected, operands = 0, None, True, {}, None
    broadcast, number = 0, 0
    for cycle in range(3_000):
        words = [[draw.randrange(-128, 128) for _ in range(QUAD)] for _ in range(m.units)]
        banks = [[draw.randrange(-512, 512) for _ in range(QUAD)] for _ in range(m.heads)]
        for unit in range(m.units):
            bench.set(f"words__{unit}", packed(words[unit], 8))
        bench.set("quads", packed([x for bank in banks for x in bank], 10))
        if operands:
            # Words that the memories deliver now belong to the issue of the cycle before.
            bank, whole, before = operands
            products = [
                np.dot(words[u], banks[bank] if whole else banks[u % m.heads])
                for u in range(m.units)
            ]
            sums = products if before else [s + p for s, p in zip(sums, products, strict=True)]
        if operands and quads_left == 0:
            expected[cycle - 1 + latency] = sums, number
        operands = None
        issue = 0
        if draw.random() < 0.8:
            if quads_left == 0:
                quads_left, first = draw.randrange(1, 17), True
                broadcast, number = draw.randrange(2), draw.randrange(MACHINE.program_words)
            quads_left -= 1
            bank = draw.randrange(m.heads)
            job = dict(operation=number, opening=0)
            issue = bits(
                layouts.issues(m), valid=1, first=first, last=quads_left == 0,
                broadcast=broadcast, bank=bank, offset=0, job=job,
            )  # fmt: skip
            operands, first = (bank, broadcast, first), False
        bench.set("issue", issue)
        await bench.settle()
        assert bench.get("done") == (cycle in expected), f"cycle {cycle}"
        if cycle in expected:
            right, operation = expected[cycle]
            assert [bench.get(f"sums__{u}", signed=True) for u in range(m.units)] == right
            assert bench.get("job") & (1 << m.operation_bits) - 1 == operation
        await bench.step()
    assert len(expected) > 100


def result(machine, listener, index, values, last, enable=None, operation=0):
    layout = layouts.results(machine)
    enable = (1 << machine.writers) - 1 if enable is None else enable
    return layout.const(
        dict(
            enable=enable, index=index, last=last, to={listener: 1},
            operation=operation, values=list(values),
        )
    ).as_bits()  # fmt: skip


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def norm(dut):
    """Streams of any length and value, with gaps, and other results between them."""
    bench = Bench(dut, "norm")
    await bench.start()
    draw, writers = bench.draw, WIDE.writers
    layout = data.Layout.cast(layouts.Scale)
    changes = {}
    for _ in range(150):
        reach = draw.choice([1, 4, 64, 512])
        stream = [draw.randrange(-reach, reach) for _ in range(4 * draw.randrange(1, 5))]
        for index in range(0, len(stream), writers):
            while draw.random() < 0.3:
                other = draw.choice(["activations", "keys", "sampler"])
                noise = [draw.randrange(-512, 512) for _ in range(writers)]
                bench.set("i__beat", draw.choice([0, result(WIDE, other, 0, noise, 1)]))
                await check_norm(bench, changes, layout)
            last = index + writers >= len(stream)
            values = stream[index : index + writers]
            bench.set("i__beat", result(WIDE, "norm", index, values, last))
            if last:
                scale = tables.rsqrt(np.sum(np.array(stream) ** 2))
                changes[bench.cycle + BLOCKS["norm"].latency] = tuple(map(int, scale))
            await check_norm(bench, changes, layout)


async def check_norm(bench, changes, layout):
    await bench.settle()
    known = [cycle for cycle in changes if cycle <= bench.cycle]
    if known:
        seen = layout.from_bits(bench.get("norm"))
        assert (seen.mantissa, seen.exponent) == changes[max(known)], f"cycle {bench.cycle}"
    await bench.step()


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def softmax(dut):
    """Every position, scores of any size, gaps between them."""
    bench = Bench(dut, "softmax")
    await bench.start()
    draw, heads = bench.draw, MACHINE.heads
    for position in [*range(16), *(draw.randrange(16) for _ in range(20))]:
        reach = draw.choice([3, 60, 512])
        sums = [
            [draw.randrange(-reach, reach) << 7 for _ in range(heads)] for _ in range(position + 1)
        ]
        numerators, reciprocals = await attend(bench, sums, position)
        scores = arithmetic.quantise_score(np.array(sums))
        right = tables.exp2_negative(scores.max(axis=0) - scores)
        assert np.array_equal(numerators[: position + 1], right), f"position {position}"
        assert not np.any(numerators[position + 1 :])
        mantissa, exponent = tables.reciprocal(right.sum(axis=0))
        assert reciprocals == list(zip(mantissa.tolist(), exponent.tolist(), strict=True))


async def attend(bench, sums, position):
    """Send scores, answer reads as a memory would, and return numerators and reciprocals."""
    draw, heads, scale = bench.draw, MACHINE.heads, data.Layout.cast(layouts.Scale)
    memory = np.zeros((4, heads, QUAD), np.int64)
    numerators = np.zeros((-(-len(sums) // QUAD) * QUAD, heads), np.int64)
    pending, delivered, waited = list(sums), None, 0
    bench.set("begin", 1)
    bench.set("position", position)
    bench.set("i__target", 0)
    started = False
    while waited < 4 + heads + 1:
        valid = bool(pending) and draw.random() < 0.7
        bench.set("i__valid", valid)
        bench.set("i__first", valid and not started)
        if valid:
            for head, value in enumerate(pending.pop(0)):
                bench.set(f"i__sums__{head}", value)
            started = True
        if delivered is not None:
            bench.set("quads", packed(delivered.ravel(), 10))
        await bench.settle()
        if bench.get("tap_valid"):
            word, place = bench.get("tap_scores"), bench.get("tap_position")
            values = [(word >> 10 * h & 1023 ^ 512) - 512 for h in range(heads)]
            if bench.get("tap_numerators"):
                numerators[place] = [value & 1023 for value in values]
            memory[place // QUAD, :, place % QUAD] = values
        delivered = memory[bench.get("read_row") % 4].copy() if bench.get("reading") else None
        waited += bool(bench.get("ready")) and not pending and started
        await bench.step()
        bench.set("begin", 0)
    word, size = bench.get("reciprocals"), scale.size
    found = [scale.from_bits(word >> size * h & ((1 << size) - 1)) for h in range(heads)]
    return numerators, [(f.mantissa, f.exponent) for f in found]


async def sampled(dut, name, machine):
    bench = Bench(dut, name)
    await bench.start()
    draw, writers, vocabulary = bench.draw, machine.writers, 27
    bench.set("last_token", vocabulary - 1)
    noise = sampling.noise(1)
    for number in range(60):
        if number % 10 == 0:
            seed = draw.choice([0, 1, draw.getrandbits(32)])
            bench.set("load", 1)
            bench.set("seed", seed)
            await bench.step()
            bench.set("load", 0)
            noise = sampling.noise(seed or 1)
        # The noise of a whole token is drawn before its first logit comes.
        for _ in range(vocabulary + 3):
            await bench.step()
        greedy, reach = draw.random() < 0.3, draw.choice([1, 300, 1 << 15])
        logits = np.array([draw.randrange(-reach, reach) for _ in range(vocabulary)])
        values = np.array([next(noise) for _ in range(vocabulary)])
        bench.set("greedy", greedy)
        for index in range(0, vocabulary, writers):
            while draw.random() < 0.3:
                bench.set("i__beat", 0)
                await bench.step()
            there = min(writers, vocabulary - index)
            beat = [*logits[index : index + there].tolist(), *[32_767] * (writers - there)]
            last = index + writers >= vocabulary
            enable = (1 << there) - 1
            bench.set("i__beat", result(machine, "sampler", index, beat, last, enable))
            await bench.settle()
            assert not bench.get("done")
            await bench.step()
        bench.set("i__beat", 0)
        for wait in range(1, BLOCKS[name].latency + 2):
            await bench.settle()
            assert bench.get("done") == (wait == BLOCKS[name].latency)
            if bench.get("done"):
                right = sampling.draw(logits, 0 if greedy else values)
                assert bench.get("token") == right, f"token {number}"
            await bench.step()


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def sampler(dut):
    await sampled(dut, "sampler", MACHINE)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def sampler_of_four_logits_a_cycle(dut):
    await sampled(dut, "wide_sampler", WIDE)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def key_and_value_cache(dut):
    """Rows of keys and values at any position, then the whole memory is read back."""
    bench, memory = Bench(dut, "writeback"), Bench(dut, "operands")
    await bench.start()
    draw, m, width, context = bench.draw, MACHINE, 16, 16
    keys = np.zeros((context, width), np.int64)
    values = keys.copy()
    strides = context, context // QUAD
    bases = 0, 4 * context
    bench.set("key_stride", strides[0])
    bench.set("value_stride", strides[1])
    for position in draw.sample(range(context), context):
        bench.set("position", position)
        for listener, cache, base in (
            ("keys", keys, bases[0]),
            ("values", values, bases[1]),
        ):
            for index in range(width):
                value = draw.choice([*CORNERS, draw.randrange(-4_000, 4_000)])
                fields = layouts.result_fields(MACHINE).const(
                    dict(target=base, rows=width, shift=10, scale=int(Scale.ONE))
                )
                bench.set("i__instruction", fields.as_bits())
                bench.set("i__to", layouts.Listeners.const({listener: 1}).as_bits())
                bench.set("i__sums__0", value)
                bench.set("i__index", index)
                bench.set("i__enable", 1)
                bench.set("i__last", index == width - 1)
                bench.set("i__valid", 1)
                cache[position, index] = arithmetic.requantise(value, 256, 11, 8)
                await written(bench, memory)
                bench.set("i__valid", 0)
                while draw.random() < 0.2:
                    await written(bench, memory)
        for _ in range(BLOCKS["writeback"].latency + 1):
            await written(bench, memory)
    for unit in range(m.units):
        memory.set(f"write_enable__{unit}", 0)
    heads = 4
    for position in range(context):
        for index in range(width):
            # Keys: elements of a head in quads, heads and positions in turn.
            number = position * heads + index // QUAD % heads
            at = index // (QUAD * heads) * strides[0] + number // m.units
            assert await byte(memory, at, number % m.units, index % QUAD) == keys[position, index]
            at = bases[1] + index // m.units * strides[1] + position // QUAD
            seen = await byte(memory, at, index % m.units, position % QUAD)
            assert seen == values[position, index]


async def written(bench, memory):
    """Pass the write port on to the memory, a cycle later."""
    await bench.settle()
    word = bench.get("word")
    ports = {f"write_enable__{u}": bench.get(f"word_enable__{u}") for u in range(MACHINE.units)}
    ports |= {f"write_data__{u}": bench.get(f"word_data__{u}") for u in range(MACHINE.units)}
    await bench.step()
    memory.set("write_address", word)
    for port, value in ports.items():
        memory.set(port, value)


async def byte(memory, address, unit, lane):
    memory.set("address", address)
    await memory.step()
    await memory.settle()
    value = memory.get(f"words__{unit}") >> 8 * lane & 255
    await memory.step()
    return (value ^ 128) - 128
