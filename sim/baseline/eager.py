"""microGPT in PyTorch, a token at a time, as usually written: no graphs, no compilation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.network import network
from gptloom.model.positions import Positions

if TYPE_CHECKING:
    import torch


class EagerModel:
    """A checkpoint in PyTorch, float32, with a KV cache.

    Constructing the first one imports PyTorch, which then computes in one thread.

    Parameters
    ----------
    checkpoint
        Checkpoint with learned positions.
    """

    def __init__(self, checkpoint: Checkpoint):
        import torch

        if checkpoint.config.positions is not Positions.LEARNED:
            raise ValueError("the positions have to be learned")
        torch.set_num_threads(1)
        self._torch = torch
        self.config = checkpoint.config
        self._end = checkpoint.tokenizer.bos
        self._weights = {k: torch.from_numpy(v.copy()) for k, v in checkpoint.weights.items()}

    def new_cache(self) -> list[list[torch.Tensor]]:
        """Return empty lists of keys and values for every layer."""
        return [[] for _ in range(2 * self.config.layers)]

    def step(self, token: int, position: int, cache: list[list[torch.Tensor]]) -> torch.Tensor:
        """Return the logits [vocabulary] after one more token, whose keys and values are cached."""
        torch, weights, config = self._torch, self._weights, self.config
        table = network(config)
        heads = (-1, config.heads, config.head_width)
        x = self._norm(weights[table.tokens.name][token] + weights[table.positions.name][position])
        for layer in range(config.layers):
            query, key, value, out, up, down = (weights[w.name] for w in table.layer_weights(layer))
            normed = self._norm(x)
            q = (query @ normed).view(heads)
            cache[2 * layer].append(key @ normed)
            cache[2 * layer + 1].append(value @ normed)
            keys, values = (torch.stack(rows).view(heads) for rows in cache[2 * layer :][:2])
            scores = (q * keys).sum(dim=-1) / config.head_width**0.5
            mixed = (torch.softmax(scores, dim=0)[..., None] * values).sum(dim=0).flatten()
            x = x + out @ mixed
            hidden = torch.relu(up @ self._norm(x))
            x = x + down @ hidden
        return weights[table.head.matrix.name] @ x

    def generate(self, seed: int, temperature: float, least: int) -> list[int]:
        """Return at least this many sampled tokens of whole documents, including end tokens."""
        torch, tokens = self._torch, []
        torch.manual_seed(seed)
        with torch.inference_mode():
            while len(tokens) < least:
                token, cache = self._end, self.new_cache()
                for position in range(self.config.context):
                    logits = self.step(token, position, cache) / temperature
                    token = int(torch.multinomial(torch.softmax(logits, dim=-1), 1))
                    tokens.append(token)
                    if token == self._end:
                        break
        return tokens

    def _norm(self, x: torch.Tensor) -> torch.Tensor:
        return x * (x.square().mean() + self.config.epsilon).rsqrt()
