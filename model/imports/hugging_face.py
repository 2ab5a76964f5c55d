"""Folders of Hugging Face's transformers: config.json, safetensors and tokenizer.json."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError, explain
from gptloom.model.gains import ATTENTION_GAIN, FINAL_GAIN, MLP_GAIN, fold_gains
from gptloom.model.imports.calibration import without_calibration
from gptloom.model.imports.options import Options
from gptloom.model.imports.safetensors_file import read_safetensors
from gptloom.model.imports.tensors import Tensors
from gptloom.model.tokenizers.library import read_library

CONFIG = "config.json"

_SAME = ("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM")
"""Architectures that compute the same, but for what fields of the configuration say."""

_WITHOUT = {
    "attention_bias": ("biases", (False,)),
    "mlp_bias": ("biases", (False,)),
    "use_bias": ("biases", (False,)),
    "hidden_act": ("the activation", ("silu", "swish")),
    "quantization_config": ("quantised weights", ()),
    "partial_rotary_factor": ("rotations of a part of each head", (1,)),
    "layer_norm_eps": ("LayerNorm", ()),
    "layer_norm_epsilon": ("LayerNorm", ()),
    "embedding_multiplier": ("a factor of the embedding", (1,)),
    "residual_multiplier": ("a factor of the residual stream", (1,)),
    "attention_multiplier": ("a factor of the scores", ()),
    "logits_scaling": ("a factor of the logits", (1,)),
    "logit_scale": ("a factor of the logits", (1,)),
    "attn_logit_softcapping": ("capped scores", ()),
    "final_logit_softcapping": ("capped logits", ()),
    "num_local_experts": ("experts", (1,)),
    "num_experts": ("experts", (1,)),
}
"""Fields with a meaning that has no counterpart, in words, unless they have one of these values."""

_LAYER = {
    ATTENTION_GAIN: "input_layernorm",
    "attn_wq": "self_attn.q_proj",
    "attn_wk": "self_attn.k_proj",
    "attn_wv": "self_attn.v_proj",
    "attn_wo": "self_attn.o_proj",
    MLP_GAIN: "post_attention_layernorm",
    "mlp_gate": "mlp.gate_proj",
    "mlp_up": "mlp.up_proj",
    "mlp_down": "mlp.down_proj",
}
"""Names of a layer's tensors, there and in the folder."""


def read_hugging_face(folder: Path, options: Options) -> Checkpoint:
    """Read a folder of a model that computes what LlamaForCausalLM does.

    Raises
    ------
    UserError
        A file is missing or damaged, or the model has parts without a counterpart.
    """
    described = _read_json(folder / CONFIG)
    config = _shape(folder, described, options)
    definition = options.tokenizer or folder / "tokenizer.json"
    if not definition.is_file():
        raise UserError(
            f"there is no {definition}: save the model's fast tokenizer, or give a tokenizer.json "
            "with --tokenizer"
        )
    tokenizer = read_library(definition, *_special(folder, described))
    if tokenizer.vocabulary != config.vocabulary:
        raise UserError(
            f"{definition} has {tokenizer.vocabulary} tokens, and the model {config.vocabulary}: "
            "give the tokenizer that belongs to the model"
        )
    weights = _weights(Tensors(folder, _tensors(folder)), config)
    checkpoint = without_calibration(config, tokenizer, weights)
    return replace(checkpoint, name=folder.resolve().name)


