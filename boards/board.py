"""Entries of the board table; the pins themselves are amaranth-boards' platforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from gptloom.boards.families import family_of
from gptloom.boards.family import Family, Pll
from gptloom.boards.loaders import Loader
from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from amaranth.build import Platform

MISSING = "building for boards needs the extra boards: run `pip install 'gptloom[boards]'`"


@dataclass(frozen=True)
class Pin:
    """One pin of a platform's resource, e.g. the green light of ``rgb_led`` 0.

    Attributes
    ----------
    resource, number
        Name and number in amaranth-boards.
    part
        Subsignal, where the resource has several.
    """

    resource: str
    number: int = 0
    part: str | None = None

    def port(self, platform: Platform):
        """Request the resource and return the pin's port."""
        resource = platform.request(self.resource, self.number, dir="-")
        return resource if self.part is None else getattr(resource, self.part)


@dataclass(frozen=True)
class Header:
    """Connector that a display is plugged into.

    It becomes the platform's resource ``display``, with the parts that its driver has.

    Attributes
    ----------
    connector, number
        Name and number in amaranth-boards.
    rs, e, d
        The connector's pins for a character display (HD44780, four data lines, write only):
        register select, enable, and data bits 4 to 7. Serial ones take `sck` and `mosi` for the
        first two and `dc`, `cs` and `res` for data bits 4 to 6.
    """

    connector: str
    number: int
    rs: str
    e: str
    d: str

    def parts(self, pins: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Return a driver's ports and the connector's pins for them."""
        if "d" in pins:
            return (("rs", self.rs), ("e", self.e), ("d", self.d))
        return tuple(zip(pins, (self.rs, self.e, *self.d.split()), strict=False))


@dataclass(frozen=True)
class Wires:
    """A resource that amaranth-boards lacks.

    Attributes
    ----------
    name
        Name of the resource, whose number is 0.
    outputs, inputs
        Parts and their pins; ``!`` before the pin inverts. The part name ``-`` makes the pin itself
        the resource.
    connector
        Connector (name and number) that the pins belong to; without it they are ball or pad names.
    """

    name: str
    outputs: tuple[tuple[str, str], ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    connector: tuple[str, int] | None = None


@dataclass(frozen=True)
class Board:
    """One board.

    Attributes
    ----------
    name
        Name that ``--board`` takes.
    title
        Name that it is sold under.
    platform
        Class in amaranth-boards, ``module:class``.
    oscillator
        Resource of the clock input.
    loader
        Loader that puts bitstreams on it.
    uart
        Resource with parts ``tx`` and ``rx``.
    button
        The button that changes the temperature.
    leds
        Lights for running and error, in this order; as many as there are.
    display
        Connector for a display.
    shows
        Display of a build that asks for no other, see :data:`.DISPLAYS`; ``none`` where there is no
        room for one.
    extra
        Resources that amaranth-boards lacks.
    quiet
        Outputs that have to be inactive, such as the select of a memory on shared pins.
    target_mhz
        Clock frequency that the PLL should come near to.
    on_pad
        iCE40: the oscillator is on the PLL's own pad.
    tier
        1: measured builds are recorded; 2: builds.
    note
        Anything to know before using it.
    """

    name: str
    title: str
    platform: str
    oscillator: str
    loader: Loader
    uart: str
    button: Pin | None
    leds: tuple[Pin, ...]
    display: Header
    extra: tuple[Wires, ...] = ()
    quiet: tuple[Pin, ...] = ()
    target_mhz: float = 80.0
    on_pad: bool = False
    shows: str = "hd44780"
    tier: int = 1
    note: str = ""

    def make_platform(self, display: Sequence[str] = ("rs", "e", "d")) -> Platform:
        """Return a new platform with all the resources that the entry names.

        Parameters
        ----------
        display
            Ports of the display's driver; none without a display.

        Raises
        ------
        UserError
            If amaranth-boards is not installed.
        """
        platform = self._platform_class()()
        family = self.family
        resources = [family.resource(wires) for wires in self.extra]
        header = self.display
        if display:
            place = header.connector, header.number
            plugged = Wires("display", outputs=header.parts(display), connector=place)
            resources.append(family.resource(plugged))
        platform.add_resources(resources)
        return platform

    def _platform_class(self) -> type[Platform]:
        try:
            return resolve_name(f"amaranth_boards.{self.platform}")
        except ModuleNotFoundError as error:
            raise UserError(MISSING) from error

    @property
    def device(self) -> str:
        """Part number, without package and speed."""
        return self._platform_class().device

    @property
    def part(self) -> str:
        """Part number with speed grade, where the family has them, and package."""
        platform = self._platform_class()
        speed = f"-{platform.speed}" if hasattr(platform, "speed") else ""
        return f"{platform.device}{speed}-{platform.package}"

    @property
    def family(self) -> Family:
        """Tools and cells of its part."""
        return family_of(self.device)

    @property
    def framed(self) -> bool:
        """Whether the serial line takes commands and uploads."""
        return self.family.framed

    @property
    def capacity(self) -> dict[str, int]:
        """Number of each resource that the part has, by the names that reports use."""
        family, device = self.family, self.device
        logic = family.logic_of[device]
        return {
            "lut": logic,
            "ff": logic,
            "dsp": family.multipliers_of[device],
            "bram": family.memories_of[device],
        }

    def pll(self, mhz: float | None = None) -> Pll:
        """Return the setting nearest to a frequency, by default the entry's own.

        Raises
        ------
        UserError
            If the PLL cannot come near.
        """
        reference = self.make_platform().lookup(self.oscillator).clock.frequency
        return self.family.solve(reference, (mhz or self.target_mhz) * 1e6)
