"""Where the parts of a plan are written."""

from dataclasses import dataclass

from gptloom.firmware.latencies import Latencies
from gptloom.firmware.layout import Layout
from gptloom.model.sites import Site
from verification.scoreboard.cells import Label, TableMaker
from verification.scoreboard.signals import Signals
from verification.scoreboard.values import TokenNumbers


@dataclass(frozen=True)
class Sheet:
    """One token's plan in the making.

    Attributes
    ----------
    signals, numbers, layout
        What may be due, and where.
    position
        Of the token.
    due, held
        The tables to be.
    """

    signals: Signals
    numbers: TokenNumbers
    layout: Layout
    position: int
    due: TableMaker
    held: TableMaker

    @property
    def latencies(self) -> Latencies:
        """Return the machine's."""
        return Latencies.of(self.layout.machine)

    def label(self, site: Site) -> None:
        """Let what comes belong to a site."""
        self.due.label = self.held.label = Label(*site.key)
