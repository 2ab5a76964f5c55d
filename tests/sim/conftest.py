import pytest

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.quantise import quantise
from gptloom.sim.engines import open_engine
from gptloom.sim.generation import Generator


@pytest.fixture(scope="session")
def model():
    return quantise(load_checkpoint("names"))


@pytest.fixture(scope="session")
def generator(model):
    """Return a generator with sixteen lanes on the default engine; every run restarts it."""
    machine = Machine.for_models(16, model.config)
    return Generator(model, machine, open_engine, build_image(model, machine))
