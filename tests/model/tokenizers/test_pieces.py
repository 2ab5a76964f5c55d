import itertools
import json
import math
import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptloom.model.errors import UserError
from gptloom.model.tokenizer import TextStream
from gptloom.model.tokenizers.pieces import Pieces, read_pieces

SPECIAL = [b"<unk>", b"\n<s>\n", b"\n</s>\n"]
BYTES = [b"<0x%02X>" % byte for byte in range(256)]
LETTERS = "ab "
MARKS = "\n<0x4>"


def plain_encode(pieces, scores, text, prefix=True):
    """Return what the loops of llama2.c's encode give, written as they are described there."""

    in_order = sorted(range(len(pieces)), key=pieces.__getitem__)

    def look_up(piece):
        low, high = 0, len(in_order)
        while low < high:
            middle = (low + high) // 2
            token = in_order[middle]
            if pieces[token] == piece:
                return token
            low, high = (low, middle) if piece < pieces[token] else (middle + 1, high)
        return -1

    tokens = [look_up(b" ")] if prefix and text else []
    for character in text:
        token = look_up(character.encode())
        tokens += [token] if token >= 0 else [byte + 3 for byte in character.encode()]
    while True:
        best_score, best_token, best_place = -1e10, -1, -1
        for place in range(len(tokens) - 1):
            token = look_up(pieces[tokens[place]] + pieces[tokens[place + 1]])
            if token >= 0 and scores[token] > best_score:
                best_score, best_token, best_place = scores[token], token, place
        if best_place < 0:
            return tokens
        tokens[best_place : best_place + 2] = [best_token]


def random_vocabulary(random):
    """Return pieces that often make others together or repeat, with scores that are often equal."""
    letters = ["".join(random.choices(LETTERS, k=random.randint(2, 4))) for _ in range(40)]
    marks = ["".join(random.choices(MARKS, k=random.randint(1, 4))) for _ in range(10)]
    pieces = [*SPECIAL, *BYTES, *(word.encode() for word in (*LETTERS, *letters, *marks))]
    return pieces, random.choices([-1e10, -2e10, -3.0, -2.0, -1.0, 0.0, 1.5], k=len(pieces))


@given(st.integers(0))
def test_text_becomes_the_tokens_of_the_plain_loops(seed):
    random = Random(seed)
    vocabulary = random_vocabulary(random)
    tokenizer = Pieces(*vocabulary)
    for letters in (LETTERS, LETTERS, LETTERS + MARKS + "ü"):
        text = "".join(random.choices(letters, k=random.randint(0, 40)))
        assert tokenizer.encode(text) == plain_encode(*vocabulary, text)


@given(st.text())
def test_any_text_survives(text):
    tokenizer = sample()
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    stream = TextStream(tokenizer)
    assert "".join(stream.add(token) for token in [*tokens, tokenizer.end]) == text


def test_long_text_is_encoded_in_a_time_that_grows_with_its_length():
    """Fails by taking minutes where every merge looks at all of the text."""
    text = "ab aab " * 15_000
    tokenizer = sample()
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_tokens_are_numbered_as_the_program_does():
    tokenizer = sample()
    assert (tokenizer.vocabulary, tokenizer.bos, tokenizer.end) == (264, 1, 1)
    assert tokenizer.encode("") == []
    assert tokenizer.encode("a") == [262]  # " a"
    assert tokenizer.encode("ba") == [259, 261, 260]
    assert tokenizer.encode("aab") == [262, 263]
    assert tokenizer.encode("\né") == [259, 10 + 3, 0xC3 + 3, 0xA9 + 3]


def test_the_first_space_of_a_document_is_no_text():
    tokenizer = sample()
    assert [tokenizer.piece(262, previous) for previous in (1, 0, 262)] == [b"a", b" a", b" a"]
    assert tokenizer.piece(259, 1) == b""
    assert tokenizer.decode([262, 262]) == "a a"
    assert tokenizer.decode([262, 1, 262]) == "a"


@pytest.mark.parametrize(
    ("piece", "previous", "expected"),
    [
        (b"<0x41>", 0, b"A"),
        (b"<0xc3>", 0, b"\xc3"),
        (b"<0x4", 0, b"\x04"),
        (b" <0x41>", 1, b"A"),
        (b" <0x41>", 0, b" <0x41>"),
        (b"<0x>", 0, b"<0x>"),
    ],
)
def test_bytes_are_named_as_the_program_reads_them(piece, previous, expected):
    assert Pieces([*SPECIAL, piece], [0] * 4).piece(3, previous) == expected


def test_of_equal_pieces_the_one_that_halving_meets_first_is_taken():
    """Of seven in order, the fourth is a special one, and the middle behind it the second "a"."""
    assert Pieces([*SPECIAL, b" ", b"a", b"a", b"a"], [0] * 7).encode("a") == [3, 5]


def test_a_character_without_piece_and_bytes_is_refused():
    tokenizer = Pieces([*SPECIAL, b" ", b"a"], [0] * 5)
    assert tokenizer.encode("a a") == [3, 4, 3, 4]
    with pytest.raises(UserError, match="'é' is not in the vocabulary"):
        tokenizer.encode("aé")


