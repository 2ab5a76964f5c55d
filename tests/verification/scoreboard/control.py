"""A document as the core's control runs it: from the inputs to the start of every token."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from gptloom.firmware.image import Region
from gptloom.firmware.latencies import flush_cycles
from gptloom.firmware.timeline import EMIT
from gptloom.hdl.core import Prompt, Token, Write
from gptloom.hdl.folded.layouts import Temperature
from gptloom.hdl.folded.readback import Readback
from gptloom.model.golden import MAX_POSITION
from gptloom.model.integer import LogitScale
from gptloom.sim.session import encode
from verification.scoreboard.reference import Noise, Reference, Sampled

Stimulus = Mapping[str, NDArray[np.uint64]]
"""The core's inputs by name, one value per cycle."""

_PROMPT = data.Layout.cast(Prompt)
_REGION = data.Layout.cast(Write)["region"]
_NEVER = 1 << 62

WAITING = ("i", "seed", "load", "read")
"""Inputs that end a stream where a document ends."""

START = 1
"""Cycles from the control's decision to the token's start."""


class State(IntEnum):
    """State of a document."""

    IDLE = 0
    TOKEN = 1
    FLUSH = 2
    PROMPT = 3
    EMIT = 4
    DROP = 5


@dataclass
class Run:
    """A token in progress.

    Attributes
    ----------
    start
        Cycle in which it starts.
    token, position, sample
        The control's outputs in that cycle.
    number
        Tokens before it since its document, or its stream, began.
    stop
        Cycle from which on nothing of the token is due.
    made
        Values of the token; known once it has started.
    """

    start: int
    token: int
    position: int
    sample: bool
    number: int
    stop: int = _NEVER
    made: Sampled | None = None


@dataclass(frozen=True)
class Emission:
    """A token on the output: valid from `cycle` on, until it is taken."""

    cycle: int
    payload: int


@dataclass
class Course:
    """Events in a range of cycles.

    Attributes
    ----------
    states, emissions
        States and emissions, each with the cycle in which it begins.
    runs
        Tokens that are started.
    reads, taken
        Cycles in which a byte is read back, and in which an output is taken.
    stalls
        First cycle and end of each wait for the output to be free.
    resets
        Cycles that show the state after a reset.
    """

    states: list[tuple[int, State]] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    emissions: list[Emission] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    stalls: list[tuple[int, int]] = field(default_factory=list)
    resets: list[int] = field(default_factory=list)


