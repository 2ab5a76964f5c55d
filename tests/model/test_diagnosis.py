"""Differences between two models, against explicit sums."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from checkpoints import make_random_checkpoint

from gptloom.model.config import ModelConfig
from gptloom.model.diagnosis import Diagnosis, Limits, diagnose
from gptloom.model.merged.golden import GoldenModel
from gptloom.model.merged.integer import Widths
from gptloom.model.merged.quantise import quantise
from gptloom.model.quantise import quantise as quantise_plain

CONFIG = ModelConfig(width=8, heads=2, hidden=8, context=6, vocabulary=5)
BOS = CONFIG.vocabulary - 1


@pytest.fixture(scope="module")
def checkpoint():
    return make_random_checkpoint(CONFIG, seed=3)


@pytest.fixture(scope="module")
def pair(checkpoint):
    """Return a model, and the same model with 4-bit keys and values."""
    return [
        GoldenModel(quantise(checkpoint, widths)) for widths in (None, Widths(keys=4, values=4))
    ]


@pytest.fixture(scope="module")
def rows(checkpoint):
    rows = checkpoint.calibration.copy()
    rows[::3, 4:] = -1
    return rows


def probabilities(golden, tokens):
    """Return the probabilities after some tokens, one softmax at a time."""
    logits = golden.nats(np.array([tokens]))[0, -1]
    powers = [math.exp(value) for value in logits]
    return [power / sum(powers) for power in powers]


def test_nothing_changes_between_a_model_and_itself(pair, rows):
    same = diagnose(pair[0], pair[0], rows, BOS)
    assert (same.kl, same.first_kl, same.first_variation, same.agreement) == (0, 0, 0, 1)
    assert same.loss == same.reference_loss
    assert {(head.attention, round(head.mix, 12)) for head in same.heads} == {(0, 0)}
    assert same.faults() == []


def test_figures_are_those_of_every_prediction_taken_alone(pair, rows):
    found = diagnose(*pair, rows, BOS)
    by_position = {}
    for row in rows.tolist():
        known = [token for token in row if token >= 0]
        for length in range(1, len(known)):
            one, two = (probabilities(golden, known[:length]) for golden in pair)
            by_position.setdefault(length - 1, []).append(
                (
                    -math.log(two[known[length]]),
                    -math.log(one[known[length]]),
                    sum(p * math.log(p / q) for p, q in zip(one, two, strict=True)),
                    one.index(max(one)) == two.index(max(two)),
                )
            )
    every = [terms for position in by_position.values() for terms in position]
    expected = np.mean(every, axis=0)
    assert (found.loss, found.reference_loss, found.kl, found.agreement) == pytest.approx(expected)
    assert [p.position for p in found.positions] == sorted(by_position)
    for p in found.positions:
        figures = (p.loss, p.reference_loss, p.kl, p.agreement)
        assert figures == pytest.approx(np.mean(by_position[p.position], axis=0))


def test_first_characters_are_enumerated(pair, rows):
    found = diagnose(*pair, rows, BOS)
    kl = variation = total = 0.0
    for beginning in itertools.product(range(BOS + 1), repeat=3):
        if BOS in beginning[:2]:
            # A document that ends earlier is one beginning, not many.
            end = beginning.index(BOS)
            if any(token != BOS for token in beginning[end:]):
                continue
            beginning = beginning[: end + 1]
        p = q = 1.0
        for length, token in enumerate(beginning):
            one, two = (probabilities(golden, [BOS, *beginning[:length]]) for golden in pair)
            p, q = p * one[token], q * two[token]
        kl, variation, total = kl + p * math.log(p / q), variation + abs(p - q) / 2, total + p
    assert total == pytest.approx(1)
    assert (found.first_kl, found.first_variation) == pytest.approx((kl, variation))


def test_a_changed_head_is_told_from_the_others(pair, rows):
    model = pair[0].model
    keys = model.table["k"].copy()
    keys[..., 4:] += np.random.default_rng(0).integers(-40, 40, keys[..., 4:].shape)
    changed = GoldenModel(replace(model, table={**model.table, "k": keys}))
    first, second = diagnose(pair[0], changed, rows, BOS).heads
    assert (first.attention, round(first.mix, 12)) == (0, 0)
    assert second.attention > 0.05
    assert second.mix > 0.01


def test_the_plain_form_is_diagnosed_too(checkpoint, rows):
    from gptloom.model.golden import GoldenModel as Plain

    plain = Plain(quantise_plain(checkpoint))
    same = diagnose(plain, plain, rows, BOS)
    assert (same.kl, same.agreement, len(same.heads)) == (0, 1, 2)


def test_every_limit_is_named():
    moved = Diagnosis(2.2, 2.1, 0.1, 0.8, 0.1, 0.3, [], [])
    loss, variation, agreement = moved.faults()
    assert "0.1000 nats" in loss
    assert "0.300" in variation
    assert "80.0%" in agreement
    assert moved.faults(Limits(1, 1, 0)) == []
