"""Families of models: each has its own table of sites (:mod:`.network`)."""

from enum import StrEnum

from gptloom.model.errors import UserError


class Family(StrEnum):
    """Families of models."""

    MICROGPT = "microgpt"
    """Normalised embedding, ReLU, no final norm: :mod:`.microgpt`."""
    LLAMA = "llama"
    """Rotary positions, gated MLP, shared keys and values, final norm: :mod:`.llama`."""


def check_family(family: Family, what: str) -> None:
    """Refuse a family other than microGPT for `what` computes that alone.

    Raises
    ------
    UserError
        Naming both.
    """
    if family is not Family.MICROGPT:
        raise UserError(
            f"{what} does not compute the family {family}: give a checkpoint of the family "
            f"{Family.MICROGPT}"
        )
