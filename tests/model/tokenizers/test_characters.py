import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptloom.model.errors import UserError
from gptloom.model.tokenizer import PADDING
from gptloom.model.tokenizers.characters import Characters, characters_of
from gptloom.model.tokenizers.pieces import Pieces

NAMES = Characters("abcdefghijklmnopqrstuvwxyz")


def test_ids_are_the_sorted_characters_and_bos_is_last():
    tokenizer = Characters.from_documents(["cab", "x a"])
    assert tokenizer.characters == " abcx"
    assert tokenizer.encode("xb a") == [4, 2, 0, 1]
    assert tokenizer.bos == tokenizer.end == 5
    assert tokenizer.vocabulary == 6


@given(st.lists(st.text(min_size=1), min_size=1))
def test_decoding_undoes_encoding(documents):
    tokenizer = Characters.from_documents(documents)
    for document in documents:
        assert tokenizer.decode(tokenizer.encode(document)) == document


def test_decoding_stops_at_the_end_of_the_document():
    assert NAMES.decode([0, 1, NAMES.bos, 2]) == "ab"


def test_labels_are_the_characters():
    assert Characters("\n'\\aé").labels() == dict(enumerate([r"\n", "'", r"\\", "a", "é", "<end>"]))


@pytest.mark.parametrize("token", [-1, 27])
def test_decoding_refuses_ids_that_do_not_exist(token):
    with pytest.raises(UserError, match=str(token)):
        NAMES.decode([0, token])


def test_unknown_character_is_named_with_the_vocabulary():
    with pytest.raises(UserError, match=r"'é'.*abcdefghijklmnopqrstuvwxyz"):
        NAMES.encode("renée")


@pytest.mark.parametrize("characters", ["", "ba", "aab"])
def test_characters_must_be_distinct_and_sorted(characters):
    with pytest.raises(UserError):
        Characters(characters)


def test_rows_frame_pad_and_cut():
    rows = NAMES.rows(["ab", "abcd", "abcdefg", ""], context=5)
    assert rows.dtype == np.int16
    assert rows.tolist() == [
        [26, 0, 1, 26, PADDING, PADDING],
        [26, 0, 1, 2, 3, 26],
        [26, 0, 1, 2, 3, 4],
        [26, 26, PADDING, PADDING, PADDING, PADDING],
    ]


def test_stream_rows_begin_with_documents_and_run_on():
    documents = ["ab", "cde", "f", "ghijk", "l"]
    stream = "-ab-cde-f-ghijk-l-"
    rows = NAMES.stream_rows(documents, length=6)
    assert rows.dtype == np.int16
    text = ["".join("abcdefghijklmnopqrstuvwxyz-"[token] for token in row) for row in rows]
    # A row begins after the document that the row before has cut off.
    assert text == ["-ab-cde", "-f-ghij"]
    assert all(part in stream for part in text)


def test_too_few_documents_for_a_row_are_refused():
    with pytest.raises(UserError, match="2 documents have less than 64"):
        NAMES.stream_rows(["ab", "c"], 64)


def test_only_characters_are_shown_one_by_one():
    assert characters_of(NAMES) == NAMES.characters
    with pytest.raises(UserError, match="this model's tokens are pieces of text"):
        characters_of(Pieces([b"<unk>", b"<s>", b"</s>", b"a"], [0] * 4))
