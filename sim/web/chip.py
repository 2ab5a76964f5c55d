"""The chip of the page: core, console, screen and display, and outputs that show their work."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.image import Image
from gptloom.firmware.machine import LANE_BITS, Machine
from gptloom.firmware.page import TEMPERATURE_TEXTS
from gptloom.hdl.checksum import Checksum
from gptloom.hdl.console import Console
from gptloom.hdl.core import Prompt
from gptloom.hdl.display.hd44780 import HD44780
from gptloom.hdl.display.screen import Screen
from gptloom.hdl.display.two_lines import RATES
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.folded.layouts import Temperature
from gptloom.hdl.preload import Preload
from gptloom.hdl.top import BAUD
from gptloom.hdl.uart import Transmitter, baud_divider
from gptloom.model.arithmetic import ACTIVATION_BITS
from gptloom.model.sampling import SEED_BITS

_FLAGS = ("known", "seeded", "sampled", "last", "key", "value", "score", "numerator", "rs", "e")

SEEN = data.StructLayout({**dict.fromkeys(_FLAGS, 1), "d": 4, "token": 8, "row": 8})
"""Events of a cycle.

`known`: a known token is taken; `seeded`: the seed is taken; `sampled`: a token leaves, which may
be its document's `last`; `token` is the one that is taken or leaves. `key`, `value`: elements of a
row of the cache are written; `score`, `numerator`: those of row `row` are written. `rs`, `e` and
`d` are the display's pins.
"""


def written_layout(machine: Machine) -> data.StructLayout:
    """Return the layout of writes to the cache: elements from `index` on, if enabled."""
    return data.StructLayout(
        {
            "index": machine.row_bits,
            "operation": machine.operation_bits,
            "enable": machine.writers,
            "elements": data.ArrayLayout(LANE_BITS, machine.writers),
        }
    )


class Prompter(wiring.Component):
    """Asks a core for documents without end, all with the same known tokens at their beginning.

    Attributes
    ----------
    bos
        Token that begins a document.
    tokens, length : In
        Tokens after it; sampled before a document begins.
    o : Out(stream of Prompt)
        Known tokens for the core.
    index : Out
        Place of the offered token; 0 is `bos`.
    """

    def __init__(self, bos: int, longest: int):
        self.bos = bos
        super().__init__(
            {
                "tokens": In(8).array(longest),
                "length": In(range(longest + 1)),
                "o": Out(stream.Signature(Prompt)),
                "index": Out(range(longest + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        tokens, length = Signal.like(Cat(self.tokens)), Signal.like(self.length)
        with m.If(self.index == 0):
            m.d.sync += [tokens.eq(Cat(self.tokens)), length.eq(self.length)]
        m.d.comb += [
            self.o.valid.eq(1),
            self.o.p.token.eq(Cat(Const(self.bos, 8), tokens).word_select(self.index, 8)),
            self.o.p.last.eq(self.index == length),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.index.eq(Mux(self.o.p.last, 0, self.index + 1))
        return m


class WebChip(wiring.Component):
    """A chip with a character display whose prompt, seed and temperature are pins.

    Everything else is as on a board (:class:`.Top`): the core holds its image from power-on, the
    checksum is computed, names go out on the serial line, and the screen shows the newest one.

    Parameters
    ----------
    image, machine
        The model, and dimensions of the core.
    clock_hz
        Clock frequency of the chip: the display's times are real.

    Attributes
    ----------
    machine, clock_hz, panel
        Dimensions, clock and the display's driver.
    prompt, length : In
        Known tokens at the beginning of every document; sampled when one begins.
    seed, restart : In
        State of the random numbers. It is taken at power-on, and after the current document
        whenever `restart` changes.
    temperature : In(Temperature)
        Temperature of the core.
    display : Out
        Pins of the panel.
    tx : Out(1)
        Serial line.
    event, sampled : Out(1)
        Whether `seen` holds an event, and whether that is a token that leaves.
    seen : Out(SEEN)
        Events of the cycle.
    scores : Out
        Scores or numerators of all heads for the row in `seen`.
    written : Out
        See :func:`written_layout`.

    Raises
    ------
    UserError
        If the image does not fit, or the clock cannot make the baud rate.
    """

    def __init__(self, image: Image, machine: Machine, clock_hz: float):
        config, divider = image.config, baud_divider(clock_hz, BAUD)
        self.machine, self.clock_hz = machine, clock_hz
        self.core = FoldedCore(machine, preload=(preload := Preload.of(image, machine)))
        self.panel = HD44780(clock_hz)
        self._screen = Screen(clock_hz, TEMPERATURE_TEXTS, RATES.index(0), button=False)
        self._console = Console(preload.page, config.vocabulary - 1, config.context, 1)
        self._prompter = Prompter(config.vocabulary - 1, config.context - 1)
        self._checksum = Checksum(image.checked_sizes(machine))
        self._transmitter = Transmitter(divider)
        pins = dict(self.panel.signature.members)
        del pins["text"]
        score = ACTIVATION_BITS * machine.heads
        super().__init__(
            {
                "prompt": In(8).array(config.context - 1),
                "length": In(range(config.context)),
                "seed": In(SEED_BITS),
                "restart": In(1),
                "temperature": In(Temperature),
                "display": Out(wiring.Signature(pins)),
                "tx": Out(1, init=1),
                "event": Out(1),
                "sampled": Out(1),
                "seen": Out(SEEN),
                "scores": Out(score),
                "written": Out(written_layout(machine)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = self.core
        m.submodules.console = self._console
        m.submodules.prompter = self._prompter
        self._check(m)
        self._ask(m)
        self._tell(m)
        self._show(m)
        self._watch(m)
        return m

    def _check(self, m: Module) -> None:
        """Compute the memories' checksum when the console requests it."""
        m.submodules.checksum = checksum = self._checksum
        wiring.connect(m, checksum.read, self.core.read)
        m.d.comb += [
            checksum.start.eq(self._console.check),
            checksum.read_data.eq(self.core.read_data),
            self._console.checking.eq(checksum.start | checksum.busy),
            self._console.crc.eq(checksum.crc),
        ]

    def _ask(self, m: Module) -> None:
        """Give the core its seed, its temperature and, once the checksum is known, documents."""
        core, prompter, run = self.core, self._prompter, self._console.run
        before, pending = Signal(), Signal(init=1)
        m.d.sync += before.eq(self.restart)
        with m.If(before != self.restart):
            m.d.sync += pending.eq(1)
        with m.Elif(core.seed.ready):
            m.d.sync += pending.eq(0)
        for place, token in zip(prompter.tokens, self.prompt, strict=True):
            m.d.comb += place.eq(token)
        m.d.comb += [
            prompter.length.eq(self.length),
            core.i.valid.eq(prompter.o.valid & run),
            core.i.p.eq(prompter.o.p),
            prompter.o.ready.eq(core.i.ready & run),
            core.seed.valid.eq(pending),
            core.seed.payload.eq(self.seed),
            core.temperature.eq(self.temperature),
            core.o.ready.eq(1),
        ]

    def _tell(self, m: Module) -> None:
        """Give the console all tokens, including known ones: two never come in the same cycle."""
        core, console, prompter = self.core, self._console, self._prompter
        m.submodules.transmitter = self._transmitter
        wiring.connect(m, console.o, self._transmitter.i)
        m.d.comb += self.tx.eq(self._transmitter.tx)
        with m.If(core.o.valid):
            m.d.comb += [console.i.valid.eq(1), console.i.p.eq(core.o.p)]
        with m.Else():
            m.d.comb += [
                console.i.valid.eq(prompter.o.ready & (prompter.index != 0)),
                console.i.p.token.eq(prompter.o.p.token),
                # The previous position, as with a sampled token.
                console.i.p.position.eq(prompter.index - 1),
            ]

    def _show(self, m: Module) -> None:
        """Show the lines that the console sends."""
        console = self._console
        m.submodules.screen = screen = self._screen
        m.submodules.panel = panel = self.panel
        wiring.connect(m, panel.text, screen.text)
        m.d.comb += [
            screen.strobe.eq(console.o.valid & console.o.ready),
            screen.character.eq(console.o.payload),
            screen.event.eq(self.core.o.valid),
        ]
        for name in self.display.signature.members:
            m.d.comb += getattr(self.display, name).eq(getattr(panel, name))

    def _watch(self, m: Module) -> None:
        """Report the events of the cycle."""
        core, tap, seen = self.core, self.core.tap, self.seen
        known = core.i.valid & core.i.ready
        result, writes = tap.result, tap.result.enable.any()
        pins = Cat(self.display.rs, self.display.e, self.display.d)
        before = Signal.like(pins)
        m.d.sync += before.eq(pins)
        m.d.comb += [
            seen.known.eq(known),
            seen.seeded.eq(core.seed.valid & core.seed.ready),
            seen.sampled.eq(core.o.valid),
            seen.last.eq(core.o.p.last),
            seen.key.eq(writes & result.to.keys),
            seen.value.eq(writes & result.to["values"]),
            seen.score.eq(tap.score_valid & ~tap.numerators),
            seen.numerator.eq(tap.score_valid & tap.numerators),
            Cat(seen.rs, seen.e, seen.d).eq(pins),
            seen.token.eq(Mux(core.o.valid, core.o.p.token, core.i.p.token)),
            seen.row.eq(tap.position),
            self.sampled.eq(core.o.valid),
            self.scores.eq(Cat(tap.scores)),
            self.written.index.eq(result.index),
            self.written.operation.eq(result.operation),
            self.written.enable.eq(result.enable),
            self.event.eq(
                seen.known | seen.seeded | seen.sampled | seen.key | seen.value
                | tap.score_valid | (pins != before)
            ),
        ]  # fmt: skip
        for element, value in zip(self.written.elements, result["values"], strict=True):
            m.d.comb += element.eq(value)
