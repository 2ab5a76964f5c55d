"""A corpus that is one long text; training on it is in test_training.py."""

import numpy as np
import pytest

from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.long_text import LongText, read_text
from gptloom.model.tokenizer import PADDING

CONTEXT = 8
CONFIG = ModelConfig(context=CONTEXT)
PASSAGES = [f"Speaker {i}:\n{'la ' * (1 + i % 5)}end." for i in range(40)]
TEXT = "\n\n".join(PASSAGES) + "\n"
SOME = LongText("some.txt", "", TEXT)


def decoded(row):
    """Return a row as text, its marker as a bar."""
    bos = SOME.tokenizer.bos
    return "".join("|" if i == bos else SOME.tokenizer.decode([i]) for i in row if i != PADDING)


def drawn(corpus, count, config=CONFIG, seed=0):
    batches = corpus.rows(corpus.tokenizer, config).batches(count, np.random.default_rng(seed))
    return [decoded(row) for row in next(batches)]


def test_every_character_but_the_first_of_a_part_is_predicted_once():
    rows = SOME.rows(SOME.tokenizer, CONFIG)
    split = len(TEXT) * 9 // 10
    for part, text in ((rows.training, TEXT[:split]), (rows.heldout, TEXT[split:])):
        assert part.dtype == np.int16
        assert part.shape[1] == CONTEXT + 1
        assert "".join(decoded(row[1:]) for row in part) == text[1:]
        assert "".join(decoded(row[:1]) for row in part) == text[:-1:CONTEXT]


def test_minibatches_begin_anywhere_in_the_part_for_training():
    split = len(TEXT) * 9 // 10
    rows = drawn(SOME, 12_000)
    plain = {row for row in rows if not row.startswith("|")}
    pieces = {TEXT[i : i + CONTEXT + 1] for i in range(split - CONTEXT)}
    assert plain == pieces
    assert {len(row) for row in rows} == {CONTEXT + 1}


def test_some_rows_begin_with_the_marker_and_then_a_passage():
    rows = drawn(SOME, 3000)
    marked = [row for row in rows if row.startswith("|")]
    assert 0.08 < len(marked) / len(rows) < 0.12
    trained_on = TEXT[: len(TEXT) * 9 // 10].split("\n\n")
    begins = {f"|{passage}"[: CONTEXT + 1] for passage in trained_on if len(passage) >= CONTEXT}
    assert set(marked) == begins
    # The marker stands nowhere else.
    assert all("|" not in row[1:] for row in rows)


def test_a_text_without_passages_is_not_learned_by_heart_from_its_beginning():
    text = LongText("flat.txt", "", TEXT.replace("\n\n", "\n") * 4)
    marked = [row for row in drawn(text, 3000) if row.startswith("|")]
    assert set(marked) == {f"|{TEXT[:CONTEXT]}"}
    assert len(marked) < 60


def test_minibatches_follow_from_the_seed():
    assert drawn(SOME, 9, seed=3) == drawn(SOME, 9, seed=3) != drawn(SOME, 9, seed=4)


def of_length(length):
    return LongText("short.txt", "", ("la " * length)[:length])


@pytest.mark.parametrize("length", [0, 1, 2560])
def test_a_text_too_short_for_the_context_is_refused_with_what_would_do(length):
    with pytest.raises(UserError, match=r"short\.txt has .* 2,561 or more, or a shorter context"):
        of_length(length).rows(SOME.tokenizer, ModelConfig(context=256))


def test_the_shortest_text_that_does_has_one_row_to_measure_on():
    rows = of_length(2561).rows(SOME.tokenizer, ModelConfig(context=256))
    assert (rows.heldout != PADDING).sum(axis=1).tolist() == [257]


def test_a_text_with_other_characters_than_the_tokenizer_has_is_refused():
    with pytest.raises(UserError, match="'~' is not in the vocabulary"):
        LongText("odd.txt", "", TEXT + "~").rows(SOME.tokenizer, CONFIG)


def test_a_file_keeps_its_lines_and_loses_what_nobody_sees(tmp_path):
    path = tmp_path / "play.txt"
    path.write_bytes(b"\xef\xbb\xbfAll:\r\n  Spe\0ak!\r\n\r\n\r\nZo\xc3\xab:\r\nHo.")
    text = read_text(path)
    assert text.text == "All:\n  Speak!\n\n\nZoë:\nHo.\n"
    assert text.documents == ("All:\n  Speak!", "Zoë:\nHo.")
    assert "U+0000 in line 2" in text.remarks[0]
    assert read_text(path, ascii_only=True, lower=True).text.endswith("zoe:\nho.\n")


@pytest.mark.parametrize(("content", "fault"), [(b"\xff\xfe\0", "UTF-8"), (None, "cannot be read")])
def test_files_that_are_no_text_are_refused(tmp_path, content, fault):
    path = tmp_path / "text.txt"
    if content:
        path.write_bytes(content)
    with pytest.raises(UserError, match=fault):
        read_text(path)
