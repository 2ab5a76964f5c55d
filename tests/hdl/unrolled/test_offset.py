"""Offsets for the last product, against the golden model."""

import random

import numpy as np
import pytest

from gptloom.hdl.unrolled.offset import Offset
from gptloom.model.merged.steps import Outputs, offset_of


def ends(bits):
    return (-1 << bits - 1), (1 << bits - 1) - 1


@pytest.mark.parametrize(
    ("name", "values_per_cycle"), [("names", 27), ("names", 7), ("names-24", 7), ("names-24", 4)]
)
def test_offset(bench, merged, golden_tokens, name, values_per_cycle):
    model = merged(name)
    component, draw = Offset(model, 0, values_per_cycle), random.Random(name)
    vocabulary, shift = model.config.vocabulary, model.layers[-1].shifts["offset"]
    # The noise never exceeds its largest value, which is less than its bits can hold.
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
        # Tokens follow each other with or without gaps.
        gap = number % 3
        for beat in range(component.beats + gap):
            values = noise[beat * values_per_cycle :][:values_per_cycle]
            values += [loud] * (values_per_cycle - len(values))
            inputs.append({"valid": beat == 0, "noise": values, "root": last})
            # Inputs in other cycles do not matter.
            inputs[-1]["direct"] = direct if beat == 0 else [ends(12)[beat % 2]] * vocabulary
            last = root
        due.append(len(inputs) - component.beats - gap + 1 + component.latency)
    played = bench(component).play(inputs, ["o"], after=component.latency + 1)
    assert [played[cycle]["o"] for cycle in due] == [row[-1] for row in rows]


@pytest.mark.parametrize("values_per_cycle", [pytest.param(64, marks=pytest.mark.long), 16])
def test_offset_of_a_layer_before_the_last(bench, merged, values_per_cycle):
    """These layers have no noise."""
    model = merged("names-2l")
    component, draw = Offset(model, 0, values_per_cycle), random.Random(values_per_cycle)
    outputs, shift = 4 * model.config.width, model.layers[0].shifts["offset"]
    inputs, expected, due = [], [], []
    last = 0
    for _ in range(30):
        direct, root = [draw.randrange(-2048, 2048) for _ in range(outputs)], draw.randrange(256)
        for beat in range(component.beats):
            inputs.append({"valid": beat == 0, "direct": direct, "root": last})
            last = root
        due.append(len(inputs) - component.beats + 1 + component.latency)
        given = Outputs(None, np.array(direct), np.array(root), None)
        expected.append(offset_of(given, shift).tolist())
    inputs.append({"valid": 0, "root": last})
    played = bench(component).play(inputs, ["o"], after=component.latency + 1)
    assert [played[cycle]["o"] for cycle in due] == expected
