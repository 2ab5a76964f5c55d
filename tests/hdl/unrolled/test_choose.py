"""The choice of a token against NumPy's."""

import random

import numpy as np

from gptloom.hdl.unrolled.choose import Choose
from gptloom.model import sampling
from gptloom.model.arithmetic import round_shift


def rows(model):
    """Return random rows, many with several largest sums; extremes; the largest sum everywhere."""
    draw, bits = random.Random(1), model.bits()[-1]
    vocabulary, shift = model.config.vocabulary, model.layers[-1].shifts["product"]
    for token in range(vocabulary):
        for other in (token, *draw.choices(range(token, vocabulary), k=3)):
            tops = token, other
            offset = [draw.randrange(-60, 60) for _ in range(vocabulary)]
            noisy = [100 if i in tops else draw.randrange(90, 100) for i in range(vocabulary)]
            product = [
                (n - o << shift) + draw.randrange(-(1 << shift - 1), 1 << shift - 1)
                for n, o in zip(noisy, offset, strict=True)
            ]
            yield product, offset
    for _ in range(30):
        largest = draw.choice((2, 40, 1 << bits["b"] - 2))
        product = [draw.choice((-largest, largest - 1, 0)) for _ in range(vocabulary)]
        limit = 1 << bits["offset"] - 2
        yield product, [draw.choice((-limit, limit - 1, 0)) for _ in range(vocabulary)]


def test_choose(bench, merged, golden_tokens):
    model = merged("names")
    component = Choose(model)
    latency = component.latency
    shift, given = model.layers[-1].shifts["product"], list(rows(model))
    expected = [
        sampling.draw(round_shift(product, shift) + np.array(offset), 0)
        for product, offset in given
    ]
    assert set(expected) == set(range(model.config.vocabulary))
    tokens = golden_tokens("names")
    given += zip(tokens["b"], tokens["offset"], strict=True)
    expected += [token for (token,) in tokens["token"]]
    played = bench(component).play(
        [
            {"product": product, "offset": offset, "valid": number % 4 != 2}
            for number, (product, offset) in enumerate(given)
        ],
        ["token", "o_valid"],
        after=latency,
    )[latency:]
    assert [each["token"] for each in played] == expected
    assert [each["o_valid"] for each in played] == [n % 4 != 2 for n in range(len(given))]
