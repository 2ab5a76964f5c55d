"""The window of text that a chip's display shows, laid out anew from all that was sent."""

from gptloom.hdl.display.text import COLUMNS


def wrapped(text):
    """Yield the lines of a paragraph, broken at spaces; those at a break are left out."""
    while len(text) > COLUMNS:
        fits, rest = text[:COLUMNS], text[COLUMNS:]
        if rest[0] == " ":
            rest = rest.lstrip(" ")
        elif " " in fits:
            cut = fits.rindex(" ") + 1
            fits, rest = fits[:cut], fits[cut:] + rest
        yield fits
        text = rest
        if not text:
            return
    yield text


def window(sent):
    """Return what is to be seen once these bytes were sent."""
    seen = [c for c in sent if c != 13 and not 0x80 <= c < 0xC0]
    text = "".join(chr(c) if 32 <= c < 127 or c == 10 else "?" for c in seen)
    paragraphs = text.removesuffix("\n").split("\n")
    lines = ["", "", *(line for paragraph in paragraphs for line in wrapped(paragraph))]
    return tuple(line.ljust(COLUMNS) for line in lines[-2:])
