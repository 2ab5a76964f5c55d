"""Everything on the chip that does not depend on the board: a core, its serial line, a button."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from gptloom.firmware.image import Region
from gptloom.firmware.page import TEMPERATURE_TEXTS, TEMPERATURES, THOUSANDS, UNIT, check_page
from gptloom.hdl.checksum import Checksum
from gptloom.hdl.console import Console
from gptloom.hdl.display.screen import Screen
from gptloom.hdl.serial.host import Host, Upload
from gptloom.hdl.speed import Speed
from gptloom.hdl.uart import LEAST_DIVIDER, SerialReceiver, Transmitter, baud_divider
from gptloom.model.config import ModelConfig

BAUD = 115200

BOUNCE_SECONDS = 0.01
"""For so long a button must rest before it is believed; contacts bounce for some milliseconds."""

BY_HOST = "temperature set"
"""What the screen says of a temperature that came over the serial line."""

SHOWN = 16
"""Tokens of a document that are sent and shown, where it may be longer than the cache has rows."""

ACTIVITY_BIT, FAST_ACTIVITY_BIT = 16, 22
"""The running LED changes every 2**16 tokens, 3 times a second at 200,000 tokens/s; of a core that
counts thousands, every 2**22."""


class Button(wiring.Component):
    """A button without its bounces.

    Attributes
    ----------
    cycles
        For so many cycles `i` must rest before it counts.
    i : In(1)
        From the pin, 1 when pressed, of no clock.
    held, pressed : Out(1)
        It is pressed; for one cycle when it has been.
    """

    def __init__(self, cycles: int):
        if cycles < 1:
            raise ValueError(f"cycles is {cycles}, but a button rests at least 1 cycle")
        self.cycles = cycles
        super().__init__({"i": In(1), "held": Out(1), "pressed": Out(1)})

    def elaborate(self, platform):
        m = Module()
        now, believed = Signal(), Signal()
        m.submodules.synchroniser = FFSynchronizer(self.i, now)
        timer = Signal(range(self.cycles), init=self.cycles - 1)
        m.d.comb += self.held.eq(believed)
        m.d.sync += self.pressed.eq(0)
        with m.If(now == believed):
            m.d.sync += timer.eq(self.cycles - 1)
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            # A contact may bounce in the very next cycle as well.
            m.d.sync += [
                believed.eq(now),
                self.pressed.eq(now),
                timer.eq(self.cycles - 1),
            ]
        return m


class Top(wiring.Component):
    """A core that generates documents without end, and what people see of it.

    Parameters
    ----------
    core
        A component with :class:`.CoreSignature` that holds its image from power-on; or a
        :class:`.Chorus`.
    page
        See :func:`.make_page`.
    config
        Shape of the image's model.
    sizes
        Bytes that are checked, see :class:`.Checksum`; None where nothing can be read back, for
        weights are logic.
    clock_hz
        Frequency of the domain ``sync``, as the PLL makes it.
    baud
        Of the serial line.
    temperatures
        How many of the image's temperatures the button steps through; 1 where there is none.
    upload
        Gives the serial line its frames, see :class:`.Host`; without it there is text only.
    instruments
        A host may ask for what each token of a prompt's continuation attended. Of a
        :class:`.FoldedCore` with frames only.
    display
        Shows the newest name, speed and temperature, see :class:`.Screen`: a component that reads
        its `text` and whose other ports are outputs to pins. Without it the serial line carries
        what its second line shows, between the names.
    rate
        How fast it shows names from power-on, see :class:`.Screen`.
    checksum
        Of weights that are logic.
    thousands
        The speed is in thousands of tokens, for which the core has a pulse.

    Attributes
    ----------
    tx : Out(1)
        Serial line, see :class:`.Console`.
    rx : In(1)
        Frames; whatever else is received asks for the checksum. Of no clock.
    button : In(1)
        Next temperature; 1 when pressed, of no clock.
    display : Out
        The display's pins, by the names that it gives them; only where there is one.
    running : Out(1)
        Changes every 65,536 tokens.
    error : Out(1)
        The memories do not hold what was loaded: nothing is computed until a good upload.

    Raises
    ------
    UserError
        If the clock cannot make the baud rate, or the model is too large for a page.
    """

    def __init__(
        self,
        core: wiring.Component,
        page: Sequence[int],
        config: ModelConfig,
        sizes: Mapping[Region, int] | None,
        *,
        clock_hz: float,
        baud: int = BAUD,
        temperatures: int = len(TEMPERATURES),
        upload: Upload | None = None,
        instruments: bool = False,
        display: wiring.Component | None = None,
        rate: int = 0,
        checksum: int = 0,
        thousands: bool = False,
    ):
        check_page(config)
        self.core = core
        self._checksum, self._thousands = checksum, thousands
        self._page, self._config, self._sizes = page, config, sizes
        self._temperatures = temperatures
        self._upload, self._display = upload, display
        self._watched = config if instruments else None
        self._clock_hz, self._rate = clock_hz, rate
        pins = {}
        if display:
            members = dict(display.signature.members)
            del members["text"]
            pins["display"] = Out(wiring.Signature(members))
        self._divider = baud_divider(clock_hz, baud, LEAST_DIVIDER if upload else 1)
        self._bounce = round(clock_hz * BOUNCE_SECONDS)
        super().__init__(
            {
                "tx": Out(1, init=1),
                "rx": In(1, init=1),
                "button": In(1),
                "running": Out(1),
                "error": Out(1),
                **pins,
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.core = core = self.core
        m.submodules.console = console = Console(
            self._page,
            self._bos,
            # Names are no longer than that, whatever the rows.
            max(config.context, SHOWN) if config.endless else config.context,
            self._temperatures,
            mirror=not self._display,
            endless=config.endless,
        )
        m.submodules.transmitter = transmitter = Transmitter(self._divider)
        if self._upload:
            self._connect_host(m, console, transmitter)
        else:
            self._connect_text(m, console, transmitter)
        m.d.comb += [
            core.temperature.eq(console.temperature),
            self.tx.eq(transmitter.tx),
            self.running.eq(
                core.counters.tokens[FAST_ACTIVITY_BIT if self._thousands else ACTIVITY_BIT]
            ),
        ]
        held, pressed = Signal(), Signal()
        if self._temperatures > 1:
            m.submodules.debounce = debounce = Button(self._bounce)
            m.d.comb += [
                debounce.i.eq(self.button),
                held.eq(debounce.held),
                pressed.eq(debounce.pressed),
            ]
        if self._display:
            self._connect_display(m, console, held, pressed)
        else:
            self._tell_speed(m, console)
            m.d.comb += console.turn.eq(pressed)
        return m

    def _connect_display(self, m: Module, console: Console, held, pressed) -> None:
        """Show the lines of text that pass by."""
        display = self._display
        texts = [*TEMPERATURE_TEXTS[: self._temperatures], BY_HOST]
        m.submodules.screen = screen = Screen(
            self._clock_hz,
            texts,
            self._rate,
            button=self._temperatures > 1,
            unit=THOUSANDS if self._thousands else UNIT,
        )
        m.submodules.display = display
        wiring.connect(m, display.text, screen.text)
        # A character comes from block RAM, which is late, and there is time.
        m.d.sync += [
            screen.strobe.eq(console.o.valid & console.o.ready),
            screen.character.eq(console.o.payload),
        ]
        m.d.comb += [
            screen.event.eq(self._event),
            screen.button.eq(held),
            screen.pressed.eq(pressed),
            console.turn.eq(screen.turn),
        ]
        if self._temperatures > 1:
            m.d.comb += screen.temperature.eq(console.number)
        for name in self.display.signature.members:
            m.d.comb += getattr(self.display, name).eq(getattr(display, name))

    @property
    def _bos(self) -> int:
        return self._config.vocabulary - 1

    @property
    def _event(self) -> Value:
        """What the speed counts."""
        core = self.core
        return core.thousand if self._thousands else core.o.valid & core.o.ready

    def _connect_text(self, m: Module, console: Console, transmitter: Transmitter) -> None:
        """Names only: whatever is received asks for the checksum."""
        core, config = self.core, self._config
        wiring.connect(m, core.o, console.i)
        wiring.connect(m, console.o, transmitter.i)
        received, before = Signal(init=1), Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, received, init=1)
        m.d.sync += before.eq(received)
        if self._sizes is None:
            m.d.comb += console.crc.eq(self._checksum)
        else:
            self._read_back(m, console)
        m.d.comb += [
            console.ask.eq(before & ~received),
            # A stream ends where another document waits.
            core.i.valid.eq(console.run & ~core.busy if config.endless else console.run),
            core.i.p.token.eq(self._bos),
            core.i.p.last.eq(1),
        ]

    def _read_back(self, m: Module, console: Console) -> None:
        """Compute the checksum of the core's memories."""
        m.submodules.checksum = checksum = Checksum(self._sizes)
        wiring.connect(m, checksum.read, self.core.read)
        # They are far apart on a part that is slow.
        m.d.sync += checksum.start.eq(console.check)
        m.d.comb += [
            checksum.read_data.eq(self.core.read_data),
            console.checking.eq(checksum.start | checksum.busy),
            console.crc.eq(checksum.crc),
        ]

    def _tell_speed(self, m: Module, console: Console) -> None:
        """Send what a display's second line would show, every second."""
        m.submodules.speed = speed = Speed()
        second = round(self._clock_hz)
        cycles = Signal(range(second))
        with m.If(cycles == second - 1):
            m.d.sync += cycles.eq(0)
            m.d.comb += speed.second.eq(1)
        with m.Else():
            m.d.sync += cycles.eq(cycles + 1)
        m.d.comb += [
            speed.event.eq(self._event),
            console.tell.eq(speed.done),
            Cat(console.speed).eq(Cat(speed.digits)),
        ]

    def _connect_host(self, m: Module, console: Console, transmitter: Transmitter) -> None:
        """Names and frames."""
        core = self.core
        m.submodules.receiver = receiver = SerialReceiver(self._divider)
        m.submodules.host = host = Host(self._upload, self._bos, self._watched)
        for name in ("i", "o", "seed", "load", "read"):
            wiring.connect(m, getattr(host.core, name), getattr(core, name))
        wiring.connect(m, host.text_o, console.i)
        wiring.connect(m, console.o, host.text)
        wiring.connect(m, host.o, transmitter.i)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            host.valid.eq(receiver.valid),
            host.byte.eq(receiver.byte),
            host.core.read_data.eq(core.read_data),
            host.core.busy.eq(core.busy),
            host.core.counters.eq(core.counters),
            host.core.cache.eq(core.cache),
            host.text_run.eq(console.run),
            host.check.eq(console.check),
            console.checking.eq(host.checking),
            console.crc.eq(host.crc),
            host.line.eq(console.line),
            console.quiet.eq(host.quiet),
            console.page_write.eq(host.page_write),
            console.page_address.eq(host.page_address),
            console.page_data.eq(host.page_data),
            console.set.eq(host.set),
            console.scale.eq(host.scale),
            console.restart.eq(host.restart),
            console.ask.eq(host.ask),
            self.error.eq(host.stopped),
        ]
        if self._watched:
            tap, seen = core.tap, host.attended
            m.d.comb += [
                seen.start.eq(tap.start),
                seen.position.eq(tap.token_position),
                seen.valid.eq(tap.score_valid & tap.numerators),
                seen.row.eq(tap.position),
                *(seen.numerators[i].eq(tap.scores[i]) for i in range(self._config.heads)),
            ]