def _shape(folder: Path, described: Mapping[str, Any], options: Options) -> ModelConfig:
    """Return the shape; refuse what has no counterpart."""

    def integer(name: str, default: int | None = None) -> int:
        value = described.get(name)
        value = default if value is None else value
        if type(value) is not int or value < 1:
            raise UserError(
                f"{folder / CONFIG} has {name} {value!r}: it must be a positive integer"
            )
        return value

    _refuse(folder, described)
    rope = _rope(described)
    heads, width = integer("num_attention_heads"), integer("hidden_size")
    kv_heads, size = integer("num_key_value_heads", heads), integer("head_dim", width // heads)
    theta = described.get("rope_theta", rope.get("rope_theta", 10_000.0))
    epsilon = described.get("rms_norm_eps", 1e-6)
    config = options.shape(
        folder,
        layers=integer("num_hidden_layers"),
        width=width,
        heads=heads,
        hidden=integer("intermediate_size"),
        context=integer("max_position_embeddings", 2048),
        vocabulary=integer("vocab_size"),
        positions="rotary",
        family="llama",
        kv_heads=None if kv_heads == heads else kv_heads,
        head_dim=None if size * heads == width else size,
        theta=theta,
        epsilon=epsilon,
        tied=described.get("tie_word_embeddings") is True,
    )
    window = described.get("sliding_window")
    slides = window is not None and described.get("use_sliding_window", True)
    if slides and (type(window) is not int or window < config.context):
        raise UserError(
            f"{folder} has a sliding window of {window} of {config.context} positions, without a "
            f"counterpart in GPTLoom: import it with --context {window}"
        )
    return config


def _refuse(folder: Path, described: Mapping[str, Any]) -> None:
    """Refuse what has no counterpart, by its name."""
    names = described.get("architectures") or [f"{described.get('model_type')}"]
    if names[0] not in (*_SAME, "llama", "mistral"):
        raise UserError(
            f"{folder} is a {names[0]}, and only {', '.join(_SAME)} are known: if it computes the "
            f"same as the first, write that name into its {CONFIG}"
        )
    for field, (what, allowed) in _WITHOUT.items():
        value = described.get(field)
        if value is not None and value not in allowed:
            raise UserError(
                f"{folder} has {what} ({field}: {json.dumps(value)[:60]}), without a counterpart "
                "in GPTLoom: give another model"
            )
    rope = _rope(described)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise UserError(
            f"{folder} has rope scaling ({kind}), without a counterpart in GPTLoom: give a model "
            "without it"
        )


def _rope(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is said of rotations; newer programs write another name."""
    said = described.get("rope_parameters") or described.get("rope_scaling") or {}
    return said if isinstance(said, Mapping) else {"rope_type": said}


def _special(folder: Path, described: Mapping[str, Any]) -> tuple[int, int]:
    """Return the tokens that begin and end a document."""
    first = [described.get(name) for name in ("bos_token_id", "eos_token_id")]
    first = [ids[0] if isinstance(ids, list) and ids else ids for ids in first]
    begin, end = (first[i] if first[i] is not None else first[1 - i] for i in (0, 1))
    if begin is None:
        raise UserError(
            f"{folder / CONFIG} has neither bos_token_id nor eos_token_id: add the tokens that "
            "begin and end a document"
        )
    return begin, end


def _weights(tensors: Tensors, config: ModelConfig) -> dict[str, np.ndarray]:
    """Return the tensors by their names in checkpoints, gains folded."""
    shapes = config.weight_shapes()
    weights = {}
    for layer in range(config.layers):
        for own, there in _LAYER.items():
            name = f"layer{layer}.{own}"
            weights[name] = tensors.take(
                f"model.layers.{layer}.{there}.weight", *shapes.get(name, (config.width,))
            )
        for own in ("attn_wq", "attn_wk"):
            name = f"layer{layer}.{own}"
            weights[name] = neighbouring(weights[name], config.head_width)
        tensors.drop(f"model.layers.{layer}.self_attn.rotary_emb.inv_freq")
    weights["wte"] = tensors.take("model.embed_tokens.weight", *shapes["wte"])
    weights[FINAL_GAIN] = tensors.take("model.norm.weight", config.width)
    if config.tied:
        tensors.drop("lm_head.weight")
    else:
        weights["lm_head"] = tensors.take("lm_head.weight", *shapes["lm_head"])
    tensors.finish()
    fold_gains(weights)
    return weights


def neighbouring(matrix: np.ndarray, head_width: int) -> np.ndarray:
    """Return the rows of queries or keys in another order: pairs of halves become neighbours.

    Parameters
    ----------
    matrix
        [heads * head_width, columns]; element i of a head is turned with element
        ``i + head_width / 2``.
    head_width
        Elements of a head.
    """
    halves = matrix.reshape(-1, 2, head_width // 2, matrix.shape[1])
    return halves.swapaxes(1, 2).reshape(matrix.shape)


def _tensors(folder: Path) -> dict[str, np.ndarray]:
    """Return all tensors of one file or of all shards."""
    index, whole = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if whole.is_file():
        return read_safetensors(whole)[0]
    if not index.is_file():
        raise UserError(
            f"{folder} has neither {whole.name} nor {index.name}: save the model as safetensors"
        )
    placed = _read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(file, str) for file in placed.values()):
        raise UserError(f"{index} has no weight_map: copy it again")
    arrays: dict[str, np.ndarray] = {}
    for name in sorted(set(placed.values())):
        if not (folder / name).is_file():
            raise UserError(f"{index} names {name}, which is not in {folder}: copy it there")
        arrays |= read_safetensors(folder / name)[0]
    return arrays


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read {explain(error)}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON ({error}): copy it again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no object: copy it again")
    return value
