"""Every row gets its own exponent, in the order of the program."""

import numpy as np
import pytest

from gptloom.firmware import isa
from gptloom.firmware.machine import EXPONENT_ROW_BITS, Machine
from gptloom.hdl.folded.exponents import Exponents
from gptloom.model.config import ModelConfig
from gptloom.model.formats import FINE

CONFIG = ModelConfig(heads=2, hidden=20, vocabulary=11, family="llama", positions="rotary")
MACHINE = Machine.for_models(32, CONFIG, precision=FINE)
WRITERS = MACHINE.writers


def packed(exponents):
    """Return words of four exponents, the first one lowest."""
    padded = [*exponents, *[0] * (-len(exponents) % WRITERS)]
    return [
        sum(e << EXPONENT_ROW_BITS * i for i, e in enumerate(padded[at : at + WRITERS]))
        for at in range(0, len(padded), WRITERS)
    ]


@pytest.fixture
def case(bench):
    draw = np.random.default_rng(5)
    rows = draw.integers(0, 16, MACHINE.exponent_words * WRITERS).tolist()
    tokens = draw.integers(0, 16, CONFIG.vocabulary).tolist()
    return bench(Exponents(MACHINE, packed(rows), packed(tokens))), rows, tokens


def test_rows_follow_each_other_and_start_again_with_every_token(case):
    block, rows, _ = case
    draw = np.random.default_rng(6)
    for beats in (5, MACHINE.exponent_words, 3):
        block.set(start=1)
        block.step()
        block.set(start=0)
        at = 0
        while at < beats:
            kind = draw.choice([isa.Exponents.ROWS, isa.Exponents.ROWS, isa.Exponents.NONE])
            valid = bool(draw.random() < 0.7)
            block.set(i__valid=valid, i__instruction={"exponents": int(kind)})
            if kind == isa.Exponents.ROWS:
                assert block.get("o") == rows[at * WRITERS :][:WRITERS]
                at += valid
            else:
                assert block.get("o") == [0] * WRITERS
            block.step()
        block.set(i__valid=0)
        block.step()


def test_a_tokens_row_of_the_embedding_has_its_own(case):
    block, _, tokens = case
    block.set(i__instruction={"exponents": int(isa.Exponents.TOKEN)})
    for token, exponent in enumerate(tokens):
        block.set(token=token)
        block.step()
        assert block.get("o") == [exponent] * WRITERS
