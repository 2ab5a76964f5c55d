"""Kept prefixes: the slot in which a document begins, and the rows it finds there.

A slot is a cache of its own that also stores the tokens of its rows. When a document comes, its
known tokens are compared with every slot's, from the first one on:

- It continues in a slot that has them, if only sampled tokens are lost there: the slot's own known
 tokens, its prompt, are all among them.
- Otherwise it takes the least recently taken slot, and the rows they have in common.
- In a model of one layer a row depends on its token and its position alone. So a document can read
   its first rows, a multiple of :attr:`PrefixStore.granule`, in one slot, its head, and the next
   ones in another, its tail, in which it continues: two prefixes are joined.

The last known token is always computed, because its successor is to be sampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """Places of a document's rows.

    Attributes
    ----------
    head, joint
        Slot of its rows before `joint`, and their number.
    tail
        Slot of all other rows, in which new ones are written.
    keep
        First row to compute.
    """

    head: int
    tail: int
    joint: int
    keep: int


class PrefixStore:
    """Contents of the slots, and placement of documents: the golden counterpart of the hardware.

    Parameters
    ----------
    slots
        Number of slots.
    context
        Rows in each.
    granule
        Minimum rows that come from one slot.
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
        """Return the placement of a document that begins with these tokens."""
        # The last known token is computed, but a slot that has it may still hold the whole prompt.
        final = min(len(known), self._context) - 1
        shared = [_common(rows, known[: final + 1]) for rows in self.rows]
        keep = min(max(shared), final)
        head, joint, reached = None, 0, shared
        if self._joins:
            head, joint, reached = self._joined(known[: final + 1], keep, shared)
            keep = min(max(reached), final)
        pairs = zip(reached, self._prompts, strict=True)
        # An unused slot is taken only in its turn.
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
        """Return a head, the joint, and the reach of slots after it, if any reaches further."""
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
        """Store the next row's token, for the document placed last."""
        self.rows[self._tail].append(token)


def _common(some: Sequence[int], others: Sequence[int]) -> int:
    """Count the tokens with which both begin."""
    count = 0
    for one, other in zip(some, others, strict=False):
        if one != other:
            break
        count += 1
    return count
