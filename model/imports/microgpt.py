"""A microGPT whose tensors have the script's names (gist 8627fe009c40f57531cb18360106ce95)."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError, explain
from gptloom.model.gains import ATTENTION_GAIN, MLP_GAIN, fold_gains
from gptloom.model.imports.calibration import without_calibration
from gptloom.model.imports.options import End, Options, agreed
from gptloom.model.imports.state import read_state
from gptloom.model.imports.tensors import Tensors
from gptloom.model.tokenizers.characters import Characters

_GAINS = {
    ATTENTION_GAIN: ("attn_norm", "norm1", "rms_1"),
    MLP_GAIN: ("mlp_norm", "norm2", "rms_2"),
}
"""Names that programs give to gains, which the script does not have."""

_STATED = {
    "n_layer": "layers",
    "n_embd": "width",
    "block_size": "context",
    "vocab_size": "vocabulary",
    "head_dim": "head_width",
}
"""Dimensions that files state by the script's names."""


def read_microgpt(path: Path, options: Options) -> Checkpoint:
    """Read a microGPT; its shape follows from the tensors, but for the heads.

    Raises
    ------
    UserError
        The file is damaged or of another model, or heads or characters are nowhere stated.
    """
    arrays, stated = read_state(path)
    tensors = Tensors(path, {name.removesuffix(".weight"): a for name, a in arrays.items()})
    config = _shape(path, tensors, stated, options)
    with _of(path):
        _check_stated(config, stated)
        characters, order = _tokens(config, stated, options)
    weights = {}
    for name, shape in config.weight_shapes().items():
        weights[name] = tensors.take(name, *shape)
    for layer in range(config.layers):
        for gain, names in _GAINS.items():
            found = [name for name in (f"layer{layer}.{name}" for name in names) if name in tensors]
            if found:
                weights[f"layer{layer}.{gain}"] = tensors.take(found[0], config.width)
    tensors.finish()
    fold_gains(weights)
    for name in ("wte", "lm_head"):
        weights[name] = weights[name][order]
    return replace(without_calibration(config, Characters(characters), weights), name=path.stem)


@contextmanager
def _of(path: Path) -> Iterator[None]:
    """Name the file in refusals."""
    try:
        yield
    except UserError as fault:
        raise UserError(f"{path}: {fault}") from None


def _heads(stated: Mapping[str, Any], options: Options) -> int:
    heads = agreed("n_head", _integer(stated, "n_head"), options.heads)
    if heads is None:
        raise UserError("the file does not say how many attention heads: give --heads")
    return heads


def _shape(
    path: Path, tensors: Tensors, stated: Mapping[str, Any], options: Options
) -> ModelConfig:
    vocabulary, width = tensors.shape("wte")
    context, _ = tensors.shape("wpe")
    hidden, _ = tensors.shape("layer0.mlp_fc1")
    layers = 1
    while f"layer{layers}.attn_wq" in tensors:
        layers += 1
    with _of(path):
        heads = _heads(stated, options)
    return options.shape(
        path, layers=layers, width=width, heads=heads, hidden=hidden, context=context,
        vocabulary=vocabulary,
    )  # fmt: skip


def _check_stated(config: ModelConfig, stated: Mapping[str, Any]) -> None:
    """Refuse dimensions that are stated and are not those of the tensors."""
    for name, own in _STATED.items():
        said, found = _integer(stated, name), getattr(config, own)
        if said is not None and said != found:
            raise UserError(
                f"it says {name} {said}, and its tensors have {found}: give a whole file"
            )


def _integer(stated: Mapping[str, Any], name: str) -> int | None:
    value = stated.get(name)
    if value is None:
        return None
    text = str(value)
    if not re.fullmatch(r"\d{1,9}", text):
        raise UserError(f"it says {name} {text[:40]!r}, which is no number")
    return int(text)


def _tokens(
    config: ModelConfig, stated: Mapping[str, Any], options: Options
) -> tuple[str, list[int]]:
    """Return the characters, sorted, and the file's token of each one and of the end."""
    last = config.vocabulary - 1
    place = None if options.end is None else {End.FIRST: 0, End.LAST: last}[options.end]
    end = agreed("BOS", _integer(stated, "BOS"), place)
    end = last if end is None else end
    if end > last:
        raise UserError(f"its end token is {end}, and its last token {last}: give a whole file")
    known = agreed("the characters", _stored_characters(stated), _stated_characters(options))
    if known is None:
        raise UserError(
            "the file does not say which characters its tokens are: give --characters, in the "
            "order of the tokens, or the text that it was trained on as --tokenizer"
        )
    if len(known) == config.vocabulary:
        known = [*known[:end], *known[end + 1 :]]  # it has a name for the end token
    ids = [token for token in range(config.vocabulary) if token != end]
    if len(known) != len(ids):
        raise UserError(
            f"{len(known)} characters are not those of {config.vocabulary} tokens, the end token "
            f"among them: give {len(ids)}"
        )
    if len(set(known)) != len(known) or any(len(character) != 1 for character in known):
        raise UserError(
            f"its characters {known!r} are not single ones, each once: a microGPT of other tokens "
            "has no counterpart in GPTLoom"
        )
    token_of = dict(zip(known, ids, strict=True))
    characters = "".join(sorted(known))
    return characters, [*(token_of[character] for character in characters), end]


def _stored_characters(stated: Mapping[str, Any]) -> list[str] | None:
    value = stated.get("uchars", stated.get("chars"))
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, str) and value.startswith("["):
        with suppress(ValueError):  # metadata of safetensors are text, and so is a list in them
            value = json.loads(value)
    if value is not None and not isinstance(value, str | Sequence):
        raise UserError("its characters are neither text nor a list")
    return None if value is None else [str(character) for character in value]


def _stated_characters(options: Options) -> list[str] | None:
    if options.characters is not None:
        return list(options.characters)
    if options.tokenizer is None:
        return None
    try:
        text = options.tokenizer.read_text("utf-8-sig")
    except OSError as error:
        raise UserError(f"{options.tokenizer} cannot be read {explain(error)}") from None
    except UnicodeDecodeError:
        raise UserError(
            f"{options.tokenizer} is not UTF-8 text: give the text it learned"
        ) from None
    return sorted({character for line in text.splitlines() for character in line.strip()})
