"""The drawing of a token's way equals the one in the documents."""

from pathlib import Path

import pytest

from gptloom.cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "unrolled.md"


@pytest.mark.long
def test_the_documents_have_the_drawing(capsys):
    assert not main(["budget", "--core", "unrolled"])
    drawing, _, words = capsys.readouterr().out.partition("\n\n")
    page = PAGE.read_text()
    documented = page.partition("<!-- timeline -->\n```\n")[2].partition("\n```")[0]
    assert [line.rstrip() for line in drawing.split("\n")] == documented.split("\n")
    assert "10 streams" in words
    assert "40 cycles/token" in words
