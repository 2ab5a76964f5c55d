"""The host's side of the serial protocol: one class, for boards and for simulated chips."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from gptloom.boards.answers import (
    CACHE_COUNTERS,
    REFUSALS,
    Counted,
    Identity,
    LinkError,
    RefusedError,
    Spoken,
)
from gptloom.boards.gathering import Gathering
from gptloom.firmware.image import Image
from gptloom.firmware.machine import Machine
from gptloom.firmware.page import encode_scale
from gptloom.firmware.protocol import (
    LONGEST_DATA,
    MAGIC,
    VERSION,
    Command,
    Feature,
    Frame,
    Item,
    Receiver,
    Reply,
    State,
    config_hash,
    upload_bytes,
    upload_crc,
    upload_sizes,
)
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.integer import LogitScale

ATTEMPTS = 4
"""Number of times that a command is sent, or an upload begun, before it is given up."""

FRAMES_UNASKED = 16
"""Data frames after which the chip is asked how much of an upload it has received."""

MOST_LINES = 1_000
"""Number of lines of text that are kept until they are read."""

CONTINUATION = (Reply.TOKEN, Reply.ATTENTION)
"""Frames that follow a prompt."""

Progress = Callable[[int, int], None]
"""Called with the number of bytes of an upload that have arrived, and with their total."""


class Port(Protocol):
    """A line of bytes: a serial port, or a simulated chip's pins.

    `patience` is the number of seconds after which an answer is no longer expected.
    """

    patience: float

    def now(self) -> float:
        """Return a time in seconds."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def read(self, seconds: float) -> bytes:
        """Return the bytes that have come, waiting at most this many seconds for the first."""

    def close(self) -> None:
        """Release the line."""


