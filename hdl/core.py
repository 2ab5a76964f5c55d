"""The face that all cores share: tokens in, tokens out.

Whoever uses a core (top, simulation, display, host) sees this signature and nothing else.
"""

from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.fit import ADDRESS_BITS, MOST
from gptloom.firmware.widths import bits_of
from gptloom.hdl.folded.layouts import Temperature
from gptloom.model.sampling import SEED_BITS

COUNTER_BITS = 32


TOKEN_BITS = bits_of(MOST["vocabulary"] - 1)
POSITION_BITS = bits_of(MOST["context"] - 1)
"""Widths that suffice for all cores. Bits that a core does not need are constant, and cost it
nothing."""


class Prompt(data.Struct):
    """One known token of a document; the beginning-of-document token comes first.

    With `last` the core takes over: it samples what follows until the document ends.
    """

    token: unsigned(TOKEN_BITS)
    last: unsigned(1)


class Token(data.Struct):
    """One sampled token: it follows position `position`; `last` is the end of the document."""

    token: unsigned(TOKEN_BITS)
    position: unsigned(POSITION_BITS)
    last: unsigned(1)


class Write(data.Struct):
    """One byte for one of the core's memories, numbered as :class:`.firmware.regions.Region`."""

    region: unsigned(3)
    address: unsigned(ADDRESS_BITS)
    data: unsigned(8)


class Address(data.Struct):
    """Place of a byte that the load port wrote."""

    region: unsigned(3)
    address: unsigned(ADDRESS_BITS)


class Counters(data.Struct):
    """Counted since reset, modulo 2**32.

    `cycles` runs always; `tokens` are sampled tokens; `stalls` are cycles in which the core waited
    for its output to be taken.
    """

    cycles: unsigned(COUNTER_BITS)
    tokens: unsigned(COUNTER_BITS)
    stalls: unsigned(COUNTER_BITS)


class CacheCounters(data.Struct):
    """Counters of a KV cache; all but `occupancy` count since reset, modulo 2**32.

    `occupancy` are the rows of the document under way, or of the last one. `writes` are rows that
    were written and `evictions` those that made room for them, in all layers at once; `reads` are
    rows that were attended, by all heads of one layer at once. `hits` are documents of which rows
    were there already, and `reused` are these rows.
    """

    occupancy: unsigned(16)
    writes: unsigned(COUNTER_BITS)
    reads: unsigned(COUNTER_BITS)
    evictions: unsigned(COUNTER_BITS)
    hits: unsigned(COUNTER_BITS)
    reused: unsigned(COUNTER_BITS)


class CoreSignature(wiring.Signature):
    """Signature of a core.

    Members
    -------
    i : In(stream of Prompt)
        Known tokens. A document starts with the first one and ends with the output's `last`.
    o : Out(stream of Token)
        Sampled tokens. The core runs one token ahead of the reader, then stalls.
    temperature : In(Temperature)
        Taken at the start of every token.
    seed : In(stream of 32 bits)
        State of the random numbers; taken between documents. 0 is taken as 1.
    load : In(stream of Write)
        Model image; taken between documents. It sets the random numbers' state to 1.
    read, read_data : In(stream of Address), Out(8)
        Memories read back, between documents: `read_data` is the byte asked for in the cycle in
        which the request is taken.
    busy : Out(1)
        A document is under way.
    counters : Out(Counters)
        Events so far.
    cache : Out(CacheCounters)
        Events in the KV cache.
    """

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(Prompt)),
                "o": Out(stream.Signature(Token)),
                "temperature": In(Temperature),
                "seed": In(stream.Signature(SEED_BITS)),
                "load": In(stream.Signature(Write)),
                "read": In(stream.Signature(Address)),
                "read_data": Out(8),
                "busy": Out(1),
                "counters": Out(Counters),
                "cache": Out(CacheCounters),
            }
        )
