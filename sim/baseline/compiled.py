"""``microgpt.c``: packing a checkpoint for it, compiling and calling it."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.network import network
from gptloom.sim.engines.compilers import Compiler

_SOURCE = Path(__file__).with_name("microgpt.c")
_LANES = 32
"""Number of logits in the C code; those beyond the vocabulary are never sampled."""
_NEVER = -1e4
_LARGEST_SCORE = 100.0
"""Limit of a softmax without a maximum, as a power of 2: float32 ends at 2**128."""
_ALIGNMENT = 64

# Vector sums keep the order they are written in, which is what lets them overlap.
_OPTIMISATION = ("-O3", "-ffast-math", "-fno-associative-math")
_THIS_CPU = ("-march=native", "-mcpu=native")
"""Candidates, of which the first that the compiler takes is used; for some CPUs clang takes only
the second."""


class CompiledModel:
    """microGPT in C, of one checkpoint, compiled for this CPU.

    Parameters
    ----------
    checkpoint
        Checkpoint of the shape of Karpathy's microGPT, which the code is written for.
    compiler
        Compiler of the C code.

    Raises
    ------
    UserError
        If the checkpoint has another shape, its attention scores exceed the range of the code, or
        the compiler fails.
    """

    def __init__(self, checkpoint: Checkpoint, compiler: Compiler):
        if checkpoint.config != ModelConfig.MICROGPT:
            raise UserError(
                "the C baseline is written for the shape of Karpathy's microGPT: give a checkpoint "
                "of that shape, such as names"
            )
        packed = _pack(checkpoint)
        self._library = _compile(compiler)
        self._library.microgpt_generate.restype = ctypes.c_long
        self._library.microgpt_bytes.restype = ctypes.c_ulong
        if self._library.microgpt_bytes() != packed.nbytes:
            raise RuntimeError("microgpt.c has another layout than what is packed for it")
        self._vocabulary = checkpoint.config.vocabulary
        memory = np.empty(packed.nbytes + _ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % _ALIGNMENT
        self._model = memory[start : start + packed.nbytes].view(np.float32)
        self._model[:] = packed

    def logits(self, tokens: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the logits after each token of a document.

        Parameters
        ----------
        tokens
            [count] ids, at most as many as the context has.

        Returns
        -------
        numpy.ndarray
            float32 [count, vocabulary].
        """
        tokens = np.ascontiguousarray(tokens, dtype=np.int32)
        logits = np.empty((len(tokens), _LANES), np.float32)
        self._library.microgpt_logits(
            _pointer(self._model), _pointer(tokens), len(tokens), _pointer(logits)
        )
        return logits[:, : self._vocabulary]

    def generate(self, seed: int, temperature: float, least: int) -> NDArray[np.uint8]:
        """Return at least this many sampled tokens of whole documents, including end tokens."""
        tokens = np.empty(least + ModelConfig.MICROGPT.context, np.uint8)
        count = self._library.microgpt_generate(
            _pointer(self._model),
            ctypes.c_float(temperature),
            ctypes.c_uint32(seed),
            ctypes.c_long(least),
            _pointer(tokens),
        )
        return tokens[:count]

    def loss(self, rows: NDArray[np.integer]) -> float:
        """Return the mean cross-entropy in nats per predicted token.

        Parameters
        ----------
        rows
            [documents, context + 1] token rows padded with -1.
        """
        total, count = 0.0, 0
        for row in rows:
            tokens = row[row >= 0]
            logits = self.logits(tokens[:-1]).astype(np.float64)
            chosen = np.take_along_axis(logits, tokens[1:, None].astype(np.int64), axis=1)[:, 0]
            total += float((np.log(np.exp(logits).sum(axis=1)) - chosen).sum())
            count += len(chosen)
        return total / count


def _pointer(array: NDArray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _pack(checkpoint: Checkpoint) -> NDArray[np.float32]:
    """Return the numbers of the C code's ``Model``, in its order."""
    config = checkpoint.config
    weights = {name: value.astype(np.float64) for name, value in checkpoint.weights.items()}
    table = network(config)
    query, key, value, out, up, down = (weights[w.name] for w in table.layer_weights(0))
    head = np.zeros((_LANES, config.width))
    head[: config.vocabulary] = weights[table.head.matrix.name]
    lowest = np.where(np.arange(_LANES) < config.vocabulary, 0, _NEVER)

    x = _norm(weights[table.tokens.name][:, None] + weights[table.positions.name], config.epsilon)
    normed = _norm(x, config.epsilon)
    # Numerators are powers of 2.
    queries = normed @ query.T * (np.log2(np.e) / np.sqrt(config.head_width))
    keys = normed @ key.T
    _check_scores(queries, keys, config)
    front = [x, queries, keys, normed @ value.T, x @ up.T, x @ head.T + lowest]
    matrices = [out, up @ out, head @ out, head @ down]
    parts = [np.concatenate(front, axis=-1), *(matrix.T for matrix in matrices)]
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def _norm(x: NDArray[np.float64], epsilon: float) -> NDArray[np.float64]:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon)


def _check_scores(queries: NDArray, keys: NDArray, config: ModelConfig) -> None:
    split = (-1, config.heads, config.head_width)
    scores = np.einsum("qhd,khd->hqk", queries.reshape(split), keys.reshape(split))
    largest = float(np.abs(scores).max())
    if not largest <= _LARGEST_SCORE:
        raise UserError(
            f"this checkpoint attends with scores up to {largest:.0f}, which the C baseline's "
            "softmax has no room for: give another checkpoint"
        )


def _compile(compiler: Compiler) -> ctypes.CDLL:
    options = [*_OPTIMISATION, "-fPIC"]
    if compiler.is_zig:
        options.append("-fno-sanitize=undefined")
    with tempfile.TemporaryDirectory(prefix="gptloom-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for this_cpu in _THIS_CPU:
            done = subprocess.run(
                [*compiler.command, "-x", "c", *options, this_cpu, "-c", _SOURCE, "-o", "part.o"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode == 0:
                break
        else:
            tail = "\n".join(done.stderr.strip().splitlines()[-4:])
            raise UserError(
                f"{compiler.label} could not compile the C baseline (another compiler can be named "
                f"by CXX); it said:\n{tail}"
            )
        # Linked without -ffast-math, which would switch off small numbers in the whole process.
        link = [*compiler.command, "-shared", "part.o", "-o", "microgpt.so"]
        subprocess.run(link, cwd=folder, capture_output=True, check=True)
        return ctypes.CDLL(str(folder / "microgpt.so"))
