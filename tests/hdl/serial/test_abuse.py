"""Abuse of the line and the chip, in the fast engine."""

import pytest
from abuse import ABUSES, LONG_ABUSES

from gptloom.firmware.protocol import Command

# One test process builds it while the others run other tests.
pytestmark = pytest.mark.xdist_group("small chip")

# Some of the similar cases are enough for everyday tests.
SELDOM = {f"{command.name} at any moment" for command in Command}
SELDOM |= {f"garbage of {cycles} cycles a bit" for cycles in (5, 6, 12, 16, 69)}
SELDOM |= {"resets during commits", "uploads that are cut", "resets in any cycle"}
SELDOM |= {"uploads at any moment", "two prompts at once", "attention over a bad line"}
SELDOM |= {f"uploads over a bad line, {seed}" for seed in (1, 2, 3)}
# The commands differ in nothing that the moments could disturb.
NIGHTLY = {abuse for abuse in SELDOM if "moment" in abuse or "garbage" in abuse}


def marked(abuse):
    if abuse not in SELDOM:
        return abuse
    mark = pytest.mark.nightly if abuse in NIGHTLY else pytest.mark.long
    return pytest.param(abuse, marks=mark)


@pytest.mark.parametrize("abuse", [marked(abuse) for abuse in ABUSES])
def test_abuse(chip, abuse):
    ABUSES[abuse](chip)


@pytest.mark.nightly
@pytest.mark.parametrize("abuse", LONG_ABUSES)
def test_long_abuse(chip, abuse):
    LONG_ABUSES[abuse](chip)
