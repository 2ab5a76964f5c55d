"""A whole core of the Llama family against the golden model, loaded and read back."""

import random
from dataclasses import replace
from itertools import islice

import pytest

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.firmware.regions import CHECKED
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.preload import Preload
from gptloom.model.config import ModelConfig
from gptloom.model.formats import PROFILES
from gptloom.model.golden import GoldenModel
from gptloom.model.llama_quantise import quantise_llama
from gptloom.model.tokenizers.characters import Characters
from gptloom.sim.engines import open_engine
from gptloom.sim.session import CoreSession
from verification.llama import make_checkpoint

CONFIGS = [
    ModelConfig(
        layers=2, width=20, heads=4, kv_heads=2, head_dim=6, hidden=28, context=12, vocabulary=33,
        tied=tied, theta=theta, eviction="window", family="llama", positions="rotary",
    )
    for tied, theta in ((True, 10_000.0), (False, 50.0))
]  # fmt: skip

pytestmark = pytest.mark.xdist_group("gated core")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("J1", marks=pytest.mark.long),
        pytest.param("J2", marks=pytest.mark.nightly),
    ],
)
def models(request):
    """Return models that share hardware."""
    precision = PROFILES[request.param]
    return [
        quantise_llama(make_checkpoint(config, i), precision) for i, config in enumerate(CONFIGS)
    ]


@pytest.fixture(scope="module")
def hardware(models):
    machine = Machine.for_models(64, *CONFIGS, precision=models[0].precision)
    core = FoldedCore(machine)
    return core, open_engine(core)


def ask(session, model, prompt, count, temperature=0.9, seed=3):
    """Return tokens of the hardware, and those of the golden model."""
    session.temperature(model.logit_scale(temperature))
    session.seed(seed)
    tokens = [(t.token, t.last) for t in islice(session.tokens(prompt), count)]
    golden = islice(GoldenModel(model).generate(seed, temperature, prompt), count)
    return tokens, [(t.token, t.last) for t in golden]


def test_models_that_are_loaded_one_after_the_other(hardware, models):
    core, engine = hardware
    for model in (*models, models[0]):
        engine.reset()
        session = CoreSession(core, engine, model.tokenizer.bos)
        session.load(build_image(model, core.machine))
        # Longer than the ring, and than the prompt.
        seen, expected = ask(session, model, [3, 1, 4, 1, 5], 40)
        assert seen == expected


class EndsEarly(Characters):
    """Characters behind the token that begins and ends documents."""

    bos = end = 1


def test_noise_is_drawn_for_every_token_wherever_the_end_token_is(hardware, models):
    core, engine = hardware
    model = replace(models[0], tokenizer=EndsEarly(models[0].tokenizer.characters))
    engine.reset()
    session = CoreSession(core, engine, model.tokenizer.bos)
    session.load(build_image(model, core.machine))
    seen, expected = ask(session, model, [], 60)
    assert seen == expected


def test_every_byte_is_read_back(hardware, models):
    core, engine = hardware
    engine.reset()
    session = CoreSession(core, engine, models[0].tokenizer.bos)
    image, places = build_image(models[0], core.machine), random.Random(5)
    session.load(image)
    read = 0
    for region, contents in image.contents(core.machine).items():
        if region in CHECKED:
            for address in places.sample(range(len(contents)), min(64, len(contents))):
                assert session.read(region, address) == contents[address], (region, address)
                read += 1
    assert read > 150


def test_memories_that_are_full_from_power_on(models):
    model = models[1]
    machine = Machine.for_model(32, model)
    core = FoldedCore(machine, preload=Preload.of(build_image(model, machine), machine))
    with open_engine(core) as engine:
        session = CoreSession(core, engine, model.tokenizer.bos)
        seen, expected = ask(session, model, [], 20)
    assert seen == expected
