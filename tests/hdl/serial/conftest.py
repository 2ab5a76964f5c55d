"""A small chip that is accessed only through its serial pins."""

import pytest

from gptloom.sim.engines import open_engine

pytest.register_assert_rewrite("abuse", "chip")

from chip import CONFIG, Chip  # noqa: E402


@pytest.fixture(scope="session")
def small_chip(random_model):
    chip = Chip(random_model(CONFIG, 1), random_model(CONFIG, 2), open_engine)
    yield chip
    chip.engine.close()


@pytest.fixture
def chip(small_chip):
    small_chip.power_on()
    return small_chip
