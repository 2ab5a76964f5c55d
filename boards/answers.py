"""What a chip answers on its serial line, and how it refuses."""

from dataclasses import dataclass

from gptloom.firmware.protocol import Item, Reply
from gptloom.model.arithmetic import Integers
from gptloom.model.errors import UserError


class LinkError(UserError):
    """The chip does not answer, or refuses."""


class RefusedError(LinkError):
    """The chip has answered, but not by OK.

    Attributes
    ----------
    reply
        How.
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
    """What a chip says of itself.

    Attributes
    ----------
    version
        Of the protocol.
    config
        See :func:`.config_hash`.
    weights
        CRC-32 of weights, program and embeddings, as :meth:`.Image.checksum`.
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
"""Counters of the KV cache, as people say them: see :class:`gptloom.hdl.core.CacheCounters`."""


@dataclass(frozen=True)
class Spoken:
    """One token of a prompt's continuation, with the position it follows.

    Attributes
    ----------
    numerators
        Of the softmax, [layers, cached positions, heads], if they were asked for: what the token
        at `position` attended.
    """

    token: int
    position: int
    last: bool
    numerators: Integers | None = None
