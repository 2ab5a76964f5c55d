"""A forward pass of LlamaForCausalLM as published: gains where they stand, halves rotated."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shape:
    """A small model; the names are those of config.json, shortened."""

    layers: int = 2
    width: int = 16
    heads: int = 4
    cached: int = 2
    size: int = 4
    hidden: int = 20
    vocabulary: int = 11
    context: int = 24
    theta: float = 10_000.0
    epsilon: float = 1e-5
    tied: bool = False


SMALL = Shape()


def random_tensors(shape, seed=0):
    """Return tensors by Hugging Face's names, of few bits: products of two are exact in float32."""
    random = np.random.default_rng(seed)

    def tensor(*sizes, around=0):
        return (around + random.normal(0, 0.5, sizes)).astype(np.float16).astype(np.float32)

    queries, cached = shape.heads * shape.size, shape.cached * shape.size
    tensors = {"model.embed_tokens.weight": tensor(shape.vocabulary, shape.width)}
    for layer in range(shape.layers):
        own = {
            "input_layernorm": tensor(shape.width, around=1),
            "self_attn.q_proj": tensor(queries, shape.width),
            "self_attn.k_proj": tensor(cached, shape.width),
            "self_attn.v_proj": tensor(cached, shape.width),
            "self_attn.o_proj": tensor(shape.width, queries),
            "post_attention_layernorm": tensor(shape.width, around=1),
            "mlp.gate_proj": tensor(shape.hidden, shape.width),
            "mlp.up_proj": tensor(shape.hidden, shape.width),
            "mlp.down_proj": tensor(shape.width, shape.hidden),
        }
        tensors |= {f"model.layers.{layer}.{name}.weight": t for name, t in own.items()}
    tensors["model.norm.weight"] = tensor(shape.width, around=1)
    if not shape.tied:
        tensors["lm_head.weight"] = tensor(shape.vocabulary, shape.width)
    return tensors


def norm(x, gain, epsilon):
    return gain * x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon)


def rotate_halves(heads, theta):
    """Turn element i of every head with element i + half of it: [positions, heads, size]."""
    positions, _, size = heads.shape
    speeds = 1 / theta ** (np.arange(0, size, 2) / size)
    angles = np.concatenate([np.outer(np.arange(positions), speeds)] * 2, axis=1)[:, None]
    one, other = heads[..., : size // 2], heads[..., size // 2 :]
    return heads * np.cos(angles) + np.concatenate([-other, one], axis=-1) * np.sin(angles)


def rotate_neighbours(heads, theta):
    """Turn every even element with the next one, as complex numbers: [positions, heads, size]."""
    positions, _, size = heads.shape
    speeds = theta ** -(np.arange(0, size, 2) / size)
    turns = np.exp(1j * np.outer(np.arange(positions), speeds))[:, None]
    turned = (heads[..., 0::2] + 1j * heads[..., 1::2]) * turns
    return np.stack([turned.real, turned.imag], axis=-1).reshape(heads.shape)


def logits(shape, tensors, tokens, rotate=rotate_halves):
    """Return the logits after each token: [positions, vocabulary]."""
    w = {name.removesuffix(".weight"): t.astype(np.float64) for name, t in tensors.items()}
    x = w["model.embed_tokens"][tokens]
    count = len(tokens)
    unseen = np.triu(np.full((count, count), -np.inf), 1)
    for layer in range(shape.layers):
        own = f"model.layers.{layer}."
        normed = norm(x, w[own + "input_layernorm"], shape.epsilon)
        q, k, v = (
            (normed @ w[f"{own}self_attn.{name}_proj"].T).reshape(count, -1, shape.size)
            for name in "qkv"
        )
        q, k = rotate(q, shape.theta), rotate(k, shape.theta)
        mixed = []
        for head in range(shape.heads):
            served_by = head // (shape.heads // shape.cached)
            scores = q[:, head] @ k[:, served_by].T / np.sqrt(shape.size) + unseen
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            mixed.append(powers @ v[:, served_by] / powers.sum(axis=1, keepdims=True))
        x = x + np.concatenate(mixed, axis=1) @ w[own + "self_attn.o_proj"].T
        normed = norm(x, w[own + "post_attention_layernorm"], shape.epsilon)
        gate = normed @ w[own + "mlp.gate_proj"].T
        up = normed @ w[own + "mlp.up_proj"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[own + "mlp.down_proj"].T
    classifier = w["model.embed_tokens"] if shape.tied else w["lm_head"]
    return norm(x, w["model.norm"], shape.epsilon) @ classifier.T
