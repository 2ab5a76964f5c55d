"""Abuse of the line and the chip, in the fast engine."""

import pytest
from abuse import ABUSES, LONG_ABUSES

from gptloom.firmware.protocol import Command

# One test process builds it while the others run other tests.
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("small chip")]

# Some of the similar cases are enough by day: the commands differ in nothing that the moments could
# disturb.
NIGHTLY = {f"{command.name} at any moment" for command in Command} | {"uploads at any moment"}
NIGHTLY |= {f"garbage of {cycles} cycles a bit" for cycles in (5, 6, 12, 16, 69)}


def marked(abuse):
    return pytest.param(abuse, marks=[pytest.mark.nightly] * (abuse in NIGHTLY))


@pytest.mark.parametrize("abuse", [marked(abuse) for abuse in ABUSES])
def test_abuse(chip, abuse):
    ABUSES[abuse](chip)


@pytest.mark.nightly
@pytest.mark.parametrize("abuse", LONG_ABUSES)
def test_long_abuse(chip, abuse):
    LONG_ABUSES[abuse](chip)
