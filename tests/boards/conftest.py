import pytest

from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.quantise import quantise


@pytest.fixture(scope="session")
def model():
    return quantise(load_checkpoint("names"))
