"""Fixtures of the tests of the command line."""

import pytest
from checkout import Checkout


@pytest.fixture
def checkout(tmp_path):
    """Make a checkout in which ./loom installs nothing real."""
    return Checkout(tmp_path)
