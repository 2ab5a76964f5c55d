"""How an unrolled core is built."""

from dataclasses import dataclass

from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.hdl.unrolled.target import SIMULATED, Target
from gptloom.model.errors import UserError
from gptloom.model.merged.integer import MergedModel


@dataclass(frozen=True)
class Shape:
    """What of a core's dimensions one may choose; see :class:`.UnrolledCore`.

    Attributes
    ----------
    bits_per_cycle
        Of activations, as they enter products.
    positions_per_cycle
        Cached positions that attention sees in a cycle.
    heads_per_cycle
        Whose mix is computed in a cycle; None for all.
    streams
        Documents at the same time; None for as few as the pipeline holds, which is also the least.
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
            If there is none of this shape, or for this model.
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
