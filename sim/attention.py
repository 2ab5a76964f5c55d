"""Attention of each token, as the hardware computes it, and maps of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.arithmetic import Integers
from gptloom.model.cache import KVCache
from gptloom.model.golden import GoldenModel
from gptloom.model.integer import IntegerModel
from gptloom.model.sites import Kind
from gptloom.sim.divergence import first_divergence, traced
from gptloom.sim.engines import Engine
from gptloom.sim.generation import Generator, MismatchError, Request

SHADES = " ░▒▓█"


@dataclass(frozen=True)
class Attended:
    """One token's attention.

    Attributes
    ----------
    position
        Position of the token, in its document or stream.
    seen
        Positions of the cached tokens that it saw, in the order of the cache's rows.
    weights
        [layers, heads, rows]: numerators of the softmax over their sum. A prompt's token has zeros
        in the last layer, where its attention is not computed.
    """

    position: int
    seen: list[int]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, position: int, seen: list[int], numerators: Integers) -> "Attended":
        """Return a token's attention from its numerators, [layers, rows, heads]."""
        total = np.maximum(numerators.sum(axis=1, keepdims=True), 1)
        return cls(position, seen, np.moveaxis(numerators / total, 2, 1))

    def by_position(self, layer: int, head: int) -> dict[int, float]:
        """Return a head's weights by position."""
        return dict(zip(self.seen, self.weights[layer, head].tolist(), strict=True))

    def top(self, count: int) -> list[tuple[int, float]]:
        """Return the positions that all heads of all layers attended to most, and their shares."""
        shares = self.weights.sum(axis=(0, 1)) / max(self.weights.sum(), 1e-9)
        best = np.argsort(-shares, kind="stable")[:count]
        return [(self.seen[row], float(shares[row])) for row in best if shares[row] > 0]


def watch(
    model: IntegerModel,
    machine: Machine,
    open_engine: Callable[[FoldedCore], Engine],
    request: Request,
) -> tuple[list[int], list[Attended]]:
    """Let simulated hardware write documents, and return their tokens and each one's attention.

    Parameters
    ----------
    model, machine, open_engine
        The network and the hardware.
    request
        Documents to write; without eviction one document is watched, whatever the count.

    Raises
    ------
    MismatchError
        If the hardware wrote a value that is not the golden model's.
    """
    traces: list[dict] = []
    golden = GoldenModel(model).generate(
        request.seed, request.temperature, request.prompt, lambda *_: traced(traces)
    )
    generator = Generator(model, machine, open_engine, build_image(model, machine))
    with generator.engine as engine:
        session, hardware = generator.start(request)
        session.watch()
        first = engine.cycles
        tokens, documents = [model.tokenizer.bos, *request.prompt], 0
        for seen, _ in zip(hardware, golden, strict=False):
            tokens.append(seen.token)
            documents += seen.last
            ended = documents == request.count or (seen.last and not model.config.endless)
            if ended or len(tokens) > len(request.prompt) + (request.most or math.inf):
                break
        written = list(generator.written(session.watched(), first))
    divergence = first_divergence(written, traces)
    if divergence:
        raise MismatchError(f"hardware and golden model differ: {divergence}")
    return tokens, _attended(model, written)


def _attended(model: IntegerModel, written) -> list[Attended]:
    """Gather numerators, token by token."""
    config, found = model.config, []
    cache, numerators = KVCache(config, 1), None

    def close() -> None:
        if numerators is not None:
            for layer in numerators:
                cache.attend(layer[None])
            seen = cache.born[0, : numerators.shape[1]].tolist()
            found.append(Attended.of(len(found), seen, numerators))

    for item in written:
        if item.site.kind is Kind.EMBEDDING and item.element == 0:
            close()
            cache.admit(len(found))
            numerators = np.zeros((config.layers, cache.occupied, config.heads), np.int64)
        elif item.site.kind is Kind.SOFTMAX:
            row, head = divmod(item.element, config.heads)
            # Whole words are written; the end of the last one may lie beyond the rows in use.
            if row < cache.occupied:
                numerators[item.site.layer, row, head] = item.value
    close()
    return found


def bars(token: Attended) -> str:
    """Return a token's attention as text: a line per head, a shade per row that it saw."""
    lines = []
    for layer, heads in enumerate(token.weights):
        for head, weights in enumerate(heads):
            # Of many rows none gets much: shades are shares of the largest.
            shares = weights / max(weights.max(), 1e-9)
            cells = "".join(_shade(share) for share in shares)
            lines.append(f"layer {layer}, head {head:2d} {cells}")
    return "\n".join(lines)


def _shade(share: float) -> str:
    return SHADES[min(int(share * len(SHADES)), len(SHADES) - 1)]


def heat_map(labels: list[str], attended: list[Attended], layer: int, head: int) -> str:
    """Return a head's attention as text: a line per token, a column per token that it could see."""
    lines = ["      " + "".join(labels[: attended[-1].position + 1])]
    for token in attended:
        weights = token.by_position(layer, head)
        cells = (_shade(weights[p]) if p in weights else "·" for p in range(token.position + 1))
        lines.append(f"{token.position:4d} {labels[token.position]}{''.join(cells)}")
    return "\n".join(lines)


def picture(labels: list[str], attended: list[Attended]) -> bytes:
    """Return a PNG with a heat map for every head of every layer."""
    import io

    from matplotlib.figure import Figure

    layers, heads = attended[0].weights.shape[:2]
    size = attended[-1].position + 1
    figure = Figure(figsize=(3.2 * heads, 3.8 * layers), layout="constrained")
    grid = figure.subplots(layers, heads, squeeze=False)
    for (layer, head), axes in np.ndenumerate(grid):
        image = np.full((size, size), np.nan)
        for token in attended:
            for position, weight in token.by_position(layer, head).items():
                image[token.position, position] = weight
        axes.imshow(image, vmin=0, vmax=1, cmap="viridis")
        axes.set(title=f"layer {layer}, head {head}")
        axes.set_xticks(range(size), labels[:size])
        axes.set_yticks(range(size), labels[:size])
    grid[0, 0].set_ylabel("token")
    grid[-1, 0].set_xlabel("attends")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=90)
    return content.getvalue()
