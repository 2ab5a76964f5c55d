import json
import sys

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from gptloom.model.errors import MissingPackageError, UserError
from gptloom.model.tokenizer import TextStream
from gptloom.model.tokenizers.library import Library, read_library

TEXTS = ["the cat sat on the mat, the bat too", "où est le château?", "世界 🙂"]


def byte_level():
    """Make a tokenizer as GPT-2 and Llama 3 have it."""
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=290,
        initial_alphabet=alphabet,
        special_tokens=["<unk>", "<s>", "</s>"],
        show_progress=False,
    )
    made.train_from_iterator(TEXTS * 3, trainer)
    return made


def byte_fallback():
    """Make a tokenizer as Llama 2 has it."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    names += ["▁", *"abcdefgt", "▁t", "▁a", "at", "▁at"]
    merges = [("▁", "t"), ("▁", "a"), ("a", "t"), ("▁", "at")]
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            {name: i for i, name in enumerate(names)},
            merges,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    normalizers, decoders = tokenizers.normalizers, tokenizers.decoders
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    return made


def words():
    """Make a tokenizer that does not know all characters."""
    names = {"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "cat": 4}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(names, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return made


MAKERS = [byte_level, byte_fallback]


@pytest.fixture(scope="module", params=MAKERS)
def pair(request):
    made = request.param()
    return made, Library(made.to_str(), 1, 2)


@given(text=st.text() | st.text("at bé<s>/🙂"))
def test_texts_survive_and_come_as_they_are_decoded(pair, text):
    made, tokenizer = pair
    tokens = tokenizer.encode(text)
    assert not {0, 1, 2} & {*tokens}
    made.encode_special_tokens = True
    assert tokens == made.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(tokens) == text == made.decode(tokens)
    stream = TextStream(tokenizer)
    assert "".join(stream.add(token) for token in [*tokens, tokenizer.end]) == text


@given(data=st.data())
def test_tokens_in_any_order_are_decoded_as_by_the_library(pair, data):
    """But for bytes that are no text, which decoders count differently."""
    made, tokenizer = pair
    tokens = data.draw(st.lists(st.integers(3, tokenizer.vocabulary - 1), max_size=8))
    text = made.decode(tokens)
    if "\ufffd" not in text:
        assert tokenizer.decode(tokens) == text


def test_bounds_are_those_that_are_given(pair):
    _, tokenizer = pair
    assert (tokenizer.bos, tokenizer.end) == (1, 2)
    tokens = tokenizer.encode("at")
    assert tokenizer.decode([*tokens, 2, *tokens]) == "at"
    assert tokenizer.rows(["at"], 9)[0].tolist()[: len(tokens) + 2] == [1, *tokens, 2]
    assert tokenizer.labels()[1], tokenizer.labels()[2] == ("<begin>", "<end>")


def test_parts_of_a_character_are_its_bytes(pair):
    _, tokenizer = pair
    previous, pieces = tokenizer.bos, []
    for token in tokenizer.encode("a🦊"):
        pieces.append(tokenizer.piece(token, previous))
        previous = token
    assert pieces[0] == b"a"
    assert len(pieces) > 2
    assert b"".join(pieces[1:]).decode() == "🦊"


def test_special_tokens_within_a_text_add_nothing():
    tokenizer = Library(byte_fallback().to_str(), 1, 2)
    space_a = tokenizer.encode("a")[0]
    assert tokenizer.decode([space_a, 0, space_a]) == byte_fallback().decode([space_a, 0, space_a])


def test_a_space_in_front_is_left_out_whatever_token_it_is():
    made = byte_fallback()
    tokenizer = Library(made.to_str(), 1, 2)
    for name in ("▁", "▁a", "<0x20>"):
        tokens = [made.token_to_id(name), made.token_to_id(name)]
        assert tokenizer.decode(tokens) == made.decode(tokens)


def test_a_text_is_neither_cut_nor_filled_up():
    made = byte_level()
    expected = made.encode("cat on the mat").ids
    made.enable_truncation(2)
    made.enable_padding(length=40)
    assert Library(made.to_str(), 1, 2).encode("cat on the mat") == expected


def test_unknown_parts_are_named():
    tokenizer = Library(words().to_str(), 1, 2)
    assert tokenizer.encode("a cat") == [3, 4]
    with pytest.raises(UserError, match="no token for 'dog'"):
        tokenizer.encode("a dog")
    unigram = tokenizers.models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0, False)
    with pytest.raises(UserError, match="no token for 'é'"):
        Library(tokenizers.Tokenizer(unigram).to_str(), 1, 1).encode("aé")


def test_half_a_character_is_refused(pair):
    with pytest.raises(UserError, match=r"'\\udcff' after 2 characters, which is no character"):
        pair[1].encode("ab\udcff")


def test_json_keeps_a_tokenizer(pair):
    _, tokenizer = pair
    again = Library.from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert again.to_dict() == tokenizer.to_dict()
    assert again.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])


def test_a_file_is_read(pair, tmp_path):
    made, tokenizer = pair
    made.save(str(tmp_path / "tokenizer.json"))
    read = read_library(tmp_path / "tokenizer.json", 1, 2)
    assert read.to_dict() == tokenizer.to_dict()
    assert read.vocabulary == made.get_vocab_size()


@pytest.mark.parametrize(("bos", "end", "fault"), [(999, 2, "begins"), (1, None, "ends")])
def test_bounds_that_are_no_tokens_are_refused(bos, end, fault):
    with pytest.raises(UserError, match=f"the token that {fault} a document is .*not in it"):
        Library(words().to_str(), bos, end)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", words().to_str()[:-9].encode()])
def test_foreign_and_truncated_files_are_refused(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is no tokenizer\.json of this model: .*cannot use it"):
        read_library(path, 1, 2)


def test_files_that_are_no_text_or_absent_are_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not UTF-8"):
        read_library(tmp_path / "binary", 1, 2)
    with pytest.raises(UserError, match="cannot be read"):
        read_library(tmp_path / "absent", 1, 2)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    definition = words().to_str()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'gptloom\[import\]'"):
        Library(definition, 1, 2)
