"""Everything on the chip that does not depend on the board: a core, its names as text, a button."""

from collections.abc import Sequence

from amaranth.hdl import Array, Const, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.hdl.core import Token
from gptloom.hdl.folded.layouts import Temperature
from gptloom.hdl.uart import Transmitter, baud_divider
from gptloom.model.errors import UserError
from gptloom.model.integer import LogitScale
from gptloom.model.tokenizer import Tokenizer

BAUD = 115200
TEMPERATURES = (0.7, 1.0, 1.5, 0.4)
"""What the button steps through; the first one holds from power-on."""

BOUNCE_SECONDS = 0.01
"""For so long a button must rest before it is believed; contacts bounce for some milliseconds."""

ACTIVITY_BIT = 16
"""The activity LED changes every 2**16 tokens, 3 times a second at 200,000 tokens/s."""


class Names(wiring.Component):
    """Sampled tokens in, lines of text out, without ever stalling the core.

    While one name is being sent the core generates dozens: a name that ends meanwhile is
    dropped, and the first one that ends when the line is free comes next. Lines end with CR LF.

    Attributes
    ----------
    i : In(stream of Token)
        Sampled tokens; always ready.
    o : Out(stream of 8 bits)
        Characters.

    Raises
    ------
    UserError
        If a character of the tokenizer is not ASCII: a terminal would show something else.
    """

    def __init__(self, tokenizer: Tokenizer, context: int):
        for character in tokenizer.characters:
            if not character.isascii():
                raise UserError(
                    f"the character {character!r} cannot be sent as one byte on the serial line: "
                    "use a checkpoint whose characters are ASCII"
                )
        self._tokenizer, self._context = tokenizer, context
        super().__init__(
            {"i": In(stream.Signature(Token)), "o": Out(stream.Signature(unsigned(8)))}
        )

    def elaborate(self, platform):
        m = Module()
        size = 1 << (self._context - 1).bit_length()
        bits = self._tokenizer.bos.bit_length()
        # Two halves: the core writes one while the other is sent.
        m.submodules.memory = memory = Memory(shape=unsigned(bits), depth=2 * size, init=[])
        write, read = memory.write_port(), memory.read_port()
        sent_half = Signal()
        length, at = Signal(range(size + 1)), Signal(range(size + 1))
        token = self.i.p
        m.d.comb += [
            self.i.ready.eq(1),
            write.addr.eq(token.position + Mux(sent_half, 0, size)),
            write.data.eq(token.token),
            write.en.eq(self.i.valid),
            read.addr.eq(at + Mux(sent_half, size, 0)),
        ]
        ends_early = token.token == self._tokenizer.bos
        characters = Array([ord(character) for character in self._tokenizer.characters])
        with m.FSM():
            with m.State("IDLE"), m.If(self.i.valid & token.last):
                m.d.sync += [
                    sent_half.eq(~sent_half),
                    length.eq(Mux(ends_early, token.position, token.position + 1)),
                    at.eq(0),
                ]
                m.next = "READ"
            with m.State("READ"):
                m.next = "CHARACTER"
                with m.If(at == length):
                    m.next = "CARRIAGE RETURN"
            with m.State("CHARACTER"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(characters[read.data])]
                with m.If(self.o.ready):
                    m.d.sync += at.eq(at + 1)
                    m.next = "READ"
            with m.State("CARRIAGE RETURN"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(ord("\r"))]
                with m.If(self.o.ready):
                    m.next = "LINE FEED"
            with m.State("LINE FEED"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(ord("\n"))]
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m


class Button(wiring.Component):
    """A button without its bounces.

    Attributes
    ----------
    cycles
        For so many cycles `i` must rest before it counts.
    i : In(1)
        From the pin, 1 when pressed, of no clock.
    pressed : Out(1)
        For one cycle when it has been pressed.
    """

    def __init__(self, cycles: int):
        if cycles < 1:
            raise ValueError(f"cycles is {cycles}, but a button rests at least 1 cycle")
        self.cycles = cycles
        super().__init__({"i": In(1), "pressed": Out(1)})

    def elaborate(self, platform):
        m = Module()
        now, believed = Signal(), Signal()
        m.submodules.synchroniser = FFSynchronizer(self.i, now)
        timer = Signal(range(self.cycles), init=self.cycles - 1)
        m.d.sync += self.pressed.eq(0)
        with m.If(now == believed):
            m.d.sync += timer.eq(self.cycles - 1)
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [believed.eq(now), self.pressed.eq(now)]
        return m


class Top(wiring.Component):
    """A core that generates documents without end, and what people see of it.

    Parameters
    ----------
    core
        A component with :class:`.CoreSignature` that holds its image from power-on.
    tokenizer
        Of the image.
    context
        Positions of the image.
    scales
        Of the logits, for the temperatures that the button steps through; a single one where
        there is no button.
    clock_hz
        Frequency of the domain ``sync``, as the PLL makes it.
    baud
        Of the serial line.

    Attributes
    ----------
    tx : Out(1)
        Serial line: a name a line.
    button : In(1)
        Next temperature; 1 when pressed, of no clock.
    busy : Out(1)
        A document is under way.
    activity : Out(1)
        Changes every 65,536 tokens.

    Raises
    ------
    UserError
        If the clock cannot make the baud rate, or a character is not ASCII.
    """

    def __init__(
        self,
        core: wiring.Component,
        tokenizer: Tokenizer,
        context: int,
        scales: Sequence[LogitScale],
        *,
        clock_hz: float,
        baud: int = BAUD,
    ):
        self.core = core
        self._scales = scales
        self._tokenizer, self._context = tokenizer, context
        self._divider = baud_divider(clock_hz, baud)
        self._bounce = round(clock_hz * BOUNCE_SECONDS)
        super().__init__(
            {"tx": Out(1, init=1), "button": In(1), "busy": Out(1), "activity": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self.core
        m.submodules.names = names = Names(self._tokenizer, self._context)
        m.submodules.transmitter = transmitter = Transmitter(self._divider)
        wiring.connect(m, core.o, names.i)
        wiring.connect(m, names.o, transmitter.i)

        step = Signal(range(len(self._scales)))
        if len(self._scales) > 1:
            m.submodules.debounce = debounce = Button(self._bounce)
            m.d.comb += debounce.i.eq(self.button)
            with m.If(debounce.pressed):
                m.d.sync += step.eq(Mux(step == len(self._scales) - 1, 0, step + 1))
        temperatures = Array(
            Const(
                Temperature.const(
                    {"mantissa": s.mantissa, "shift": s.shift - 1, "greedy": s.greedy}
                ).as_bits(),
                Temperature.size,
            )
            for s in self._scales
        )
        m.d.comb += [
            core.i.valid.eq(1),
            core.i.p.token.eq(self._tokenizer.bos),
            core.i.p.last.eq(1),
            core.temperature.eq(temperatures[step]),
            self.tx.eq(transmitter.tx),
            self.busy.eq(core.busy),
            self.activity.eq(core.counters.tokens[ACTIVITY_BIT]),
        ]
        return m