def test_half_a_character_is_refused():
    with pytest.raises(UserError, match=r"'\\udcff' after 2 characters, which is no character"):
        sample().encode("ab\udcff")


@given(st.integers(0))
def test_json_keeps_a_vocabulary(seed):
    tokenizer = Pieces(*random_vocabulary(Random(seed)))
    again = Pieces.from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert again.to_dict() == tokenizer.to_dict()
    assert again.encode((LETTERS + MARKS) * 3) == tokenizer.encode((LETTERS + MARKS) * 3)


def test_json_keeps_pieces_that_are_no_text():
    pieces = [*SPECIAL, b"\xff\xc3", "é".encode()]
    again = Pieces.from_dict(json.loads(json.dumps(Pieces(pieces, [0.1] * 5).to_dict())))
    assert [again.piece(token, 0) for token in range(5)] == pieces


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tok.bin"
    path.write_bytes(content(*VOCABULARY))
    return path


def test_a_file_is_read(file):
    assert read_pieces(file, 264).to_dict() == sample().to_dict()


@pytest.mark.parametrize(
    ("vocabulary", "fault"),
    [(263, "10 bytes follow the last"), (265, "ends before token 264"), (0, "bytes follow")],
)
def test_another_vocabulary_is_refused(file, vocabulary, fault):
    with pytest.raises(
        UserError, match=rf"no llama2\.c tokenizer of {vocabulary} tokens .*{fault}"
    ):
        read_pieces(file, vocabulary)


def test_every_truncated_file_is_refused(file):
    whole = file.read_bytes()
    for length in itertools.chain(range(40), range(len(whole) - 40, len(whole))):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"tok\.bin is no llama2\.c tokenizer of 264 tokens"):
            read_pieces(file, 264)


@pytest.mark.parametrize(
    ("pieces", "scores", "longest", "fault"),
    [
        ([*SPECIAL, b"a"], [0, 0, 0, math.nan], 9, "the score of token 3 is nan"),
        ([*SPECIAL, b"a"], [0, 0, -math.inf, 0], 9, "the score of token 2 is -inf"),
        ([*SPECIAL, b""], [0] * 4, 9, "token 3 is said to have 0 bytes, and 0 are left"),
        ([*SPECIAL, b"a\0"], [0] * 4, 9, "of token 3 is empty or has a byte 0"),
        ([*SPECIAL, b"a"], [0] * 4, 5, "a piece has 6 bytes, and the file says 5 at most"),
        (SPECIAL[:2], [0] * 2, 9, "2 pieces"),
    ],
)
def test_what_the_program_could_not_use_is_refused(file, pieces, scores, longest, fault):
    file.write_bytes(content(pieces, scores, longest))
    with pytest.raises(UserError, match=fault):
        read_pieces(file, len(pieces))


@pytest.mark.parametrize("foreign", [b"", b"Once upon a time " * 50, b"PK\3\4" + bytes(200)])
def test_foreign_files_are_refused(file, foreign):
    file.write_bytes(foreign)
    with pytest.raises(UserError, match=r"no llama2\.c tokenizer"):
        read_pieces(file, 264)


def test_absent_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "absent.bin", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_pieces(path, 264)


@pytest.mark.shared
def test_100_kb_of_text_become_the_tokens_of_the_plain_loops(shared_data):
    tokenizer = read_pieces(shared_data / "tok512.bin", 512)
    stored = tokenizer.to_dict()
    pieces = [piece.encode("utf-8", "surrogateescape") for piece in stored["pieces"]]
    text = (shared_data / "tinyshakespeare.txt").read_text("utf-8")[:100_000]
    first, *others = text.splitlines(keepends=True)
    # No piece but those of the special tokens has a line end within, so lines can stand alone.
    assert not any(b"\n" in piece for piece in pieces[3:])
    expected = plain_encode(pieces, stored["scores"], first)
    for line in others:
        expected += plain_encode(pieces, stored["scores"], line, prefix=False)
    assert tokenizer.encode(text) == expected
    assert tokenizer.decode(expected) == text


@pytest.mark.shared
def test_texts_of_the_program_survive(shared_data):
    tokenizer = read_pieces(shared_data / "tok512.bin", 512)
    for known in json.loads((shared_data / "stories260K-greedy.json").read_text()):
        for text in known.values():
            tokens = tokenizer.encode(text)
            assert tokenizer.decode(tokens) == text
            assert len(tokens) < 257


VOCABULARY = (
    [*SPECIAL, *BYTES, b" ", b"a", b"b", b" a", b"ab"],
    [0.0] * 260 + [-1.0, -2.0, -3.0, -4.0],
)


def sample():
    return Pieces(*VOCABULARY)


def content(pieces, scores, longest=None):
    """Return a file as llama2.c's tokenizer.py writes it."""
    longest = max(map(len, pieces)) if longest is None else longest
    entries = (
        struct.pack("fI", score, len(piece)) + piece
        for score, piece in zip(scores, pieces, strict=True)
    )
    return struct.pack("I", longest) + b"".join(entries)
