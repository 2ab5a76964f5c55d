"""The chip of the page that writes text, without a page: its events are the golden model's."""

from itertools import islice

import pytest

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.firmware.page import encode_scale
from gptloom.hdl.core import Prompt
from gptloom.model.config import ModelConfig
from gptloom.model.formats import FINE
from gptloom.model.golden import GoldenModel
from gptloom.model.llama_quantise import quantise_llama
from gptloom.sim.engines import open_engine
from gptloom.sim.session import encode
from gptloom.sim.web.text_chip import TOLD, TextChip
from verification.llama import make_checkpoint

CONFIG = ModelConfig(1, 8, 2, 12, 8, 5, family="llama", positions="rotary", kv_heads=1)


@pytest.mark.long
def test_a_text_is_the_golden_models():
    model = quantise_llama(make_checkpoint(CONFIG), FINE)
    machine = Machine.for_model(32, model)
    known = [1, 3]
    with open_engine(TextChip(build_image(model, machine), machine)) as engine:
        engine.poke("temperature", encode_scale(model.logit_scale(1.5)))
        assert engine.send("seed", [7], 1000)
        tokens = [model.tokenizer.bos, *known]
        prompt = [encode(Prompt, token=t, last=i == 2) for i, t in enumerate(tokens)]
        assert engine.send("i", prompt, 100_000)
        for expected in islice(GoldenModel(model).generate(7, 1.5, known), 6):
            assert engine.run(100_000, "event") < 100_000
            told = TOLD.from_bits(engine.peek("told"))
            assert (told.sampled, told.token, told.last) == (1, expected.token, expected.last)
            if expected.last:
                break
            engine.step()
