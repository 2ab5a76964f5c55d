"""Merged models for the unrolled core's tests, and the golden model's values."""

import functools

import numpy as np
import pytest

from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.merged.golden import GoldenModel, Stream
from gptloom.model.merged.quantise import quantise

TEMPERATURES = (0, 0.1, 0.5, 1.0, 2.0)


@pytest.fixture(scope="session")
def merged():
    """Quantise a shipped checkpoint, once for all tests of the session."""
    return functools.cache(lambda name, widths=None: quantise(load_checkpoint(name), widths))


@pytest.fixture(scope="session")
def golden_tokens(merged):
    """Generate with a merged model; return the values of its last layer's sites, [tokens, ...]."""

    @functools.cache
    def generate(name, steps=8):
        found = {}

        def note(_, site, value):
            found.setdefault(site, []).append(value)

        streams = [Stream(seed, t) for seed, t in enumerate(TEMPERATURES * 2, 1)]
        golden = GoldenModel(merged(name))
        running = golden.generate_streams(streams, lambda *_: note)
        for _ in range(steps):
            next(running)
        sites = ("residual", "root", "direct", "noise", "offset", "b", "token")
        return {
            site: np.array(found[site]).reshape(steps * len(streams), -1).tolist() for site in sites
        }

    return generate
