"""The losses of a training run: kept, drawn, and written beside the checkpoint."""

import io
from dataclasses import dataclass
from pathlib import Path

from gptloom.model.checkpoint import Checkpoint, save_checkpoint
from gptloom.model.errors import UserError
from gptloom.model.files import is_ours, stamped, write_file


@dataclass(frozen=True)
class LossCurve:
    """Losses in nats per token: of each step's minibatch, and held out at some steps.

    Quantisation-aware steps see rounded weights; held-out losses are those of the unrounded ones.
    """

    training: list[float]
    heldout: dict[int, float]


def write_results(path: Path, checkpoint: Checkpoint, curve: LossCurve) -> Path:
    """Write the checkpoint, and beside it the picture of its loss curve.

    Returns
    -------
    Path
        The picture: the checkpoint's path with the ending ``.png``.

    Raises
    ------
    UserError
        A file cannot be written, or the picture would replace another file.
    """
    image = _draw(checkpoint, curve)
    save_checkpoint(path, checkpoint)
    picture = check_picture(path)
    # Readers of PNG stop before what follows its end.
    write_file(picture, stamped(image))
    return picture


def check_picture(path: Path) -> Path:
    """Return where a checkpoint's picture goes.

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
    axes.plot(range(1, len(curve.training) + 1), curve.training, lw=0.4, label="minibatch")
    axes.plot(list(curve.heldout), list(curve.heldout.values()), "k", label="held out")
    for name, loss in checkpoint.metadata["baselines"].items():
        axes.axhline(loss, ls=":", color="grey")
        axes.annotate(name, (1, loss), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    loss = checkpoint.metadata["heldout"]["loss"]
    axes.set(xlabel="step", ylabel="nats per token", title=f"held-out loss {loss:.4f}")
    axes.set_ylim(loss - 0.1, loss + 0.8)
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()
