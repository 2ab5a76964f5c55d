"""Integer models of checkpoints, kept for later runs: making one takes longer than using it."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gptloom.model.errors import UserNotice

if TYPE_CHECKING:
    from gptloom.model.checkpoint import Checkpoint
    from gptloom.model.integer import IntegerModel


def quantised(
    checkpoint: Checkpoint, profile: str | None = None, cache: Mapping[str, object] | None = None
) -> IntegerModel:
    """Return a checkpoint's integer model for the folded core, measured.

    Parameters
    ----------
    checkpoint
        The checkpoint.
    profile
        Name of the widths of a model of the Llama family.
    cache
        Another KV cache than the checkpoint's, see :func:`.cores.cache_options`.

    Raises
    ------
    UserError
        The family has no such profile, or the model cannot be quantised or have this cache.
    """
    from rich.console import Console

    from gptloom.cli.cores import precision_of, whole_cache, with_cache
    from gptloom.model.quantise import quantise
    from gptloom.model.recurrent import golden_of

    precision = precision_of(checkpoint.config.family, profile)
    if cache:
        # Refused before the quantisation, which takes longer.
        checkpoint.config.with_cache(**whole_cache(checkpoint.config, cache))

    def make() -> IntegerModel:
        with Console(stderr=True).status("Quantising, the first time"):
            return with_cache(checkpoint, quantise(checkpoint, precision), golden_of, cache or {})

    return _kept(checkpoint, (repr(precision), repr(cache or {})), make)


def _kept(
    checkpoint: Checkpoint, choices: tuple[str, ...], make: Callable[[], IntegerModel]
) -> IntegerModel:
    """Return the model that is kept, or make and keep it; one with notices is made every time."""
    from gptloom.sim.engines.cache import cache_folder, find_kept, keep_content

    folder, key = cache_folder().parent / "models", _key(checkpoint, choices)
    entry = find_kept(folder, key, ".model", lambda _: None)
    if entry:
        # As trustworthy as the programs that are kept beside it.
        return replace(pickle.loads(entry.read_bytes()), tokenizer=checkpoint.tokenizer)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = make()
    for warning in said:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if not any(issubclass(warning.category, UserNotice) for warning in said):
        keep_content(folder, key, ".model", pickle.dumps(replace(model, tokenizer=None)))
    return model


def _key(checkpoint: Checkpoint, choices: tuple[str, ...]) -> str:
    """Return a digest of everything that a model depends on, this program's code included."""
    from gptloom.model.tokenizers.stored import tokenizer_metadata
    from gptloom.sim.engines.cache import code_digest, digest

    described = (
        checkpoint.config.to_dict(),
        tokenizer_metadata(checkpoint.tokenizer),
        checkpoint.metadata,
        checkpoint.name,
        choices,
        np.__version__,
        code_digest("gptloom.model"),
    )
    arrays = [checkpoint.calibration, *checkpoint.weights.values()]
    numbers = [np.ascontiguousarray(array).tobytes() for array in arrays]
    return digest(json.dumps(described).encode(), *numbers)
