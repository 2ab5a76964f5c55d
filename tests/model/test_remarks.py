import pytest

from gptloom.model.config import ModelConfig
from gptloom.model.corpus import Corpus, heldout_documents
from gptloom.model.long_text import LongText
from gptloom.model.remarks import cut, odd, remarks


def corpus(*documents, remarks=()):
    return Corpus("some", "", documents, "", documents, remarks)


COMMON = ("abc", "bca", "cab", "acb", "bac")


@pytest.mark.parametrize(("length", "longer"), [(14, 0), (15, 0), (16, 1), (40, 1)])
def test_documents_longer_than_the_context_are_counted(length, longer):
    # A context of 16 predicts 15 characters and the end.
    remark = cut(corpus("b" * 3, "a" * length), ModelConfig())
    assert bool(remark) == bool(longer)
    if longer:
        assert remark.startswith("1 of 2 documents")
        assert "a" * min(length, 30) in remark


def test_the_context_that_is_advised_holds_all():
    documents = corpus("a" * 16, "b" * 21, "c" * 5)
    remark = cut(documents, ModelConfig())
    assert "--context 24" in remark
    assert "2 of 3" in remark
    assert not cut(documents, ModelConfig(context=24))


def test_documents_in_a_row_are_not_cut():
    assert not cut(corpus("a" * 100), ModelConfig(positions="alibi"))


def test_a_long_text_is_not_cut_and_its_characters_are_counted_by_passage():
    text = LongText("some", "", "\n\n".join([*COMMON, "a" * 100, "x"]), ("lines have NUL.",))
    assert not cut(text, ModelConfig())
    assert "'x' in 1 of 7 documents" in odd(text)
    assert [remark.split()[0] for remark in remarks(text, ModelConfig())] == ["lines", "1"]


def test_odd_characters_are_named_with_what_makes_them_fewer():
    remark = odd(corpus(*COMMON, "Äbc", *(f"é{name}" for name in COMMON)))
    assert remark.startswith("2 of the 5 characters are odd")
    assert "'Ä' in 1, 'é' in 5 of 11 documents" in remark
    # The characters a, b, c, Ä and é: 5 in lower case; in ASCII without --lower a, b, c, A, e.
    assert "--ascii --lower leaves 4" in remark
    assert "--lower leaves" not in remark.replace("--ascii --lower", "")


def test_many_odd_characters_are_counted():
    remark = odd(corpus(*COMMON, "0123456789"))
    assert remark.startswith("10 of the 13 characters")
    assert "and 2 more" in remark


def test_nothing_is_said_of_the_shipped_names():
    names = heldout_documents()
    shipped = Corpus("names", "", names, "", names)
    assert remarks(shipped, ModelConfig()) == []


def test_all_is_said_that_there_is_to_say():
    said = remarks(corpus(*COMMON, "x" * 20, remarks=("lines have NUL.",)), ModelConfig())
    assert [remark.split()[0] for remark in said] == ["lines", "1", "1"]
