"""The page: text and temperatures of a model."""

from dataclasses import replace
from itertools import pairwise

import pytest

from gptloom.firmware.image import CHECKED, Region, build_image
from gptloom.firmware.machine import LANES, Machine
from gptloom.firmware.page import (
    PAGE_BYTES,
    SCALE_BYTES,
    SCALES,
    TEMPERATURES,
    TEXT_BYTES,
    TEXT_MEMORY,
    TEXTS_AT,
    encode_page,
    encode_scale,
    make_page,
    make_text_page,
)
from gptloom.firmware.regions import COMMON
from gptloom.hdl.folded.layouts import Temperature
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.tokenizers.characters import Characters
from gptloom.model.tokenizers.pieces import Pieces

CONFIG = ModelConfig.MICROGPT


def test_characters_stand_at_their_tokens(random_model):
    model = random_model(CONFIG)
    page = encode_page(model)
    assert len(page) == PAGE_BYTES
    for token, character in enumerate(model.tokenizer.characters):
        assert chr(page[token]) == character
    assert not any(page[len(model.tokenizer.characters) : SCALES])
    assert page[:TEXTS_AT].rstrip(b"\0").endswith(b"weights 0123456789ABCDEF tokens/s\r\n")
    texts = [page[at : at + TEXT_BYTES] for at in range(TEXTS_AT, PAGE_BYTES, TEXT_BYTES)]
    assert texts == [f"temperature {t:.1f}\0".encode() for t in TEMPERATURES]


def test_characters_that_are_not_ascii_are_question_marks(random_model):
    characters = "bcdefghijklmnopqrstuvwxyzé"
    page = encode_page(replace(random_model(CONFIG), tokenizer=Characters(characters)))
    assert page[: CONFIG.vocabulary - 1] == b"bcdefghijklmnopqrstuvwxyz?"


PIECES = [b"<unk>", b"<s>", b" a", b"b\nc", b"\x01", b"\xc3", b"~"]
SHOWN = [b"<unk>", b"\r\n", b" a", b"b\r\nc", b"?", b"\xc3", b"~"]


def test_a_page_of_text_has_every_token(random_model):
    config = replace(CONFIG, vocabulary=len(PIECES))
    model = replace(random_model(config), tokenizer=Pieces(PIECES, [0.0] * len(PIECES)))
    page = encode_page(model)
    names = encode_page(random_model(CONFIG))
    assert (
        page[SCALES + SCALE_BYTES * len(TEMPERATURES) : PAGE_BYTES]
        == (names[SCALES + SCALE_BYTES * len(TEMPERATURES) : PAGE_BYTES])
    )
    text = page[PAGE_BYTES:]
    assert len(text) == TEXT_MEMORY
    places = [int.from_bytes(text[2 * i : 2 * i + 2], "little") for i in range(len(PIECES) + 1)]
    assert [text[begin:end] for begin, end in pairwise(places)] == SHOWN
    assert not any(text[places[-1] :])
    assert build_image(model, Machine.for_models(8, config)).regions[Region.PAGE] == page


def test_more_characters_than_a_page_has_are_refused():
    make_page("x" * (SCALES - 1), [])
    for number in (SCALES, 100, 1000):
        with pytest.raises(UserError, match=f"apart, and this model has {number + 1} tokens"):
            make_page("x" * number, [])


def test_text_beyond_the_reach_of_the_index_is_refused(random_model):
    pieces = [*PIECES, b"x" * 70_000]
    with pytest.raises(UserError, match="the text of all tokens takes 70,034 bytes on a chip"):
        make_text_page(Pieces(pieces, [0.0] * len(pieces)), [])


@pytest.mark.parametrize("temperature", [*TEMPERATURES, 0, 0.1, 2.0])
def test_scales_are_what_the_core_takes(random_model, temperature):
    scale = random_model(CONFIG).logit_scale(temperature)
    fields = {"mantissa": scale.mantissa, "shift": scale.shift - 1, "greedy": scale.greedy}
    assert encode_scale(scale) == Temperature.const(fields).as_bits()
    assert encode_scale(scale) < 1 << 8 * SCALE_BYTES


def test_temperatures_stand_behind_the_characters(random_model):
    model = random_model(CONFIG)
    page = encode_page(model)
    for i, temperature in enumerate(TEMPERATURES):
        at = SCALES + SCALE_BYTES * i
        word = int.from_bytes(page[at : at + SCALE_BYTES], "little")
        assert word == encode_scale(model.logit_scale(temperature))


@pytest.mark.parametrize("lanes", LANES)
def test_the_checksum_covers_every_bit_of_what_is_computed_with(random_model, lanes):
    machine = Machine.for_models(lanes, CONFIG)
    image = build_image(random_model(CONFIG), machine)
    checksum = image.checksum(machine)
    for region in set(CHECKED) & set(COMMON):
        changed = bytearray(image.regions[region])
        changed[4] ^= 1
        other = replace(image, regions=image.regions | {region: bytes(changed)})
        assert other.checksum(machine) != checksum
    # The checksum covers neither text nor settings.
    page = bytes(len(image.regions[Region.PAGE]))
    assert replace(image, regions=image.regions | {Region.PAGE: page}).checksum(machine) == checksum
