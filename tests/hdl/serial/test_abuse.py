"""Whatever is done to the line or the chip, within the fast engine."""

import pytest
from abuse import ABUSES, LONG_ABUSES

# One of the processes builds it, while the others go on without.
pytestmark = pytest.mark.xdist_group("small chip")


@pytest.mark.parametrize("abuse", ABUSES)
def test_abuse(chip, abuse):
    ABUSES[abuse](chip)


@pytest.mark.long
@pytest.mark.parametrize("abuse", LONG_ABUSES)
def test_long_abuse(chip, abuse):
    LONG_ABUSES[abuse](chip)
