"""Tokens spelled as text, at any pace."""

import random

import pytest

from gptloom.firmware.page import INDEX_AT, make_text_page
from gptloom.hdl.speller import Speller
from gptloom.model.tokenizers.pieces import Pieces
from verification.llama import PIECES

TOKENIZER = Pieces(PIECES, [0.0] * len(PIECES))
BOS = TOKENIZER.bos
PAGE = make_text_page(TOKENIZER, [0] * 4)


def expected(documents):
    """Return the bytes of documents, each with its line's end."""
    text = b""
    for document in documents:
        pieces = b"".join(PIECES[token] for token in document if token != BOS)
        text += pieces.removeprefix(b" ") + b"\r\n"
    return text


def draw_documents(source):
    others = [token for token in range(len(PIECES)) if token != BOS]
    documents = [source.choices(others, k=source.randrange(6)) for _ in range(12)]
    # Some end with the token for it, the others because the context is full.
    return [d if d and source.random() < 0.3 else [*d, BOS] for d in documents]


@pytest.mark.parametrize("number", range(4))
def test_every_document_is_written_in_full(bench, seed, number):
    source = random.Random(seed + number)
    documents = draw_documents(source)
    block = bench(Speller(PAGE[INDEX_AT:], BOS))
    waiting = [
        dict(token=token, position=0, last=place == len(document) - 1)
        for document in documents
        for place, token in enumerate(document)
    ]
    often = source.choice((0.1, 0.5, 1))
    received, held, idle = bytearray(), None, 0
    while idle < 400:
        inputs = {name: int(source.random() < often) for name in ("pace", "o__ready")}
        inputs["i__valid"] = int(bool(waiting))
        if waiting:
            inputs["i__payload"] = waiting[0]
        seen = block.play([inputs], ["i__ready", "o__valid", "o__payload", "writing"])[0]
        idle = 0 if waiting else idle + 1
        if waiting and seen["i__ready"]:
            assert inputs["pace"]
            waiting.pop(0)
        # A byte stays until it is taken.
        assert held is None or (seen["o__valid"] and seen["o__payload"] == held)
        held = None
        if seen["o__valid"]:
            held = seen["o__payload"]
            assert seen["writing"]
            if inputs["o__ready"]:
                received.append(held)
                held = None
    assert bytes(received) == expected(documents)
    assert not seen["writing"]
