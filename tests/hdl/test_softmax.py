"""Softmax numerators and reciprocals equal the model's tables."""

from itertools import product

import numpy as np
import pytest

from gptloom.firmware.latencies import Latencies
from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.folded.softmax import Softmax
from gptloom.model import arithmetic, tables
from gptloom.model.config import ModelConfig
from gptloom.model.formats import COARSE, FINE, STANDARD

STALE = -77
TARGET = 3


class Attention:
    """A softmax with its activation memory."""

    def __init__(self, bench, lanes, heads, context, precision=STANDARD):
        gated = {} if precision is STANDARD else dict(family="llama", positions="rotary")
        config = ModelConfig(width=32, hidden=128, heads=heads, context=context, **gated)
        self.machine = Machine.for_models(lanes, config, precision=precision)
        self.block = bench(Softmax(self.machine))
        words = self.machine.activation_words
        self.memory = np.full((words, self.machine.heads, QUAD), STALE)
        self.taps = []

    def step(self, **inputs):
        """Step one cycle, with a memory that answers a cycle later with the old contents."""
        get = self.block.get
        self.block.set(**{"i__valid": 0, "begin": 0, **inputs})
        read = self.memory[get("read_row")].tolist() if get("reading") else None
        enable, data = get("row_enable"), get("row_data")
        for i in range(self.machine.heads * QUAD):
            if enable >> i & 1:
                bits = self.machine.element_bits
                value = data >> i * bits & ((1 << bits) - 1)
                value -= value >> (bits - 1) << bits
                self.memory[get("row"), i // QUAD, i % QUAD] = value
        if get("tap_valid"):
            m, heads, numerators = self.machine, get("tap_heads"), get("tap_numerators")
            together = m.softmax_positions if numerators else m.score_positions
            for i, head in product(range(together), range(m.heads)):
                if heads >> head & 1:
                    tap = (numerators, get("tap_position") + i, head)
                    self.taps.append((*tap, get("tap_scores")[i][head]))
        ready = get("ready")
        # Block RAM does not define the read of a word that is being written.
        assert not (get("reading") and enable and get("row") == get("read_row"))
        self.block.step()
        if read is not None:
            self.block.set(quads=read)
        return ready

    def attend(self, sums, draw):
        """Play the scores of positions 0 to the last one from the drain; wait for the result.

        `sums` is [positions, heads]; scores after the last position are stale.
        """
        m, position = self.machine, len(sums) - 1
        self.taps = []
        self.block.set(position=position)
        self.step(begin=1)
        assert not self.step()
        padded = -(-sums.size // m.units) * m.units
        left_over = draw.integers(-(1 << 23), 1 << 23, padded - sums.size)
        together = m.score_heads * m.score_positions
        drained = np.concatenate([sums.reshape(-1), left_over]).reshape(-1, together)
        for beat, values in enumerate(drained):
            self.step(i__valid=1, i__first=beat == 0, i__target=TARGET, i__sums=values.tolist())
            if (beat + 1) % m.score_beats == 0:
                for _ in range(draw.choice([0, 0, 3])):
                    self.step()
        waited = 0
        while not self.step():
            waited += 1
            assert waited < 4 * m.context
        # The mix is issued from the next cycle on, and reads a cycle later; in a machine that does
        # not overlap, the last issue of its first pass may be the first.
        self.fresh, issues = [], -(-len(sums) // QUAD) if m.overlaps else 1
        for _ in range(issues):
            assert self.step()
            if m.overlaps:
                self.fresh.append(self.block.get("fresh"))
        for _ in range(Latencies.of(m).drain - 1):
            assert self.step()
        # Its first sums leave the drain now.
        found = []
        for head in range(m.heads):
            if head and head % m.writers == 0:
                assert self.step()
            found.append(self.block.get("reciprocals")[head])
        return [(r.mantissa, r.exponent) for r in found]


def expected(sums, precision):
    """Return numerators [positions, heads] and reciprocals, by the model's own operations."""
    scores = arithmetic.quantise_score(sums, precision.score_shift, precision.scores)
    numerators = tables.exp2_negative(scores.max(axis=0) - scores)
    mantissa, exponent = tables.reciprocal(numerators.sum(axis=0))
    return scores, numerators, list(zip(mantissa.tolist(), exponent.tolist(), strict=True))


def random_sums(draw, positions, heads):
    """Return dot products with a random spread: flat, peaked, or beyond the range of a score."""
    spread = 1 << int(draw.integers(4, 23))
    centre = int(draw.integers(-(1 << 16), 1 << 16))
    return np.clip(
        centre + draw.integers(-spread, spread, (positions, heads)), -(1 << 23), (1 << 23) - 1
    )


# Each number of lanes, and one, two and four heads, for everyday.
SHAPES = [(8, 2, 16), (16, 4, 16), (32, 4, 16), (64, 1, 8)]
# Scores of one, two and four positions at a time, and of half a position.
GATED = [(32, 8, 16, COARSE), (64, 8, 16, FINE), (128, 4, 16, FINE), (32, 16, 8, FINE)]
OTHERS = [(8, 4, 16), (64, 4, 16), (16, 1, 16), (16, 4, 8)]


@pytest.fixture(
    params=[*SHAPES, *GATED, *(pytest.param(shape, marks=pytest.mark.nightly) for shape in OTHERS)],
    ids=lambda shape: str(shape[:3]),
    scope="module",
)
def attention(request, bench):
    return Attention(bench, *request.param)


def check(attention, sums, draw):
    before = attention.memory.copy()
    reciprocals = attention.attend(sums, draw)
    scores, numerators, scales = expected(sums, attention.machine.precision)
    positions, heads = sums.shape
    words = -(-positions // QUAD)
    padded = np.zeros((words * QUAD, heads), np.int64)
    padded[:positions] = numerators
    # Four positions per word, each head in its own bank; the last word is padded with zeros.
    region = padded.reshape(words, QUAD, heads).transpose(0, 2, 1)
    assert attention.memory[TARGET : TARGET + words].tolist() == region.tolist()
    attention.memory[TARGET : TARGET + words] = before[TARGET : TARGET + words]
    assert attention.memory.tolist() == before.tolist()
    attention.memory[TARGET : TARGET + words] = region
    if attention.machine.overlaps:
        assert attention.fresh == region.tolist()
    assert reciprocals == scales
    taps = {False: scores, True: padded}
    for kind, values in taps.items():
        seen = [tap[1:] for tap in attention.taps if tap[0] == kind]
        if not kind:
            # Scores that leave the drain with the last ones are written too.
            seen = [tap for tap in seen if tap[0] < positions]
        assert seen == [(p, h, v) for (p, h), v in np.ndenumerate(values)]


def test_every_position_of_a_document(attention):
    draw = np.random.default_rng(1)
    for position in range(attention.machine.context):
        check(attention, random_sums(draw, position + 1, attention.machine.heads), draw)


def test_a_longer_document_before_leaves_nothing_behind(attention):
    draw = np.random.default_rng(2)
    context, heads = attention.machine.context, attention.machine.heads
    # The longest first, with large numerators everywhere; then shorter and shorter.
    check(attention, np.zeros((context, heads), np.int64), draw)
    for positions in range(context, 0, -1):
        check(attention, random_sums(draw, positions, heads), draw)


def test_extremes(attention):
    draw = np.random.default_rng(3)
    context, heads = attention.machine.context, attention.machine.heads
    lowest, highest = -(1 << 23), (1 << 23) - 1
    for fill, other in ((lowest, highest), (highest, lowest), (lowest, lowest), (0, -(1 << 11))):
        for place in (0, context - 1):
            sums = np.full((context, heads), fill)
            sums[place] = other
            check(attention, sums, draw)


def test_ready_until_the_next_scores(attention):
    draw = np.random.default_rng(4)
    check(attention, random_sums(draw, 3, attention.machine.heads), draw)
    for _ in range(30):
        assert attention.step()
    attention.step(begin=1)
    for _ in range(30):
        assert not attention.step()
