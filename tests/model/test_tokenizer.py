import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptloom.model.errors import UserError
from gptloom.model.positions import Positions
from gptloom.model.tokenizer import PADDING, TextStream, Tokenizer


class Bytes(Tokenizer):
    """The smallest tokenizer with parts of characters and two tokens that bound documents."""

    vocabulary, bos, end = 258, 256, 257

    def encode(self, text):
        return list(text.encode())

    def piece(self, token, previous):
        return bytes([token]) if token < self.bos else b""

    def to_dict(self):
        return {}


BYTES = Bytes()


@given(st.text())
def test_text_comes_as_soon_as_its_characters_are_whole(text):
    stream = TextStream(BYTES)
    came = [stream.add(token) for token in BYTES.encode(text)]
    assert "".join(came) == text
    assert [len(c) for c in came if c] == [1] * len(text)
    assert stream.add(BYTES.end) == ""


@given(st.lists(st.integers(0, 255)))
def test_bytes_that_are_no_text_become_replacement_characters(tokens):
    expected = bytes(tokens).decode(errors="replace")
    assert BYTES.decode(tokens) == expected
    stream = TextStream(BYTES)
    assert "".join(stream.add(token) for token in [*tokens, BYTES.end]) == expected


def test_a_document_does_not_complete_the_character_of_another():
    stream, (first, second) = TextStream(BYTES), "é".encode()
    assert [stream.add(token) for token in (first, BYTES.end, BYTES.bos, second)] == [
        *("", "\ufffd", ""),
        "\ufffd",
    ]


@pytest.mark.parametrize("boundary", [BYTES.bos, BYTES.end])
def test_decoding_stops_at_the_first_boundary(boundary):
    assert BYTES.decode([97, 98, boundary, 99]) == "ab"


@pytest.mark.parametrize("token", [-1, 258])
def test_decoding_refuses_ids_that_do_not_exist(token):
    with pytest.raises(UserError, match=f"{token} is not a token: use ids 0 to 257"):
        BYTES.decode([97, token])


def test_labels_are_on_one_line():
    labels = BYTES.labels()
    assert list(labels) == list(range(258))
    assert [labels[ord(c)] for c in "a \n'\\"] == ["a", " ", r"\n", "'", r"\\"]
    assert labels[0xC3] == r"\xc3"
    assert (labels[256], labels[257]) == ("<begin>", "<end>")


def test_rows_begin_and_end_with_their_own_tokens():
    assert BYTES.rows(["ab", "cdef"], 4).tolist() == [
        [256, 97, 98, 257, PADDING],
        [256, 99, 100, 101, 102],
    ]
    stream = BYTES.rows_of(Positions.ALIBI)(["ab", "c"], 3)
    assert stream.dtype == np.int16
    assert stream.tolist() == [[256, 97, 98, 257], [256, 99, 257, 256]]


def test_rows_of_a_text_follow_one_another():
    rows = BYTES.text_rows("abcdef", 2)
    assert rows.dtype == np.int16
    assert rows.tolist() == [[97, 98, 99], [99, 100, 101], [101, 102, PADDING]]


@pytest.mark.parametrize(
    "make",
    [BYTES.rows, BYTES.stream_rows, lambda texts, length: BYTES.text_rows(*texts, length)],
    ids=["rows", "stream_rows", "text_rows"],
)
def test_ids_that_no_row_holds_are_refused(make, monkeypatch):
    monkeypatch.setattr(Bytes, "vocabulary", 2**15)
    make(["abc"], 2)
    monkeypatch.setattr(Bytes, "vocabulary", 2**15 + 1)
    with pytest.raises(UserError, match=r"32,768 ids.*32,769"):
        make(["abc"], 2)
