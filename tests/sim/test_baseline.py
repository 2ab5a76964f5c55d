"""The model on a CPU, against the float model."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.errors import UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.loss import measurement_rows
from gptloom.sim.baseline import measure
from gptloom.sim.baseline.compiled import CompiledModel
from gptloom.sim.baseline.measure import best_of, measure_software
from gptloom.sim.engines.compilers import Compiler, find_compiler

END, CONTEXT = 26, 16
DOCUMENT = st.lists(st.integers(0, END), min_size=1, max_size=CONTEXT)


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint("names")


@pytest.fixture(scope="module")
def exact(checkpoint):
    return FloatModel(checkpoint.config, checkpoint.weights)


@pytest.fixture(scope="module")
def compiled(checkpoint):
    return CompiledModel(checkpoint, find_compiler())


def documents(tokens):
    """Split sampled tokens into documents, their end tokens included."""
    found = [[]]
    for token in tokens:
        found[-1].append(int(token))
        if token == END or len(found[-1]) == CONTEXT:
            found.append([])
    return found


def check_samples(tokens, exact, temperature):
    """Compare by chi-square the first tokens, and the tokens after the likeliest of these."""
    *whole, rest = documents(tokens)
    assert not rest
    first = [document[0] for document in whole]
    likeliest = int(np.bincount(first).argmax())
    second = [document[1] for document in whole if document[0] == likeliest]
    for known, seen in (([END], first), ([END, likeliest], second)):
        powers = np.exp(exact.logits(np.array([known]))[0, -1] / temperature)
        expected = len(seen) * powers / powers.sum()
        counts = np.bincount(seen, minlength=END + 1)
        common = expected > 5
        squares = (counts - expected)[common] ** 2 / expected[common]
        # Four standard deviations above the mean of a chi-square distribution.
        freedom = common.sum()
        assert squares.sum() < freedom + 4 * np.sqrt(2 * freedom)


def test_c_logits_are_the_float_models(checkpoint, exact, compiled):
    rows, _ = measurement_rows(checkpoint)
    for row in rows[:300]:
        tokens = row[:-1][row[:-1] >= 0].astype(int)
        assert compiled.logits(tokens) == pytest.approx(exact.logits(tokens[None])[0], abs=1e-4)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(tokens=DOCUMENT)
def test_c_logits_of_any_document_are_the_float_models(exact, compiled, tokens):
    tokens = np.array(tokens)
    assert compiled.logits(tokens) == pytest.approx(exact.logits(tokens[None])[0], abs=1e-4)


def test_c_loss_is_the_checkpoints(checkpoint, compiled):
    rows, loss_set = measurement_rows(checkpoint)
    assert loss_set == checkpoint.metadata["heldout"]["set"]
    assert compiled.loss(rows) == pytest.approx(checkpoint.metadata["heldout"]["loss"], abs=1e-5)


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_c_samples_what_the_float_model_predicts(exact, compiled, temperature):
    tokens = compiled.generate(1, temperature, 300_000)
    assert 300_000 <= len(tokens) < 300_000 + CONTEXT
    assert tokens.max() == END
    check_samples(tokens, exact, temperature)


def test_a_wrong_temperature_would_be_noticed(exact, compiled):
    with pytest.raises(AssertionError):
        check_samples(compiled.generate(1, 0.8, 300_000), exact, 0.7)


def test_a_seed_repeats_its_tokens_and_another_does_not(compiled):
    tokens = compiled.generate(3, 0.7, 1000)
    assert np.array_equal(compiled.generate(3, 0.7, 1000), tokens)
    assert not np.array_equal(compiled.generate(4, 0.7, 1000)[:1000], tokens[:1000])


def test_small_numbers_stay_what_they_are(compiled):
    # A library linked with -ffast-math flushes them to zero in the whole process.
    tiny = np.full(4, 1e-40, np.float32)
    assert (tiny * np.float32(1) > 0).all()


def test_models_that_the_code_cannot_compute_are_refused(checkpoint):
    with pytest.raises(UserError, match="shape of Karpathy's microGPT"):
        CompiledModel(load_checkpoint("names-24"), find_compiler())
    weights = checkpoint.weights | {"layer0.attn_wq": checkpoint.weights["layer0.attn_wq"] * 9}
    with pytest.raises(UserError, match="scores up to"):
        CompiledModel(replace(checkpoint, weights=weights), find_compiler())


def test_a_compiler_that_fails_is_told(checkpoint, tmp_path):
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\necho no such option >&2\nexit 1\n")
    failing.chmod(0o755)
    compiler = Compiler((str(failing),), "failing", "1")
    with pytest.raises(UserError, match=r"(?s)failing could not compile.*no such option"):
        CompiledModel(checkpoint, compiler)


def test_the_best_repetition_counts(monkeypatch):
    # Ten tokens each, in 4, 2 and 5 seconds, with 3, 2 and 1 seconds of CPU time.
    wall = iter([0, 4, 10, 12, 20, 25])
    work = iter([0, 3, 3, 5, 5, 6])
    monkeypatch.setattr(measure.time, "perf_counter_ns", lambda: next(wall) * 10**9)
    monkeypatch.setattr(measure.time, "process_time_ns", lambda: next(work) * 10**9)
    seeds = []

    def sample(seed, least):
        seeds.append(seed)
        return range(least)

    assert best_of(sample, 10, repetitions=3) == (10, 5)
    assert seeds == [1, 2, 3]


def test_what_is_missing_says_how_to_get_it(checkpoint, monkeypatch):
    monkeypatch.setattr(measure, "find_compiler", lambda: None)
    monkeypatch.setattr(measure.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(measure, "best_of", lambda sample, least: (len(sample(1, 3)), 2))
    compiled, eager, golden = measure_software(checkpoint)
    assert "gptloom[zig]" in compiled.missing
    assert "gptloom[train]" in eager.missing
    assert compiled.tokens_per_second is eager.tokens_per_second is None
    assert not golden.missing
    assert (golden.tokens_per_second, golden.wall_tokens_per_second) == (3, 2)


def test_a_compiler_that_fails_is_a_line_of_the_comparison(checkpoint, monkeypatch):
    monkeypatch.setattr(measure, "find_compiler", lambda: Compiler(("false",), "false", "1"))
    assert "false could not compile" in next(measure_software(checkpoint)).missing


@pytest.mark.train
def test_pytorch_predicts_and_samples_as_the_float_model(checkpoint, exact):
    from gptloom.sim.baseline.eager import EagerModel

    eager = EagerModel(checkpoint)
    rows, _ = measurement_rows(checkpoint)
    for row in rows[:20]:
        tokens, cache = row[:-1][row[:-1] >= 0].astype(int), eager.new_cache()
        logits = [eager.step(int(t), p, cache).numpy() for p, t in enumerate(tokens)]
        assert np.array(logits) == pytest.approx(exact.logits(tokens[None])[0], abs=1e-4)
    check_samples(eager.generate(1, 0.7, 5000), exact, 0.7)
