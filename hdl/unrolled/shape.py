"""Dimensions of an unrolled core."""

from dataclasses import dataclass

from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.hdl.unrolled.target import SIMULATED, Target
from gptloom.model.errors import UserError
from gptloom.model.merged.integer import MergedModel


@dataclass(frozen=True)
class Shape:
    """Dimensions of a core that can be chosen; see :class:`.UnrolledCore`.

    Attributes
    ----------
    bits_per_cycle
        Bits of an activation that enter a product in one cycle.
    positions_per_cycle
        Cached positions that attention reads in a cycle.
    heads_per_cycle
        Heads whose mix is computed in a cycle; None for all.
    streams
        Documents in progress at the same time; None for the minimum, as many as the pipeline holds.
    """

    bits_per_cycle: int = 2
    positions_per_cycle: int = 4
    heads_per_cycle: int | None = None
    streams: int | None = None

    def make(self, model: MergedModel, target: Target = SIMULATED) -> UnrolledCore:
        """Return the hardware.

        Raises
        ------
        UserError
            If no core can be built in this shape, or for this model.
        """
        try:
            return UnrolledCore(
                model,
                bits_per_cycle=self.bits_per_cycle,
                positions=self.positions_per_cycle,
                heads_per_cycle=self.heads_per_cycle,
                streams=self.streams,
                target=target,
            )
        except ValueError as error:
            raise UserError(f"the unrolled core cannot be built: {error}") from None
