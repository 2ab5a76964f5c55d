"""Answers of a chip on its serial line, and its refusals."""

from dataclasses import dataclass

from gptloom.firmware.protocol import Item, Reply
from gptloom.model.arithmetic import Integers
from gptloom.model.errors import UserError


class LinkError(UserError):
    """The chip does not answer, or refuses."""


class RefusedError(LinkError):
    """The chip has answered, but not with OK.

    Attributes
    ----------
    reply
        The code of its answer.
    """

    def __init__(self, reply: int, message: str):
        super().__init__(message)
        self.reply = reply


REFUSALS = {
    Reply.DAMAGED: "the chip received a damaged frame again and again: check the cable, or choose "
    "a lower --baud",
    Reply.UNKNOWN: "the chip does not know this command, its bitstream is of another version: "
    "build it anew",
    Reply.BUSY: "the chip is busy with another prompt: try again when that has ended",
    Reply.BAD_IMAGE: "the chip refused the image; the model that it had still runs",
    Reply.STOPPED: "the chip has stopped because its memories do not hold what was loaded: upload "
    "an image with 'gptloom load', or flash the board anew",
}


@dataclass(frozen=True)
class Identity:
    """Identity that a chip reports.

    Attributes
    ----------
    version
        Protocol version.
    config
        See :func:`.config_hash`.
    weights
        CRC-32 of weights, program and embeddings, see :meth:`.Image.checksum`.
    """

    version: int
    config: int
    weights: int


@dataclass(frozen=True)
class Counted:
    """The core's counters, see :class:`gptloom.hdl.core.Counters`."""

    cycles: int
    tokens: int
    stalls: int


CACHE_COUNTERS = {
    "rows of the last document": Item.ROWS,
    "rows written": Item.WRITES,
    "rows attended": Item.READS,
    "rows evicted": Item.EVICTIONS,
    "documents that found rows": Item.HITS,
    "rows found": Item.REUSED,
}
"""Counters of the KV cache by displayed name, see :class:`gptloom.hdl.core.CacheCounters`."""


@dataclass(frozen=True)
class Spoken:
    """One token of a prompt's continuation, with the position it follows.

    Attributes
    ----------
    numerators
        Softmax numerators, [layers, cached positions, heads], if they were requested: the attention
        of the token at `position`.
    """

    token: int
    position: int
    last: bool
    numerators: Integers | None = None
