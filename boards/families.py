"""All families of parts."""

from gptloom.boards.ecp5 import ECP5
from gptloom.boards.family import Family
from gptloom.boards.ice40 import ICE40

FAMILIES = {family.name: family for family in (ICE40, ECP5)}


def family_of(device: str) -> Family:
    """Return the family that a part belongs to."""
    return next(family for family in FAMILIES.values() if device in family.devices)
