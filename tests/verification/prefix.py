"""Prefixes that are kept: which slot a document begins in, and how much of it is there already.

A slot is a cache of its own, and remembers the tokens of its rows. When a document comes, its known
tokens are compared with every slot's, from the first one on:

- It goes on in a slot that has them, where that costs no more than what was sampled there: the
  slot's own known tokens, its prompt, are all among them.
- Otherwise it takes the slot that was taken longest ago, and what that shares with it.
- In a model of one layer a row depends on its token and its position alone. So a document can read
  its first rows, a multiple of :attr:`PrefixStore.granule`, in one slot, its head, and find what
  follows in another, its tail, which it goes on in: two prefixes are joined.

The last known token is always computed, for what follows it is wanted.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """Where a document's rows are.

    Attributes
    ----------
    head, joint
        Its rows before `joint` are in the slot `head`,
    tail
        and all others in this one, where new ones are written.
    keep
        Its first row that is computed.
    """

    head: int
    tail: int
    joint: int
    keep: int


class PrefixStore:
    """What the slots hold, and where documents go: the golden counterpart of the hardware's.

    Parameters
    ----------
    slots
        How many there are.
    context
        Rows of each.
    granule
        Rows that come from one slot at least.
    joins
        Whether a document may have its rows in two slots: in models of one layer.

    Attributes
    ----------
    rows
        Tokens of every slot.
    """

    def __init__(self, slots: int, context: int, granule: int, joins: bool):
        self.rows: list[list[int]] = [[] for _ in range(slots)]
        self._context, self._granule, self._joins = context, granule, joins
        self._prompts = [0] * slots
        self._oldest = 0
        self._tail = 0

    def place(self, known: Sequence[int]) -> Placement:
        """Say where a document goes that begins with these tokens."""
        # The last known token is computed; whether a slot has it still counts for the prompts.
        final = min(len(known), self._context) - 1
        shared = [_common(rows, known[: final + 1]) for rows in self.rows]
        keep = min(max(shared), final)
        head, joint, reached = None, 0, shared
        if self._joins:
            head, joint, reached = self._joined(known[: final + 1], keep, shared)
            keep = min(max(reached), final)
        pairs = zip(reached, self._prompts, strict=True)
        # A slot that was never used is taken in its turn.
        able = [s for s, (count, least) in enumerate(pairs) if least and count >= max(keep, least)]
        if able:
            tail = able[0]
            placed = Placement(tail if head is None else head, tail, joint, keep)
        else:
            tail, self._oldest = self._oldest, (self._oldest + 1) % len(self.rows)
            placed = Placement(tail, tail, 0, min(shared[tail], keep))
        self._tail, self._prompts[tail] = tail, final + 1
        del self.rows[tail][placed.keep :]
        return placed

    def _joined(self, known, keep: int, shared: list[int]) -> tuple[int | None, int, list[int]]:
        """Return a head, the joint, and how far slots reach behind it, if any reaches further."""
        joint = keep // self._granule * self._granule
        reached = [
            joint + _common(rows[joint:], known[joint:]) if len(rows) > joint else 0
            for rows in self.rows
        ]
        if not joint or min(max(reached), len(known) - 1) <= keep:
            return None, 0, shared
        head = next(s for s, count in enumerate(shared) if count >= joint)
        return head, joint, reached

    def computed(self, token: int) -> None:
        """Remember the next row's token, of the document that was placed last."""
        self.rows[self._tail].append(token)


def _common(some: Sequence[int], others: Sequence[int]) -> int:
    """Count the tokens that both begin with."""
    count = 0
    for one, other in zip(some, others, strict=False):
        if one != other:
            break
        count += 1
    return count
