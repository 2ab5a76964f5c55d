"""Text to a chip and back: the model that it holds decides how characters become tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gptloom.boards.answers import LinkError, Spoken
from gptloom.boards.link import Link
from gptloom.firmware.image import Image, Region
from gptloom.firmware.protocol import Item, State
from gptloom.model.errors import UserError
from gptloom.model.integer import logit_scale


def held_image(weights: int, images: Iterable[Image]) -> Image:
    """Return the image that a chip holds.

    Parameters
    ----------
    weights
        Checksum that the chip reports.
    images
        Images that it may hold.

    Raises
    ------
    UserError
        If it holds none of them.
    """
    for image in images:
        if image.checksum(image.machine) == weights:
            return image
    raise UserError(
        f"the chip holds another model (weights {weights:08X}): name it with --image or "
        "--checkpoint, or load one with 'gptloom load'"
    )


class Conversation:
    """Prompts and continuations as text.

    Parameters
    ----------
    link
        The chip.
    image
        Image that the chip holds.
    """

    def __init__(self, link: Link, image: Image):
        self.link = link
        self._image = image
        self._characters = image.regions[Region.PAGE][: image.config.vocabulary - 1].decode("ascii")

    def encode(self, text: str) -> list[int]:
        """Return a text's tokens.

        Raises
        ------
        UserError
            If the model does not know a character, or the text leaves no room for a continuation.
        """
        unknown = sorted(set(text) - set(self._characters))
        if unknown:
            raise UserError(
                f"the model does not know {''.join(unknown)!r}: use {self._characters!r}"
            )
        context = self._image.config.context
        if len(text) >= context:
            raise UserError(
                f"a prompt of {len(text)} characters is too long: {context - 1} at most"
            )
        return [self._characters.index(character) for character in text]

    def continuation(self, text: str) -> Iterator[str]:
        """Yield the continuation of a text, a character at a time, as the chip produces it.

        Raises
        ------
        UserError
            See :meth:`encode` and :meth:`.Link.prompt`.
        """
        for spoken in self.link.prompt(self.encode(text)):
            yield self.character(spoken)

    def character(self, spoken: Spoken) -> str:
        """Return the character of a token, or nothing if the token ends the document.

        Raises
        ------
        LinkError
            If it is not a token of the model.
        """
        if spoken.token < len(self._characters):
            return self._characters[spoken.token]
        if spoken.last:
            return ""
        raise LinkError(f"the chip says token {spoken.token}, which is no character")

    def watched(self, text: str, temperature: float, seed: int) -> list[Spoken]:
        """Return the continuation of a text, each token with the positions that it attended to.

        Names draw from the same random numbers, so they pause meanwhile: the continuation
        depends on the seed alone.

        Raises
        ------
        UserError
            See :meth:`encode` and :meth:`.Link.prompt`.
        """
        tokens, link = self.encode(text), self.link
        runs = not link.get(Item.STATE) >> State.PAUSED & 1
        link.pause()
        try:
            self.set_temperature(temperature)
            link.seed(seed)
            return list(link.prompt(tokens, self._image.config))
        finally:
            if runs:
                link.resume()

    def set_temperature(self, temperature: float) -> None:
        """Set the temperature, 0 for greedy decoding."""
        self.link.temperature(logit_scale(self._image.logit_unit, temperature))
