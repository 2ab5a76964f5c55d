"""What an unrolled core is made of."""

from dataclasses import dataclass

from gptloom.hdl.multipliers import Mult18Multiplier, Multiplier
from gptloom.hdl.unrolled.array import ArrayMultiplier
from gptloom.hdl.unrolled.dense import Dense, Ecp5Dense


@dataclass(frozen=True)
class Target:
    """What multiplies, in a simulator or in a part; by default in a simulator.

    Attributes
    ----------
    dense
        Products with constants.
    cell
        Two variables.
    cells
        How many of these there are; None for any number.
    fabric
        Two variables, where there are no cells any more.
    """

    dense: type[Dense] = Dense
    cell: type[Multiplier] = Multiplier
    cells: int | None = None
    fabric: type[Multiplier] = ArrayMultiplier

    @classmethod
    def ecp5(cls, cells: int) -> "Target":
        """Return that of an ECP5 with so many MULT18X18D."""
        return cls(Ecp5Dense, Mult18Multiplier, cells)

    def multipliers(self, count: int, others: int) -> list[type[Multiplier]]:
        """Return what multiplies: cells as far as they go.

        Parameters
        ----------
        count
            Multipliers.
        others
            Cells that something else takes.
        """
        cells = count if self.cells is None else min(count, max(0, self.cells - others))
        return [self.cell] * cells + [self.fabric] * (count - cells)


SIMULATED = Target()
