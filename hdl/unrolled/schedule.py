"""When everything happens in the unrolled core."""

from dataclasses import dataclass

from gptloom.hdl.unrolled.attention import Attention
from gptloom.hdl.unrolled.choose import Choose
from gptloom.hdl.unrolled.dense import Dense
from gptloom.hdl.unrolled.root import Offset, Root
from gptloom.hdl.unrolled.table import Table
from gptloom.model.config import ModelConfig

ENTERING = 1
"""Cycles from a turn's decision to the tables: it is far to all of these."""

ROOT_WAITS = 1
"""Cycles from the first products to the root: its sums are long without theirs."""


@dataclass(frozen=True)
class Schedule:
    """Cycles from the turn in which a token enters to what becomes of it.

    Attributes
    ----------
    look_up, table
        Its table words are asked for; they are there.
    scores, numerators
        Of the first beat.
    sums
        Of all numerators.
    mix, first
        The mixed values; the products by A1, Wo and A2.
    root_begins, root
        The residual is there; its root is.
    offset_begins, offset
        The first of ``direct`` and of the noise; all offsets.
    second
        The product by B.
    choose
        Offsets and product meet.
    token
        What follows is sampled.
    """

    look_up: int
    table: int
    scores: int
    numerators: int
    sums: int
    mix: int
    first: int
    root_begins: int
    root: int
    offset_begins: int
    offset: int
    second: int
    choose: int
    token: int

    @classmethod
    def of(
        cls,
        config: ModelConfig,
        positions: int,
        heads_per_cycle: int,
        dense: tuple[Dense, Dense],
        rest: tuple[Root, Offset, Choose],
    ) -> "Schedule":
        """Return that of a core of these parts.

        Parameters
        ----------
        config, positions, heads_per_cycle
            See :class:`.Attention`.
        dense
            Both products.
        rest
            What follows them.
        """
        table = ENTERING + Table.latency
        steps = Attention.steps_of(config, positions, heads_per_cycle)
        root, offset, choose = rest
        first = table + steps.mix + dense[0].latency
        second, root_begins = first + dense[1].latency, first + ROOT_WAITS
        rooted = root_begins + root.latency
        chosen = max(second, rooted + offset.latency)
        return cls(
            look_up=ENTERING,
            table=table,
            scores=table + steps.scores,
            numerators=table + steps.numerators,
            sums=table + steps.sums,
            mix=table + steps.mix,
            first=first,
            root_begins=root_begins,
            root=rooted,
            offset_begins=rooted - 1,
            offset=rooted + offset.latency,
            second=second,
            choose=chosen,
            token=chosen + choose.latency,
        )
