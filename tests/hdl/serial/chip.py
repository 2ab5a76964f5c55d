"""A small chip that is accessed only through its serial pins, in any simulator."""

import numpy as np

from gptloom.boards.link import Link
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.firmware.page import TEMPERATURES
from gptloom.firmware.protocol import Item, State
from gptloom.model.config import ModelConfig
from gptloom.model.golden import GoldenModel
from gptloom.sim.serial_chip import DIVIDER, serial_top
from gptloom.sim.serial_port import SimulatedPort

CONFIG = ModelConfig(layers=1, width=8, heads=2, hidden=16, context=8, vocabulary=6)
LANES, SLOTS = 8, 2


class Chip:
    """A chip, its model and another one of the same dimensions.

    `open_engine` opens a simulation of a top.
    """

    def __init__(self, model, other, open_engine, slots=SLOTS):
        self.machine = Machine.for_models(LANES, model.config, slots=slots)
        self.model, self.other = model, other
        self.image, self.other_image = (build_image(m, self.machine) for m in (model, other))
        self.engine = open_engine(serial_top(self.image, self.machine))
        self.power_on()

    def power_on(self):
        self.engine.reset()
        self.port = SimulatedPort(self.engine, DIVIDER)
        self.link = Link(self.port)

    @property
    def crc(self):
        return self.image.checksum(self.machine)

    def lines(self, count):
        """Return the next lines of text."""
        self.link.lines.clear()
        for _ in range(200):
            if len(self.link.lines) > count:
                return list(self.link.lines)[:count]
            self.link._receive(1e-3)
        raise AssertionError("the chip sends no text")

    def golden(self, model=None, temperature=TEMPERATURES[0], seed=1, prompt=()):
        """Yield documents of the golden model endlessly, as token ids without the last."""
        document = []
        tokens = GoldenModel(model or self.model).generate(seed, temperature, list(prompt))
        for token in tokens:
            document.append(token.token)
            if token.last:
                yield [t for t in document if t != CONFIG.vocabulary - 1]
                document = []

    def attended(self, prompt, temperature, seed=1):
        """Yield the golden model's sampled tokens of a document, each with its attention.

        The attention is that of the token before: softmax numerators [layers, positions, heads].
        """
        traces, config = [], self.model.config

        def receive(token, position):
            traces.append({})
            return lambda layer, site, value: traces[-1].__setitem__((layer, site), value)

        for token in GoldenModel(self.model).generate(seed, temperature, list(prompt), receive):
            found = [traces[-1][layer, "numerator"] for layer in range(config.layers)]
            yield token, np.array(found).reshape(config.layers, -1, config.heads)
            if token.last:
                return

    def check_attended(self, spoken, prompt, temperature, seed=1):
        """Check that tokens and numerators from the line equal the golden model's."""
        expected = list(self.attended(prompt, temperature, seed))
        assert [s.token for s in spoken] == [token.token for token, _ in expected]
        for told, (_, numerators) in zip(spoken, expected, strict=True):
            np.testing.assert_array_equal(told.numerators, numerators)

    def names(self, model=None, count=400):
        """Return golden names as text, in the chip's order."""
        model = model or self.model
        documents = self.golden(model)
        return [model.tokenizer.decode(next(documents)) for _ in range(count)]

    def continuation(self, prompt):
        """Return the chip's continuation of a prompt, as token ids without the last."""
        spoken = list(self.link.prompt(prompt))
        assert [s.last for s in spoken] == [False] * (len(spoken) - 1) + [True]
        return [s.token for s in spoken if s.token != CONFIG.vocabulary - 1]

    def check_alive(self, model=None):
        """Check that the chip answers, holds a model intact, and generates golden names."""
        model = model or self.model
        image = self.image if model is self.model else self.other_image
        assert self.link.identify().weights == image.checksum(self.machine)
        assert self.link.get(Item.STATE) & (1 << State.STOPPED | 1 << State.PROMPT) == 0
        self.link.pause()
        self.link.temperature(model.logit_scale(1.5))
        self.link.seed(3)
        documents = self.golden(model, 1.5, 3, [1])
        expected = [next(documents) for _ in range(4)]
        assert [self.continuation([1]) for _ in range(4)] == expected
        assert any(expected)
        self.link.reset()
