"""The buffer between the writer of a text and a display."""

import pytest

from gptloom.hdl.display.text import TextBuffer


@pytest.fixture
def buffer(bench):
    return bench(TextBuffer())


def write(buffer, text):
    buffer.play(
        [dict(write=1, write_address=i, write_data=ord(c)) for i, c in enumerate(text)]
        + [dict(write=0, show=1), dict(show=0)],
        [],
    )


def read(buffer):
    places = [dict(text__address=i) for i in range(32)]
    seen = buffer.play(places, ["text__character"], after=1)
    return "".join(chr(s["text__character"]) for s in seen[1:])


def begin(buffer):
    buffer.play([dict(text__begin=1), dict(text__begin=0)], [])
    return buffer.get("text__changed")


def test_a_text_is_taken_over_at_begin_only(buffer):
    first, second = "a" * 16 + "b" * 16, "".join(chr(64 + i) for i in range(32))
    assert read(buffer) == "\0" * 32
    assert begin(buffer) == 0
    write(buffer, first)
    assert (buffer.get("free"), read(buffer)) == (0, "\0" * 32)
    assert (begin(buffer), buffer.get("free"), read(buffer)) == (1, 1, first)
    assert (begin(buffer), read(buffer)) == (0, first)
    write(buffer, second)
    assert read(buffer) == first
    # While the text waits for the next refresh, writes have no effect.
    write(buffer, "x" * 32)
    assert (begin(buffer), read(buffer)) == (1, second)
    assert (begin(buffer), read(buffer)) == (0, second)


def test_a_text_that_is_complete_in_the_cycle_of_begin_waits(buffer):
    write(buffer, "1" * 32)
    begin(buffer)
    for i in range(32):
        buffer.play([dict(write=1, write_address=i, write_data=ord("2")), dict(write=0)], [])
    buffer.play([dict(show=1, text__begin=1), dict(show=0, text__begin=0)], [])
    assert (buffer.get("text__changed"), buffer.get("free"), read(buffer)) == (0, 0, "1" * 32)
    assert (begin(buffer), read(buffer)) == (1, "2" * 32)
