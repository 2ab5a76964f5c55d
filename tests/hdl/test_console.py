"""The console alone: who decides on the temperature."""

import pytest

from gptloom.firmware.page import TEMPERATURES, encode_page, encode_scale
from gptloom.hdl.console import Console
from gptloom.hdl.folded.layouts import Temperature
from gptloom.model.config import ModelConfig

BY_HOST = {"mantissa": 333, "shift": 7, "greedy": 0}


@pytest.fixture
def console(bench, random_model):
    model = random_model(ModelConfig.MICROGPT)
    block = bench(Console(encode_page(model), model.tokenizer.bos, model.config.context))
    block.step(20)
    return block


def scale(block):
    return Temperature.const(block.get("temperature")).as_bits()


@pytest.mark.parametrize("later", range(8))
def test_the_host_has_the_last_word(console, later):
    """Whatever the button has set going before."""
    host = dict(set=1, scale=BY_HOST)
    inputs = [{"turn": 1}] + [{"turn": 0}] * 8
    inputs[later] = inputs[later] | host
    inputs[later + 1] = inputs[later + 1] | {"set": 0}
    console.play(inputs, [], after=20)
    assert scale(console) == Temperature.const(BY_HOST).as_bits()
    assert console.get("number") == len(TEMPERATURES)


@pytest.mark.parametrize("later", range(8))
def test_a_restart_takes_the_first_temperature(console, random_model, later):
    inputs = [{"turn": 1}] + [{"turn": 0}] * 8
    inputs[later] = inputs[later] | {"restart": 1}
    inputs[later + 1] = inputs[later + 1] | {"restart": 0}
    console.play(inputs, [], after=40)
    model = random_model(ModelConfig.MICROGPT)
    assert scale(console) == encode_scale(model.logit_scale(TEMPERATURES[0]))
    assert console.get("number") == 0
