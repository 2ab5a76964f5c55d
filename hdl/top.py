"""Everything on the chip that does not depend on the board: a core, its serial line, a button."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from gptloom.firmware.page import TEMPERATURES
from gptloom.hdl.checksum import Checksum
from gptloom.hdl.console import Console
from gptloom.hdl.uart import Transmitter, baud_divider
from gptloom.model.config import ModelConfig

BAUD = 115200

BOUNCE_SECONDS = 0.01
"""For so long a button must rest before it is believed; contacts bounce for some milliseconds."""

ACTIVITY_BIT = 16
"""The activity LED changes every 2**16 tokens, 3 times a second at 200,000 tokens/s."""


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
        A component with :class:`.CoreSignature` that holds its image from power-on.
    page
        See :func:`.encode_page`.
    config
        Shape of the image's model.
    sizes
        Bytes that are checked, see :class:`.Checksum`.
    clock_hz
        Frequency of the domain ``sync``, as the PLL makes it.
    baud
        Of the serial line.
    temperatures
        How many of the image's temperatures the button steps through; 1 where there is none.

    Attributes
    ----------
    tx : Out(1)
        Serial line, see :class:`.Console`.
    rx : In(1)
        Whatever is received asks for the checksum; of no clock.
    button : In(1)
        Next temperature; 1 when pressed, of no clock.
    busy : Out(1)
        A document is under way.
    activity : Out(1)
        Changes every 65,536 tokens.

    Raises
    ------
    UserError
        If the clock cannot make the baud rate.
    """

    def __init__(
        self,
        core: wiring.Component,
        page: Sequence[int],
        config: ModelConfig,
        sizes: Sequence[int],
        *,
        clock_hz: float,
        baud: int = BAUD,
        temperatures: int = len(TEMPERATURES),
    ):
        self.core = core
        self._page, self._config, self._sizes = page, config, sizes
        self._temperatures = temperatures
        self._divider = baud_divider(clock_hz, baud)
        self._bounce = round(clock_hz * BOUNCE_SECONDS)
        super().__init__(
            {
                "tx": Out(1, init=1),
                "rx": In(1, init=1),
                "button": In(1),
                "busy": Out(1),
                "activity": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        bos = config.vocabulary - 1
        m.submodules.core = core = self.core
        m.submodules.checksum = checksum = Checksum(self._sizes)
        m.submodules.console = console = Console(
            self._page, bos, config.context, self._temperatures
        )
        m.submodules.transmitter = transmitter = Transmitter(self._divider)
        wiring.connect(m, core.o, console.i)
        wiring.connect(m, console.o, transmitter.i)
        wiring.connect(m, checksum.read, core.read)

        received, before = Signal(init=1), Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, received, init=1)
        m.d.sync += before.eq(received)
        if self._temperatures > 1:
            m.submodules.debounce = debounce = Button(self._bounce)
            m.d.comb += [debounce.i.eq(self.button), console.turn.eq(debounce.pressed)]
        m.d.comb += [
            checksum.start.eq(console.check),
            checksum.read_data.eq(core.read_data),
            console.checking.eq(checksum.busy),
            console.crc.eq(checksum.crc),
            console.ask.eq(before & ~received),
            core.i.valid.eq(console.run),
            core.i.p.token.eq(bos),
            core.i.p.last.eq(1),
            core.temperature.eq(console.temperature),
            self.tx.eq(transmitter.tx),
            self.busy.eq(core.busy),
            self.activity.eq(core.counters.tokens[ACTIVITY_BIT]),
        ]
        return m
