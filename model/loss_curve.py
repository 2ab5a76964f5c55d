"""The losses of a training run: kept, drawn, and written beside the checkpoint."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptloom.model.checkpoint import Checkpoint, save_checkpoint
from gptloom.model.errors import UserError
from gptloom.model.files import is_ours, stamped, write_file

FEW = 100
"""Number of steps below which they are drawn as points."""


@dataclass
class LossCurve:
    """Losses in nats per token, of weights as the steps see them, and the outcome.

    Attributes
    ----------
    training
        Loss of each step's minibatch.
    heldout
        Held-out losses by the number of steps done.
    kept
        The step whose weights were kept.
    interrupted
        Whether somebody stopped the training.
    """

    training: list[float]
    heldout: dict[int, float]
    kept: int = 0
    interrupted: bool = False

    def steps_made(self) -> dict[str, int | bool]:
        """Return the progress of training, for a checkpoint's metadata."""
        stopped = {"interrupted": True} if self.interrupted else {}
        return {"steps_made": len(self.training), "kept_step": self.kept, **stopped}

    def limits(self, baselines: Iterable[float]) -> tuple[float, float]:
        """Return the limits of a picture that shows all these losses but a few outliers."""
        usual = np.percentile(self.training, (1, 99)) if self.training else ()
        shown = [*usual, *self.heldout.values(), *baselines]
        margin = 0.05 * (max(shown) - min(shown)) + 0.01
        return min(shown) - margin, max(shown) + margin


def write_results(path: Path, checkpoint: Checkpoint, curve: LossCurve) -> Path:
    """Write the checkpoint, and beside it the picture of its loss curve.

    Returns
    -------
    Path
        Path of the picture: the checkpoint's path with the suffix ``.png``.

    Raises
    ------
    UserError
        A file cannot be written, or the picture would replace another file.
    """
    # The file that took longest to make comes first.
    save_checkpoint(path, checkpoint)
    picture = check_picture(path)
    # Readers of PNG ignore anything after its end.
    write_file(picture, stamped(_draw(checkpoint, curve)))
    return picture


def check_picture(path: Path) -> Path:
    """Return the path of a checkpoint's picture.

    Raises
    ------
    UserError
        Another file is there, or a picture that somebody has changed.
    """
    picture = path.with_suffix(".png")
    if not is_ours(picture):
        raise UserError(
            f"the picture of the losses goes to {picture}, where a file is that no training has "
            f"made: move that away, or give {path} another name"
        )
    return picture


def _draw(checkpoint: Checkpoint, curve: LossCurve) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    steps, losses = range(1, len(curve.training) + 1), curve.training
    # A single point makes no line.
    axes.plot(steps, losses, lw=0.4, marker="." if len(steps) < FEW else "", label="minibatch")
    axes.plot(list(curve.heldout), list(curve.heldout.values()), "k.-", label="held out")
    axes.axvline(curve.kept, ls="--", color="grey", lw=0.8, label="kept")
    baselines = checkpoint.metadata["baselines"]
    for name, loss in baselines.items():
        axes.axhline(loss, ls=":", color="grey")
        axes.annotate(name, (1, loss), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    loss = checkpoint.metadata["heldout"]["loss"]
    axes.set(xlabel="step", ylabel="nats per token", title=f"held-out loss {loss:.4f}")
    axes.set_ylim(*curve.limits(baselines.values()))
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()