class Control:
    """Follows the control's states through cycles whose inputs are known.

    Attributes
    ----------
    reference
        Reference of the model that the core holds; documents that begin use it.
    """

    def __init__(self, reference: Reference):
        self.reference = reference
        self._cycle = 0
        self._reset()

    def advance(self, inputs: Stimulus, begin: int, end: int) -> Course:
        """Follow the cycles `begin` up to `end`, whose inputs are given."""
        self._inputs, self._begin = inputs, begin
        course = Course()
        resets = begin + np.flatnonzero(inputs["rst"])
        for reset in [*resets.tolist(), end]:
            self._follow(course, reset)
            if reset < end:
                if self._asked is not None and self._asked + Readback.latency == reset:
                    course.reads.append(reset)
                self._reset()
                self._cycle = reset + 1
                course.resets.append(reset + 1)
                course.states.append((reset + 1, State.IDLE))
        return course

    def _reset(self) -> None:
        self._state = State.IDLE
        self._noise = self._seeded(1)
        self._truncated = False
        self._unread = False
        self._reads_from = 0
        self._loaded = False
        self._asked: int | None = None
        self._run: Run | None = None
        self._due = 0

    def _follow(self, course: Course, end: int) -> None:
        """Follow handshakes and states before cycle `end`."""
        step: dict[State, Callable[[Course, int], bool]] = {
            State.IDLE: self._idle,
            State.TOKEN: self._token,
            State.FLUSH: self._flush,
            State.PROMPT: self._prompt,
            State.EMIT: self._emit,
            State.DROP: self._drop,
        }
        while self._cycle < end and step[self._state](course, end):
            pass
        self._read(course, end)

    def _idle(self, course: Course, end: int) -> bool:
        loads = self._window("load__valid", end)
        # Loaded bytes arrive a cycle later, and a document waits for that as well.
        loaded = np.concatenate([[self._loaded], loads[:-1]]).astype(np.uint64)
        reads = self._window("read__valid", end)
        hold = loads | loaded | self._window("seed__valid", end) | reads
        cycle = self._first(self._window("i__valid", end) & ~hold)
        self._load(end if cycle is None else cycle)
        self._read_back(course, end if cycle is None else cycle)
        if cycle is None:
            self._loaded = bool(loads[-1])
            self._cycle = end
            return False
        token, last = self._known(cycle)
        self.reference.begin()
        self._truncated = not last
        self._start(course, cycle, token, 0, last or self._last_position == 0, 0)
        return True

    def _token(self, course: Course, end: int) -> bool:
        run = self._run
        if run.made is None:
            # Its temperature is read in the cycle of the start, which is this one.
            scale = None
            if run.sample:
                bits = Temperature.from_bits(self._at("temperature", run.start))
                scale = LogitScale(bits.mantissa, bits.shift + 1, bool(bits.greedy))
            run.made = self.reference.step(run.token, run.number, scale, self._noise)
            plan = run.made.plan
            self._due = run.start + (plan.done + EMIT - START if run.sample else plan.finished + 1)
        if not self._wait(end):
            return False
        if run.sample:
            self._enter(course, State.EMIT, self._due)
        else:
            self._enter(course, State.FLUSH, self._due)
            # Results of a prompt's token are written before the next token advances.
            self._due += flush_cycles(self.reference.machine) + 1
        return True

    def _flush(self, course: Course, end: int) -> bool:
        if not self._wait(end):
            return False
        self._enter(course, State.PROMPT, self._due)
        return True

    def _prompt(self, course: Course, end: int) -> bool:
        cycle = self._first(self._window("i__valid", end))
        if cycle is None:
            self._cycle = end
            return False
        token, last = self._known(cycle)
        position = self._following
        self._truncated = not last
        self._start(
            course, cycle, token, position, last or position == self._last_position,
            self._run.number + 1,
        )  # fmt: skip
        return True

    def _emit(self, course: Course, end: int) -> bool:
        begun = self._cycle
        if self._unread:
            # The token before is still on the output: it has to be taken first.
            taken = self._ready(end)
            if taken is None:
                course.stalls.append((begun, end))
                self._cycle = end
                return False
            self._cycle = max(begun, taken)
            if self._cycle > begun:
                course.stalls.append((begun, self._cycle))
        cycle, run = self._cycle, self._run
        self._read(course, cycle + 1)
        token = run.made.token
        ends = token == self.reference.model.tokenizer.bos
        last = ends or run.position == self._last_position
        payload = encode(Token, token=token, position=run.position, last=last)
        course.emissions.append(Emission(cycle + 1, payload))
        self._unread, self._reads_from = True, cycle + 1
        # A stream goes on with another document, unless anyone waits for the core.
        goes_on = self._endless and not any(self._at(f"{port}__valid", cycle) for port in WAITING)
        if not last or goes_on:
            position = 0 if last else self._following
            self._start(course, cycle, token, position, True, run.number + 1)
        else:
            self._enter(course, State.DROP if self._truncated else State.IDLE, cycle + 1)
        return True

    def _drop(self, course: Course, end: int) -> bool:
        place = _PROMPT["last"]
        last = self._window("i__payload", end) >> np.uint64(place.offset) & np.uint64(1)
        cycle = self._first(self._window("i__valid", end) & last)
        if cycle is None:
            self._cycle = end
            return False
        self._truncated = False
        self._enter(course, State.IDLE, cycle + 1)
        return True

    def _start(
        self, course: Course, cycle: int, token: int, position: int, sample: bool, number: int
    ) -> None:
        """Start a token in the cycle after `cycle`."""
        self._run = Run(cycle + START, token, position, sample, number)
        course.runs.append(self._run)
        self._enter(course, State.TOKEN, self._run.start)

    def _enter(self, course: Course, state: State, cycle: int) -> None:
        self._state, self._cycle, self._loaded = state, cycle, False
        course.states.append((cycle, state))

    def _wait(self, end: int) -> bool:
        """Advance to the cycle in which a state is due, if that is not after `end`."""
        self._cycle = min(self._due, end)
        return self._due <= end

    def _read(self, course: Course, end: int) -> None:
        """Note that the output's token is taken, if it is before `end`."""
        if self._unread:
            taken = self._ready(end)
            if taken is not None:
                course.taken.append(taken)
                self._unread = False

    def _ready(self, end: int) -> int | None:
        """Return the first cycle before `end` in which the output's token is taken."""
        first = max(self._reads_from, self._begin)
        ready = np.flatnonzero(self._inputs["o__ready"][first - self._begin : end - self._begin])
        return first + int(ready[0]) if len(ready) else None

    def _read_back(self, course: Course, end: int) -> None:
        """Note which of the bytes requested before `end` are delivered."""
        asked = self._cycle + np.flatnonzero(self._window("read__valid", end))
        at = 0
        while at < len(asked):
            if self._asked is None:
                self._asked = int(asked[at])
            delivered = self._asked + Readback.latency
            if delivered >= end:
                return
            course.reads.append(delivered)
            self._asked = None
            at = int(np.searchsorted(asked, delivered, "right"))

    def _load(self, end: int) -> None:
        """Set the random generator's state by seeds loaded while idle, before cycle `end`."""
        part = self._slice(end)
        seeds = np.flatnonzero(self._inputs["seed__valid"][part])
        region = self._inputs["load__payload"][part] & np.uint64((1 << _REGION.width) - 1)
        settings = np.flatnonzero(
            (self._inputs["load__valid"][part] == 1) & (region == Region.SETTINGS)
        )
        seed = int(seeds[-1]) if len(seeds) else -1
        setting = int(settings[-1]) + 1 if len(settings) else -1
        if max(seed, setting) >= 0:
            payload = self._inputs["seed__payload"][part]
            self._noise = self._seeded(int(payload[seed]) if seed >= setting else 1)

    def _seeded(self, seed: int) -> Noise:
        return Noise(self.reference.machine.precision.noise_bits, seed)

    @property
    def _endless(self) -> bool:
        return self.reference.model.config.endless

    @property
    def _following(self) -> int:
        """Position of the token after the present one, as it is reported."""
        following = self._run.position + 1
        return min(following, MAX_POSITION) if self._endless else following

    @property
    def _last_position(self) -> int | None:
        """Position at which a document ends, whatever its token; None if there is none."""
        return None if self._endless else self.reference.model.config.context - 1

    def _known(self, cycle: int) -> tuple[int, bool]:
        bits = _PROMPT.from_bits(self._at("i__payload", cycle))
        return bits.token, bool(bits.last)

    def _at(self, name: str, cycle: int) -> int:
        return int(self._inputs[name][cycle - self._begin])

    def _slice(self, end: int) -> slice:
        return slice(self._cycle - self._begin, end - self._begin)

    def _window(self, name: str, end: int) -> NDArray[np.uint64]:
        return self._inputs[name][self._slice(end)]

    def _first(self, wanted: NDArray) -> int | None:
        """Return the first cycle from the present one on in which a condition holds."""
        found = np.flatnonzero(wanted)
        return self._cycle + int(found[0]) if len(found) else None
