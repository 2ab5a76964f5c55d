"""Whatever is done to the line or the chip, within the fast engine."""

import pytest
from abuse import ABUSES, LONG_ABUSES

from gptloom.firmware.protocol import Command

# One of the processes builds it, while the others go on without.
pytestmark = pytest.mark.xdist_group("small chip")

OFTEN = (Command.PROMPT, Command.COMMIT)

# Of what is alike, some is enough for every day.
SELDOM = {f"{command.name} at any moment" for command in Command if command not in OFTEN}
SELDOM |= {f"garbage of {cycles} cycles a bit" for cycles in (5, 6, 12, 16, 69)}


@pytest.mark.parametrize(
    "abuse", [pytest.param(a, marks=[pytest.mark.long] if a in SELDOM else []) for a in ABUSES]
)
def test_abuse(chip, abuse):
    ABUSES[abuse](chip)


@pytest.mark.nightly
@pytest.mark.parametrize("abuse", LONG_ABUSES)
def test_long_abuse(chip, abuse):
    LONG_ABUSES[abuse](chip)
