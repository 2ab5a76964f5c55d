"""Building blocks of an unrolled core."""

from dataclasses import dataclass

from gptloom.hdl.multipliers import Mult18Multiplier, Multiplier
from gptloom.hdl.unrolled.array import ArrayMultiplier
from gptloom.hdl.unrolled.dense import Dense, Ecp5Dense


@dataclass(frozen=True)
class Target:
    """Multipliers for a simulator or a part; by default for a simulator.

    Attributes
    ----------
    dense
        Products by constants.
    cell
        Multiplier of two variables.
    cells
        Number of `cell` available; None for any number.
    fabric
        Multiplier of two variables for use when no cells are left.
    """

    dense: type[Dense] = Dense
    cell: type[Multiplier] = Multiplier
    cells: int | None = None
    fabric: type[Multiplier] = ArrayMultiplier

    @classmethod
    def ecp5(cls, cells: int) -> "Target":
        """Return the target of an ECP5 with a number of MULT18X18D."""
        return cls(Ecp5Dense, Mult18Multiplier, cells)

    def multipliers(self, count: int, others: int) -> list[type[Multiplier]]:
        """Return classes of multipliers: cells as long as there are any.

        Parameters
        ----------
        count
            Number of multipliers.
        others
            Cells that other products take.
        """
        cells = count if self.cells is None else min(count, max(0, self.cells - others))
        return [self.cell] * cells + [self.fabric] * (count - cells)


SIMULATED = Target()
