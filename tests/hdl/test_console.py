"""The console alone: precedence of the temperature's sources."""

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
    """The host overrides any change by the button."""
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


def test_documents_longer_than_the_context_are_cut(bench, random_model):
    model = random_model(ModelConfig(context=8, positions="alibi", eviction="window"))
    bos = model.tokenizer.bos
    block = bench(Console(encode_page(model), bos, 8, endless=True))
    block.step(20)
    # At power-on the checksum is requested first.
    block.play([{"o__ready": 1, "checking": 1}] * 4 + [{"checking": 0}], [], after=2000)
    tokens = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, bos]
    inputs = [
        {"i__valid": 1, "i__payload": dict(token=token, position=place, last=token == bos)}
        for place, token in enumerate(tokens)
    ]
    played = block.play([*inputs, {"i__valid": 0}], ["o__valid", "o__payload"], after=400)
    sent = "".join(chr(cycle["o__payload"]) for cycle in played if cycle["o__valid"])
    assert "ABCDEFG" in sent
    assert "H" not in sent.split("G")[1]
