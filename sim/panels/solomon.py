"""Common base of Solomon Systech's controllers: names of times, commands with parameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from gptloom.sim.panels.base import PanelError
from gptloom.sim.panels.serial import SerialModel

_ROLES = {
    "cycle": "tcycle",
    "low": "tCLKL",
    "high": "tCLKH",
    "data setup": "tDSW",
    "data hold": "tDHW",
    "dc setup": "tAS",
    "dc hold": "tAH",
    "cs setup": "tCSS",
    "cs hold": "tCSH",
    "reset": "RES# low",
}


class SolomonModel(SerialModel):
    """A panel whose commands are a byte and some parameters, all of them sent as commands.

    Parameters
    ----------
    period, minima, strict
        See :class:`.SerialModel`.

    Attributes
    ----------
    parameters
        Number of bytes that follow each known command.
    """

    parameters: Mapping[int, int]

    def __init__(self, period: float, minima: Mapping[str, float], *, strict: bool):
        super().__init__(period, minima, _ROLES, strict=strict)
        self._pending: list[int] = []

    def _reset(self, cycle: int) -> None:
        self._pending.clear()

    @abstractmethod
    def _obey(self, code: int, parameters: list[int]) -> None:
        """Execute a whole command."""

    def _command(self, byte: int, cycle: int) -> None:
        self._pending.append(byte)
        code, *parameters = self._pending
        if code not in self.parameters:
            self._pending.clear()
            self._complain(PanelError(f"{self.name}: there is no command {code:#04x}"))
        elif len(parameters) == self.parameters[code]:
            self._pending.clear()
            self._obey(code, parameters)
