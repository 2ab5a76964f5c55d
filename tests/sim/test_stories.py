"""stories260K on 64 lanes: twenty stories token by token, and two of them cycle by cycle."""

import numpy as np
import pytest

from gptloom.cli.main import main
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.preload import Preload
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.formats import FINE
from gptloom.model.llama_quantise import quantise_llama
from gptloom.sim.engines import open_engine
from gptloom.sim.generation import Generator, Request
from verification.scoreboard.bench import CheckedCore

pytestmark = [
    pytest.mark.shared, pytest.mark.nightly, pytest.mark.xdist_group("64 lanes, stories")
]  # fmt: skip


@pytest.fixture(scope="module")
def model(shared_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("stories") / "stories.safetensors"
    command = ["import", str(shared_data / "stories260K.bin"), "--out", str(out)]
    assert main([*command, "--tokenizer", str(shared_data / "tok512.bin")]) == 0
    return quantise_llama(load_checkpoint(out), FINE)


@pytest.fixture(scope="module")
def machine(model):
    return Machine.for_model(64, model)


def test_twenty_stories(model, machine, record_property):
    generator = Generator(model, machine, open_engine, build_image(model, machine))
    generation = generator.run(Request(20, 0.8, 3, most=4_000))
    by_position = generation.mean_by_position()
    mean = np.mean([by_position[position] for position in range(200)])
    text = f"stories260K, 64 lanes: {generation.tokens:,} tokens equal to the golden model's, "
    text += f"{mean:,.1f} cycles/token at positions 0 to 199"
    record_property("summary", text)
    assert generation.tokens == 4_000
    assert mean < 5_600


def test_two_stories_cycle_by_cycle(model, machine, waves):
    core = FoldedCore(machine, preload=Preload.of(build_image(model, machine), machine))
    bench = CheckedCore(machine, open_engine, waves.folder, core, keep=waves.keep)
    with bench.engine:
        bench.power_on(model)
        bench.session.temperature(model.logit_scale(0.8))
        assert len(bench.documents(2)) > 200
