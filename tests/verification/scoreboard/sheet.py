"""Sheet on which the parts of a plan are written."""

from dataclasses import dataclass

from gptloom.firmware.latencies import Latencies
from gptloom.firmware.layout import Layout
from gptloom.model.sites import Site
from verification.scoreboard.cells import Label, TableMaker
from verification.scoreboard.signals import Signals
from verification.scoreboard.values import TokenNumbers


@dataclass(frozen=True)
class Sheet:
    """One token's plan under construction.

    Attributes
    ----------
    signals, numbers, layout
        Signals and numbers that may be due, and the memories' layout.
    row, last
        Row of the cache that the token gets, and the last one in use: its position, as long as
        rows are free.
    due, held
        Makers of the plan's tables.
    """

    signals: Signals
    numbers: TokenNumbers
    layout: Layout
    row: int
    last: int
    due: TableMaker
    held: TableMaker

    @property
    def latencies(self) -> Latencies:
        """Return the machine's latencies."""
        return Latencies.of(self.layout.machine)

    def label(self, site: Site) -> None:
        """Label the fields added next with a site."""
        self.due.label = self.held.label = Label(*site.key)
