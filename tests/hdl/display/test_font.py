"""The font, viewed as dots."""

from gptloom.hdl.display.font import GLYPHS, ROM_WORDS, TABLE_AT, font_rom


def dots(character):
    return [
        "".join("#" if column >> row & 1 else "." for column in GLYPHS[character])
        for row in range(8)
    ]


def test_printable_ascii_and_no_two_alike():
    assert list(GLYPHS) == [chr(code) for code in range(0x20, 0x7F)]
    assert len(set(GLYPHS.values())) == len(GLYPHS)
    assert GLYPHS[" "] == bytes(5)


def test_glyphs_stand_upright_and_are_not_mirrored():
    assert dots("F") == [
        "#####",
        "#....",
        "#....",
        "####.",
        "#....",
        "#....",
        "#....",
        ".....",
    ]
    assert dots("g")[7] == ".###."
    assert dots("/")[1] == "....#"


def test_the_rom_has_a_column_of_all_characters_after_the_other():
    rom = font_rom()
    assert len(rom) == TABLE_AT < ROM_WORDS
    for character, columns in GLYPHS.items():
        assert bytes(rom[96 * i + ord(character) - 32] for i in range(5)) == columns