class Link:
    """Conversation with a chip.

    Parameters
    ----------
    port
        The line to the chip.

    Attributes
    ----------
    lines
        Lines of text that came while something else was awaited, the oldest first; at most 1,000.
    damaged
        Frames that arrived damaged.
    """

    def __init__(self, port: Port):
        self._port = port
        self._receiver = Receiver()
        self._frames: deque[Frame] = deque()
        self._sequence = 0
        self.lines: deque[str] = deque(maxlen=MOST_LINES)
        self.damaged = 0

    def get(self, item: Item) -> int:
        """Return one of the chip's items."""
        return self._command(Command.GET, item)

    def identify(self) -> Identity:
        """Ask the chip for its identity.

        Raises
        ------
        LinkError
            If nothing answers, or anything but a GPTLoom chip of this version does.
        """
        identity = self.get(Item.IDENTITY)
        magic, version = identity >> 8, identity & 0xFF
        if magic != MAGIC or version != VERSION:
            raise LinkError(
                f"what answers is no GPTLoom chip of protocol version {VERSION} (it says "
                f"{identity:08X}): check --port, or build the bitstream anew"
            )
        return Identity(version, self.get(Item.CONFIG), self.get(Item.WEIGHTS))

    def counters(self) -> Counted:
        """Read the core's counters, one after another."""
        return Counted(*(self.get(item) for item in (Item.CYCLES, Item.TOKENS, Item.STALLS)))

    def cache_counters(self) -> dict[str, int]:
        """Read the KV cache's counters, named as in ``CACHE_COUNTERS``; empty without a cache."""
        if not self.can(Feature.CACHE):
            return {}
        return {name: self.get(item) for name, item in CACHE_COUNTERS.items()}

    def temperature(self, scale: LogitScale) -> None:
        """Set the scale of the logits, or greedy decoding, for the following tokens."""
        self._command(Command.TEMPERATURE, encode_scale(scale))

    def seed(self, seed: int) -> None:
        """Set the state of the random numbers, after the current document has ended."""
        self._command(Command.SEED, seed)

    def pause(self) -> None:
        """Stop the chip from generating further names; prompts are still continued."""
        self._command(Command.RUN, 0)

    def resume(self) -> None:
        """Let the chip generate names again."""
        self._command(Command.RUN, 1)

    def reset(self) -> None:
        """Restart as after power-on: first temperature, seed 1, names; the model stays."""
        self._command(Command.RESET, 1)

    def can(self, feature: Feature) -> bool:
        """Tell whether the chip has an optional feature."""
        try:
            return bool(self.get(Item.FEATURES) >> feature & 1)
        except RefusedError as error:
            # The chip is older than all features.
            if error.reply == Reply.UNKNOWN:
                return False
            raise

    def prompt(self, tokens: Sequence[int], watched: ModelConfig | None = None) -> Iterator[Spoken]:
        """Yield the tokens that follow a prompt, as they come.

        Parameters
        ----------
        tokens
            Token ids, without the token that begins a document.
        watched
            Shape of the chip's model, if the tokens' attention is requested as well.

        Raises
        ------
        LinkError
            If the chip does not begin, or a token is lost, or the chip cannot report attention.
        """
        if len(tokens) > LONGEST_DATA:
            raise UserError(f"a prompt of {len(tokens)} tokens is too long: {LONGEST_DATA} at most")
        gathering = Gathering(watched) if watched else None
        if gathering and not self.can(Feature.ATTENTION):
            raise LinkError(
                "the chip cannot tell what its tokens attend: build its bitstream with "
                "'gptloom build --instruments'"
            )
        sequence = self._next_sequence()
        spoken: deque[Frame] = deque()
        wishes = 1 << Feature.ATTENTION if gathering else 0
        self._command(Command.PROMPT, wishes, bytes(tokens), sequence=sequence, tokens=spoken)
        position = len(tokens) - 1
        first = True
        while True:
            frame = spoken.popleft() if spoken else self._wait(sequence, None)
            if frame is None:
                raise LinkError("the chip fell silent in the middle of a continuation: try again")
            if gathering and frame.code == Reply.ATTENTION:
                gathering.add(frame)
            if frame.code != Reply.TOKEN:
                continue
            at = frame.argument >> 8 & 0xFF
            numerators = gathering.take(at) if gathering else None
            token = Spoken(frame.argument & 0xFF, at, bool(frame.argument >> 16), numerators)
            # A prompt that is too long is cut, so its first token has an earlier position.
            if token.position != position + 1 and not (first and token.position <= position):
                raise LinkError("a token was lost on the line: check the cable and try again")
            if gathering and numerators is None:
                raise LinkError(
                    "what a token attended was lost on the line: check the cable and try again"
                )
            position, first = token.position, False
            yield token
            if token.last:
                return

    def upload(
        self, image: Image, machine: Machine, progress: Progress = lambda done, total: None
    ) -> None:
        """Replace the chip's model; the old one runs until the new one has arrived and is verified.

        Raises
        ------
        UserError
            If the image does not fit the chip, or does not arrive.
        """
        data, crc = upload_bytes(image, machine), upload_crc(image, machine)
        sizes = upload_sizes(image, machine)
        config = config_hash(
            image.lanes, image.config, sizes, image.slots, image.precision.cache.widths
        )
        if (there := self.get(Item.CONFIG)) != config:
            raise LinkError(
                f"the image does not fit the chip ({config:08X} instead of {there:08X}): its model "
                "must have the dimensions, and its lanes the number, that the chip was built for"
            )
        held = self.get(Item.WEIGHTS)
        for _ in range(ATTEMPTS):
            self._command(Command.BEGIN, config)
            if not self._send_data(data, progress):
                continue
            try:
                self._command(Command.COMMIT, crc)
            except RefusedError as error:
                # A commit whose answer was lost is refused when it is repeated. Only changed
                # weights show that it was obeyed.
                if error.reply != Reply.BAD_IMAGE:
                    raise
                there = self.get(Item.WEIGHTS)
                stopped = self.get(Item.STATE) >> State.STOPPED & 1
                if there == held or there != image.checksum(machine) or stopped:
                    continue
            return
        raise LinkError(
            "the image did not arrive whole, and the chip still has the model that it had: check "
            "the cable, or choose a lower --baud"
        )

    def _send_data(self, data: bytes, progress: Progress) -> bool:
        """Send until all data has arrived; data frames are not answered, so the chip is asked."""
        received, stuck = 0, 0
        while received < len(data):
            end = min(len(data), received + FRAMES_UNASKED * LONGEST_DATA)
            for at in range(received, end, LONGEST_DATA):
                piece = data[at : min(end, at + LONGEST_DATA)]
                frame = Frame(Command.DATA, self._next_sequence(), at, piece)
                self._port.write(frame.encode())
            before, received = received, self.get(Item.RECEIVED)
            stuck = stuck + 1 if received <= before else 0
            if stuck == ATTEMPTS:
                return False
            progress(received, len(data))
        return True

    def _next_sequence(self) -> int:
        self._sequence = self._sequence + 1 & 0xFF
        return self._sequence

    def _command(
        self,
        command: Command,
        argument: int,
        data: bytes = b"",
        *,
        sequence: int | None = None,
        tokens: deque[Frame] | None = None,
    ) -> int:
        """Send a command until it is answered, and return the answer's argument.

        A repeated command has the same sequence number, so that any answer to it will do.
        """
        sequence = self._next_sequence() if sequence is None else sequence
        frame = Frame(command, sequence, argument, data)
        last = None
        for _ in range(ATTEMPTS):
            # Names that nobody read may have filled the system's buffer, which then drops answers.
            self._receive(0)
            self._port.write(frame.encode())
            answer = self._wait(sequence, tokens)
            if answer is None:
                continue
            last = answer.code
            if answer.code in (*CONTINUATION, Reply.OK):
                return answer.argument
            if answer.code == Reply.BUSY and tokens:
                return answer.argument
            if answer.code not in (Reply.DAMAGED, Reply.BUSY):
                break
        if last is None:
            raise LinkError(
                "no chip answers: check --port and --baud, and that the board runs a bitstream "
                "with the serial console"
            )
        raise RefusedError(last, REFUSALS.get(last, f"the chip answered {last:02X}"))

    def _wait(self, sequence: int, tokens: deque[Frame] | None) -> Frame | None:
        """Return the next frame of a sequence number; None if none comes in time.

        A frame of a continuation is also appended to `tokens`, if given: the first one shows that
        the prompt was taken, even if the answer to it was lost.
        """
        deadline = self._port.now() + self._port.patience
        while True:
            while self._frames:
                frame = self._frames.popleft()
                damaged = frame.code == Reply.DAMAGED
                if frame.sequence != sequence and not damaged:
                    continue
                if frame.code in CONTINUATION and tokens is not None:
                    tokens.append(frame)
                return frame
            left = deadline - self._port.now()
            if left <= 0:
                return None
            self._receive(left)

    def _receive(self, seconds: float) -> None:
        for item in self._receiver.feed(self._port.read(seconds)):
            if isinstance(item, Frame):
                self._frames.append(item)
            elif isinstance(item, str):
                self.lines.append(item)
            else:
                self.damaged += 1
