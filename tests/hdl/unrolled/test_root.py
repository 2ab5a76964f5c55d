"""The residual's root and the offset against the golden model."""

import random

import numpy as np
import pytest

from gptloom.hdl.unrolled.root import Offset, Root
from gptloom.model import tables
from gptloom.model.arithmetic import round_shift
from gptloom.model.merged.integer import Widths
from gptloom.model.merged.steps import Outputs, offset_of


def residuals(width):
    """Extremes, every value that an element can have, and sums of squares of all sizes."""
    draw = random.Random(width)
    yield [0] * width
    yield [-128] * width
    yield [127] * width
    elements = draw.sample(range(-128, 128), 256)
    for i in range(0, 256, width // 2):
        # Half of them are 0: the sum may be small or large.
        row = elements[i : i + width // 2] + [0] * width
        yield draw.sample(row[:width], width)
    for _ in range(60):
        largest = draw.choice((1, 2, 3, 5, 8, 13, 30, 60, 128))
        yield [draw.randrange(-largest, largest) for _ in range(width)]


def root_of(model, residual):
    mantissa, exponent = tables.sqrt(np.sum(np.square(residual)))
    root = round_shift(mantissa << exponent, model.layers[-1].shifts["root"])
    return min(int(root), (1 << model.widths.root) - 1)


@pytest.mark.parametrize("name", ["names", "names-24"])
def test_root(bench, merged, golden_tokens, name):
    model = merged(name)
    component = Root(model)
    assert component.latency == 3
    rows = list(residuals(model.config.width))
    expected = [root_of(model, row) for row in rows]
    assert min(expected) == 0
    assert max(expected) == 255
    tokens = golden_tokens(name)
    rows += tokens["residual"]
    expected += [root for (root,) in tokens["root"]]
    played = bench(component).play(
        [{"i": row, "valid": number % 3 != 1} for number, row in enumerate(rows)],
        ["o", "o_valid"],
        after=component.latency,
    )[component.latency :]
    found = [each["o"] for each in played]
    # It stays until the next.
    stays = [expected[n - (n % 3 == 1)] for n in range(len(rows))]
    assert found == stays
    assert [each["o_valid"] for each in played] == [n % 3 != 1 for n in range(len(rows))]


def test_only_residuals_of_eight_bits(merged):
    with pytest.raises(ValueError, match="only 8 are possible"):
        Root(merged("names", Widths(residual=9)))


def ends(bits):
    return (-1 << bits - 1), (1 << bits - 1) - 1


@pytest.mark.parametrize(
    ("name", "values_per_cycle"), [("names", 27), ("names", 7), ("names-24", 7), ("names-24", 4)]
)
def test_offset(bench, merged, golden_tokens, name, values_per_cycle):
    model = merged(name)
    component, draw = Offset(model, values_per_cycle), random.Random(name)
    vocabulary, shift = model.config.vocabulary, model.layers[-1].shifts["offset"]
    # The noise never is more than its largest value, which is less than its bits hold.
    tokens = golden_tokens(name)
    noises = [value for row in tokens["noise"] for value in row]
    loud, quiet = max(noises), min(noises)
    rows = []
    for root in (0, 1, 255, *(draw.randrange(256) for _ in range(60))):
        direct = [draw.choice([*ends(12), draw.randrange(-2048, 2048)]) for _ in range(vocabulary)]
        noise = [draw.choice([loud, quiet, 0]) for _ in range(vocabulary)]
        outputs = Outputs(None, np.array(direct), np.array(root), None)
        rows.append((direct, noise, root, offset_of(outputs, shift, np.array(noise)).tolist()))
    rows += zip(
        tokens["direct"],
        tokens["noise"],
        [root for (root,) in tokens["root"]],
        tokens["offset"],
        strict=True,
    )
    inputs, due, last = [], [], 0
    for number, (direct, noise, root, _) in enumerate(rows):
        # Tokens follow each other at once, or not.
        gap = number % 3
        for beat in range(component.beats + gap):
            values = noise[beat * values_per_cycle :][:values_per_cycle]
            values += [loud] * (values_per_cycle - len(values))
            inputs.append({"valid": beat == 0, "noise": values, "root": last})
            # What stands there in other cycles does not matter.
            inputs[-1]["direct"] = direct if beat == 0 else [ends(12)[beat % 2]] * vocabulary
            last = root
        due.append(len(inputs) - component.beats - gap + 1 + component.latency)
    played = bench(component).play(inputs, ["o"], after=component.latency + 1)
    assert [played[cycle]["o"] for cycle in due] == [row[-1] for row in rows]
