"""Checkpoints of llama2.c (A. Karpathy): the .bin files that its program run.c reads."""

import struct
from dataclasses import replace
from math import prod
from os import SEEK_END
from pathlib import Path

import numpy as np

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.errors import UserError
from gptloom.model.gains import fold_gains
from gptloom.model.imports.calibration import without_calibration
from gptloom.model.imports.options import Options
from gptloom.model.imports.tensors import Tensors
from gptloom.model.tokenizers.pieces import read_pieces

TOKENIZER = "tokenizer.bin"
"""Name of the tokenizer's file, as in llama2.c: it is looked for beside the checkpoint."""

_HEADER = struct.Struct("<7i")


def read_llama2c(path: Path, options: Options) -> Checkpoint:
    """Read a checkpoint, version 0 of the format.

    Seven int32: width, hidden width, layers, heads, heads of keys and values, vocabulary (negative
    if the classifier is not the embedding), positions. Then all tensors in float32, those of one
    kind for all layers in a row, and tables of cosines and sines, which follow from the rest.

    Raises
    ------
    UserError
        The file is none, its size is not what its header says, or the tokenizer is missing or of
        another vocabulary.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
        length = file.seek(0, SEEK_END)
    if length < _HEADER.size:
        raise UserError(f"{path} has {length} bytes, less than a llama2.c checkpoint's header")
    width, hidden, layers, heads, kv_heads, signed, context = _HEADER.unpack(header)
    vocabulary = abs(signed)
    said = width, hidden, layers, heads, kv_heads, vocabulary, context
    if min(said) < 1 or width % heads:
        raise UserError(
            f"{path} is no llama2.c checkpoint of version 0: its header says width {width}, hidden "
            f"{hidden}, layers {layers}, heads {heads}, KV heads {kv_heads}, vocabulary {signed}, "
            f"context {context}"
        )
    size = width // heads
    cached = kv_heads * size
    shapes = {
        "wte": (vocabulary, width),
        "attn_gain": (layers, width),
        "attn_wq": (layers, width, width),
        "attn_wk": (layers, cached, width),
        "attn_wv": (layers, cached, width),
        "attn_wo": (layers, width, width),
        "mlp_gain": (layers, width),
        "mlp_gate": (layers, hidden, width),
        "mlp_down": (layers, width, hidden),
        "mlp_up": (layers, hidden, width),
        "final_gain": (width,),
        "cosines": (context, size // 2),
        "sines": (context, size // 2),
    }
    if signed < 0:
        shapes["lm_head"] = (vocabulary, width)
    expected = _HEADER.size + 4 * sum(map(prod, shapes.values()))
    if length != expected:
        raise UserError(
            f"{path} has {length:,} bytes, and a llama2.c checkpoint with its header has "
            f"{expected:,}: give a whole file of version 0"
        )
    config = options.shape(
        path, layers=layers, width=width, heads=heads, hidden=hidden, context=context,
        vocabulary=vocabulary, family="llama", positions="rotary", tied=signed > 0,
        kv_heads=None if kv_heads == heads else kv_heads,
    )  # fmt: skip
    tokenizer = read_pieces(_tokenizer(path, options), vocabulary)
    numbers, start, arrays = np.fromfile(path, "<f4", offset=_HEADER.size), 0, {}
    for name, shape in shapes.items():
        arrays[name] = numbers[start : start + prod(shape)].reshape(shape)
        start += prod(shape)
    tensors = Tensors(path, arrays)
    for table in ("cosines", "sines"):
        tensors.drop(table)
    weights = {}
    for name, shape in shapes.items():
        if name not in tensors:
            continue
        taken = tensors.take(name, *shape)
        if name in ("wte", "final_gain", "lm_head"):
            weights[name] = taken
        else:
            weights |= {f"layer{layer}.{name}": part for layer, part in enumerate(taken)}
    fold_gains(weights)
    return replace(without_calibration(config, tokenizer, weights), name=path.stem)


def _tokenizer(path: Path, options: Options) -> Path:
    if options.tokenizer:
        return options.tokenizer
    beside = path.with_name(TOKENIZER)
    if not beside.is_file():
        raise UserError(
            f"{path} has no pieces of text, and there is no {beside}: give its tokenizer's file "
            "with --tokenizer"
        )
    return beside
